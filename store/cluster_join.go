package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/zeebo/xxh3"

	"github.com/runnelkv/runnel/store/partition"
)

// clusterMap is the cluster map as this process knows it. It is immutable.
type clusterMap struct {
	partition.Cluster
	tag ClusterTag
}

var errMastersDiffer = errors.New("the configured masters are not those of the cluster")

// firstEpoch is the epoch of a cluster in which no mastership has moved yet.
const firstEpoch = 1

// maxEpoch is the last epoch whose revisions fit into an int64.
const maxEpoch = 1<<23 - 1

// master is the name of the key's master.
func (c *clusterMap) master(k Key) string { return c.Masters[c.Slots[SlotOf(k)]] }

// hasLost reports whether the vector includes revisions that a restore has undone.
func (c *clusterMap) hasLost(v Vector) bool {
	for o, r := range v.All() {
		if c.Lost(o, r) {
			return true
		}
	}
	return false
}

// isOlderThan reports whether the vector has marks of a later epoch than c: the masters may
// have changed.
func (c *clusterMap) isOlderThan(v Vector) bool {
	for _, r := range v.All() {
		if r.Epoch() > c.Epoch {
			return true
		}
	}
	return false
}

// Lost reports whether a session has seen revisions that a restore has undone.
func (s *Store) Lost(v Vector) bool {
	c := s.cluster.Load()
	return c != nil && c.hasLost(v)
}

// Tag is the tag of the store's cluster: the same in every process, independent of the
// partitions and masters. It is 0 until a partition was reached.
func (s *Store) Tag() ClusterTag {
	if c := s.cluster.Load(); c != nil {
		return c.tag
	}
	return 0
}

// Origins returns the origins that new writes can have: all masters. It is nil until a
// partition was reached.
func (s *Store) Origins() (origins []Origin) {
	if c := s.cluster.Load(); c != nil {
		for _, name := range c.Masters {
			origins = append(origins, Origin(name))
		}
	}
	return origins
}

func (s *Store) isMaster(name string) bool {
	c := s.cluster.Load()
	return c != nil && slices.Contains(c.Masters, name)
}

// newClusterMap makes the map of a new cluster, in its first epoch.
func newClusterMap(masters []string) partition.Cluster {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return partition.Cluster{ID: hex.EncodeToString(id[:]), Epoch: firstEpoch, Masters: masters, Slots: assignSlots(masters)}
}

// assignSlots gives each slot to the master with the highest hash of name and slot
// (rendezvous hashing), so that a further master takes only its share.
func assignSlots(masters []string) []uint16 {
	slots := make([]uint16, Slots)
	for slot := range slots {
		var best uint64
		for i, name := range masters {
			if h := xxh3.HashStringSeed(name, uint64(slot)); i == 0 || h > best {
				slots[slot], best = uint16(i), h
			}
		}
	}
	return slots
}

// Connect tries once to prepare and join every partition that has not joined yet, and reads
// all positions. The error joins, for each partition that cannot be used, the reason; the
// others can be used.
func (s *Store) Connect(ctx context.Context) error {
	backends := *s.backends.Load()
	var group sync.WaitGroup
	for _, b := range backends {
		group.Go(func() { b.prepare(ctx) })
	}
	group.Wait()
	var errs []error
	for _, b := range backends { // in order: the first partition's cluster counts
		if err := s.joinBackend(ctx, b); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", b.Name(), err))
		}
	}
	for _, b := range backends { // those before the founder could not join at first
		if st := b.state(); !st.isJoined && st.isPrepared {
			s.joinBackend(ctx, b)
		}
	}
	for _, b := range backends {
		group.Go(func() { b.pollPositions(ctx) })
	}
	group.Wait()
	for _, b := range backends {
		s.compareHead(ctx, b)
	}
	return errors.Join(errs...)
}

// joinBackend makes a prepared partition a member of this cluster under its name. It founds the
// cluster if the partition is the first master and no partition has a cluster.
func (s *Store) joinBackend(ctx context.Context, b *backend) error {
	if st := b.state(); st.isJoined && !s.isOutdated(b) || !st.isPrepared {
		return st.err
	}
	s.joining.Lock()
	defer s.joining.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	c, err := b.Cluster(ctx)
	if errors.Is(err, partition.ErrNoCluster) {
		c, err = s.joinOrFound(ctx, b)
	}
	if err == nil {
		err = s.checkMembership(ctx, b, c)
	}
	b.setJoined(err)
	return err
}

// isOutdated reports whether the backend holds revisions of a later epoch than that of the
// known cluster map: its cluster row must be read again.
func (s *Store) isOutdated(b *backend) bool {
	k, c := b.observed.Load(), s.cluster.Load()
	return k != nil && c != nil && c.isOlderThan(vectorOf(k.Positions))
}

// joinOrFound writes the cluster row of a partition that has none.
func (s *Store) joinOrFound(ctx context.Context, b *backend) (partition.Cluster, error) {
	if known := s.cluster.Load(); known != nil {
		return joinExisting(ctx, b, known.Cluster)
	}
	var away []string
	for _, other := range *s.backends.Load() {
		if other == b {
			continue
		}
		c, err := partition.Cluster{}, errNotReached
		if other.state().isPrepared {
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
	return s.foundCluster(ctx, b, away)
}

// joinExisting joins a partition to a cluster as of the first epoch. Later epochs are then
// accepted like those of a partition that was away, which exposes the empty database of a
// master that has written.
func joinExisting(ctx context.Context, p partition.Partition, c partition.Cluster) (partition.Cluster, error) {
	c.Epoch, c.Ends = firstEpoch, nil
	return p.Join(ctx, c)
}

// foundCluster founds a new cluster on its first master. A partition that is away may
// belong to a cluster whose first master was replaced by an empty database. All partitions
// must therefore have been reached, unless Options.Init waives that.
func (s *Store) foundCluster(ctx context.Context, b *backend, away []string) (partition.Cluster, error) {
	first := s.options.Masters[0]
	switch {
	case len(away) > 0 && !s.options.Init:
		return partition.Cluster{}, fmt.Errorf("%w: no partition that was reached belongs to a cluster, and a new one is founded only once all were reached; not reached: %s ('runnel init' founds it without them)",
			partition.ErrUnavailable, strings.Join(away, ", "))
	case b.Name() != first:
		return partition.Cluster{}, fmt.Errorf("%w: a new cluster is founded on its first master %s, which was not reached", partition.ErrUnavailable, first)
	}
	founded := newClusterMap(s.options.Masters)
	c, err := b.Join(ctx, founded)
	if err == nil && c.ID == founded.ID {
		s.options.Logger.Warn("founded a new cluster, since no partition belongs to one", "cluster", c.ID, "partition", b.Name(), "masters", c.Masters, "not_reached", away)
	}
	return c, err
}

// checkMap rejects a map by which some key would have no master.
func checkMap(c partition.Cluster) error {
	switch {
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

// checkMembership checks the cluster row of a partition. The first row that is read becomes
// the known map. A row of a later epoch replaces the map, and the other partitions then
// accept it.
func (s *Store) checkMembership(ctx context.Context, b *backend, c partition.Cluster) error {
	if err := checkMap(c); err != nil {
		return err
	}
	if c.Name != b.Name() {
		return fmt.Errorf("%w: this database is already partition %q; two partitions cannot share one", partition.ErrRefused, c.Name)
	}
	known := s.cluster.Load()
	switch {
	case known == nil:
		if err := s.checkMasters(c); err != nil {
			return err
		}
		s.cluster.Store(&clusterMap{c, tagOf(c.ID)})
	case c.ID != known.ID:
		return fmt.Errorf("%w: this database belongs to another cluster (%s, this one is %s)", partition.ErrRefused, c.ID, known.ID)
	case c.Epoch < known.Epoch:
		_, err := b.Accept(ctx, known.Cluster)
		return err
	case c.Epoch > known.Epoch:
		s.cluster.Store(&clusterMap{c, tagOf(c.ID)})
		for _, other := range *s.backends.Load() {
			if other != b && other.state().isJoined {
				_, err := other.Accept(ctx, c)
				other.setJoined(err)
			}
		}
		return s.checkMasters(c)
	case !slices.Equal(c.Masters, known.Masters) || !slices.Equal(c.Slots, known.Slots):
		return fmt.Errorf("%w: the cluster map of this database differs from that of the others, in one epoch", partition.ErrRefused)
	}
	return nil
}

// checkMasters rejects a map unless its masters are those configured, in any order.
func (s *Store) checkMasters(c partition.Cluster) error {
	if slices.Equal(slices.Sorted(slices.Values(c.Masters)), slices.Sorted(slices.Values(s.options.Masters))) {
		return nil
	}
	return fmt.Errorf("%w %w: the cluster has %s, the configuration %s", partition.ErrRefused,
		errMastersDiffer, strings.Join(c.Masters, ", "), strings.Join(s.options.Masters, ", "))
}
