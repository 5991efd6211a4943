package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
)

// joinBackend makes a prepared partition a member of this cluster under the configured name, and founds the
// cluster if the partition is the first master and no partition has a cluster.
func (r *Register) joinBackend(ctx context.Context, b *backend.Backend) error {
	if st := b.State(); st.IsJoined && !r.isOutdated(b) || !st.IsPrepared {
		return st.Err
	}
	r.joining.Lock()
	defer r.joining.Unlock()
	ctx, cancel := context.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	c, err := b.Cluster(ctx)
	if errors.Is(err, partition.ErrNoCluster) {
		c, err = r.joinOrFound(ctx, b)
	}
	if err == nil {
		err = r.checkMembership(ctx, b, c)
	}
	b.SetJoined(err)
	return err
}

// isOutdated reports whether the backend's cluster row must be read again: its epoch is not that of the known map.
func (r *Register) isOutdated(b *backend.Backend) bool {
	k, c := b.Observed(), r.Map()
	return k != nil && c != nil && k.Epoch != c.Epoch
}

// joinOrFound writes the cluster row of a partition that has none.
func (r *Register) joinOrFound(ctx context.Context, b *backend.Backend) (partition.Cluster, error) {
	if known := r.Map(); known != nil {
		return joinExisting(ctx, b, known.Cluster)
	}
	var away []string
	for _, other := range r.backends.All() {
		if other == b {
			continue
		}
		c, err := partition.Cluster{}, backend.ErrNotReached
		if other.State().IsPrepared {
			c, err = other.Cluster(ctx)
		}
		if err == nil {
			err = checkMap(c)
		}
		if err == nil {
			return joinExisting(ctx, b, c)
		}
		if !errors.Is(err, partition.ErrNoCluster) {
			away = append(away, other.Name())
		}
	}
	return r.foundCluster(ctx, b, away)
}

// joinExisting joins a partition to a cluster as of the first epoch. Later epochs are then
// accepted like those of a partition that was away, which exposes the empty database of a
// master that has written. The ballots and moves shut out binaries that know none.
func joinExisting(ctx context.Context, p partition.Partition, c partition.Cluster) (partition.Cluster, error) {
	return p.Join(ctx, partition.Cluster{ID: c.ID, Epoch: firstEpoch, Masters: c.Masters, Slots: c.Slots,
		Voters: c.Voters, Moves: c.Moves, Accepted: c.Accepted})
}

// foundCluster founds a new cluster on its first master. A partition that is away may
// belong to a cluster with a first master that was replaced by an empty database. All partitions
// must therefore have been reached, unless the option init waives that.
func (r *Register) foundCluster(ctx context.Context, b *backend.Backend, away []string) (partition.Cluster, error) {
	first := r.options.Masters[0]
	switch {
	case len(away) > 0 && !r.options.Init:
		return partition.Cluster{}, fmt.Errorf("%w: no partition that was reached belongs to a cluster, and a new one is founded only once all were reached; not reached: %s ('runnel init' founds it without them)",
			partition.ErrUnavailable, strings.Join(away, ", "))
	case b.Name() != first:
		return partition.Cluster{}, fmt.Errorf("%w: a new cluster is founded on its first master %s, which was not reached", partition.ErrUnavailable, first)
	}
	founded := newMap(r.options.Masters)
	c, err := b.Join(ctx, founded)
	if err == nil && c.ID == founded.ID {
		r.options.Logger.Warn("founded a new cluster, since no partition belongs to one", "cluster", c.ID, "partition", b.Name(), "masters", c.Masters, "not_reached", away)
	}
	return c, err
}

// checkMap rejects a map by which some key would have no master.
func checkMap(c partition.Cluster) error {
	switch {
	case c.Epoch == partition.RestoringEpoch:
		return fmt.Errorf("%w: a backup is being restored to this database: let 'runnel restore FILE' finish, or repeat it", partition.ErrRefused)
	case c.Epoch < 0:
		return fmt.Errorf("%w: this database was restored from a backup, and a new epoch must begin before it is used: run 'runnel restore'", partition.ErrRefused)
	case c.Epoch < firstEpoch || c.Epoch > maxEpoch:
		return fmt.Errorf("%w: the cluster map is damaged: its epoch %d is not between %d and %d", partition.ErrRefused, c.Epoch, firstEpoch, maxEpoch)
	case len(c.Slots) != Slots:
		return fmt.Errorf("%w: the cluster map is damaged: it has %d slots, not %d", partition.ErrRefused, len(c.Slots), Slots)
	}
	for slot, i := range c.Slots {
		if int(i) >= len(c.Masters) {
			return fmt.Errorf("%w: the cluster map is damaged: slot %d belongs to master %d of %d", partition.ErrRefused, slot, i, len(c.Masters))
		}
	}
	return nil
}

// checkMembership checks the cluster row of a partition. The first row that is read becomes the known map. A later map that
// a majority has accepted replaces the known map, and the rest of the partitions then accept the new map.
func (r *Register) checkMembership(ctx context.Context, b *backend.Backend, c partition.Cluster) error {
	if err := checkMap(c); err != nil {
		return err
	}
	if c.Name != b.Name() {
		return fmt.Errorf("%w: this database is already partition %q; two partitions cannot share one", partition.ErrRefused, c.Name)
	}
	known := r.Map()
	switch {
	case known == nil:
		r.adopt(c)
		r.warnOfMasters(c)
	case c.ID != known.ID:
		return fmt.Errorf("%w: this database belongs to another cluster (%s, this one is %s)", partition.ErrRefused, c.ID, known.ID)
	case !isConfirmed(&c) && c.Accepted > known.Accepted: // a change of the map is under way, or was interrupted
		r.unconfirmed.Store(true)
	case c.Epoch > known.Epoch || c.Epoch == known.Epoch && !known.IsConfirmed():
		r.adopt(c)
		r.teachOthers(ctx, b, c)
		r.warnOfMasters(c)
	case c.Epoch < known.Epoch || c.Accepted != known.Accepted:
		_, err := b.Accept(ctx, known.Cluster)
		return err
	case !slices.Equal(c.Masters, known.Masters) || !slices.Equal(c.Slots, known.Slots):
		return fmt.Errorf("%w: the cluster map of this database differs from that of the others, in one epoch", partition.ErrRefused)
	}
	return nil
}

// teachOthers lets the other partitions accept a new map.
func (r *Register) teachOthers(ctx context.Context, from *backend.Backend, c partition.Cluster) {
	for _, other := range r.backends.All() {
		if other != from && other.State().IsJoined {
			_, err := other.Accept(ctx, c)
			other.SetJoined(err)
		}
	}
}

// warnOfMasters logs that the configuration names other masters than the map. The configuration's masters count only when
// the cluster is founded.
func (r *Register) warnOfMasters(c partition.Cluster) {
	if !slices.Equal(slices.Sorted(slices.Values(c.Masters)), slices.Sorted(slices.Values(r.options.Masters))) {
		r.options.Logger.Warn("the masters of the cluster map differ from those configured: the map counts; see 'runnel plan'", "map", c.Masters, "configured", r.options.Masters)
	}
}
