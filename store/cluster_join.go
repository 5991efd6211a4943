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

// cluster is the cluster map as this process knows it. It is immutable.
type clusterMap struct {
	partition.Cluster
	tag ClusterTag
}

var errMastersDiffer = errors.New("the configured masters are not those of the cluster")

// master is the name of the partition that accepts writes of the key.
func (c *clusterMap) master(k Key) string { return c.Masters[c.Slots[SlotOf(k)]] }

// Lost reports whether a session has seen revisions that do not count any more.
func (s *Store) Lost(v Vector) bool {
	c := s.cluster.Load()
	return c != nil && c.hasLost(v)
}

func (c *clusterMap) hasLost(v Vector) bool {
	for o, r := range v.All() {
		if c.Lost(o, r) {
			return true
		}
	}
	return false
}

// Tag is the tag of the store's cluster: the same in every process, whatever
// partitions are added and whoever is master. 0 while no partition was reached.
func (s *Store) Tag() ClusterTag {
	if c := s.cluster.Load(); c != nil {
		return c.tag
	}
	return 0
}

// newCluster makes the map of a new cluster, in its first epoch.
func newClusterMap(masters []string) partition.Cluster {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return partition.Cluster{
		ID:      hex.EncodeToString(id[:]),
		Epoch:   1,
		Masters: masters,
		Slots:   assignSlots(masters),
	}
}

// assign gives each slot to the master whose name hashes highest with it
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

// Connect tries once to prepare and join every partition that is not joined
// yet, and reads everybody's positions. It returns what is wrong with each
// partition that cannot be used; the others can.
func (s *Store) Connect(ctx context.Context) error {
	members := *s.backends.Load()
	var group sync.WaitGroup
	for _, m := range members {
		group.Go(func() { m.prepare(ctx) })
	}
	group.Wait()
	var errs []error
	for _, m := range members { // in order: the first partition's cluster counts
		if err := s.join(ctx, m); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.Name(), err))
		}
	}
	for _, m := range members { // those that had to wait for a founder
		if !m.joined() && m.prepared() {
			s.join(ctx, m)
		}
	}
	for _, m := range members {
		group.Go(func() { m.pollPositions(ctx) })
	}
	group.Wait()
	s.compareHeads(ctx)
	return errors.Join(errs...)
}

// join makes sure that a prepared partition belongs to this cluster under its
// name, founding the cluster when it is the first master and nobody has one.
func (s *Store) join(ctx context.Context, m *backend) error {
	if m.joined() && !s.isOutdated(m) || !m.prepared() {
		return m.lastError()
	}
	s.joining.Lock()
	defer s.joining.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	c, err := m.Cluster(ctx)
	if errors.Is(err, partition.ErrNoCluster) {
		c, err = s.joinOrFound(ctx, m)
	}
	if err == nil {
		err = s.checkMembership(ctx, m, c)
	}
	m.setJoined(err)
	return err
}

// enter writes the cluster row of a partition that has none.
func (s *Store) joinOrFound(ctx context.Context, m *backend) (partition.Cluster, error) {
	known := s.cluster.Load()
	if known != nil {
		return joinExisting(ctx, m, known.Cluster)
	}
	var away []string
	for _, other := range *s.backends.Load() {
		if other == m {
			continue
		}
		c, err := partition.Cluster{}, errNotReached
		if other.prepared() {
			c, err = other.Cluster(ctx)
		}
		if err == nil {
			err = checkMap(c)
		}
		if err == nil {
			return joinExisting(ctx, m, c)
		}
		if !errors.Is(err, partition.ErrNoCluster) {
			away = append(away, other.Name())
		}
	}
	return s.foundCluster(ctx, m, away)
}

// enterExisting joins a partition to a cluster in its first epoch. The epochs since
// are accepted as those of a partition that was away: so the empty database of a
// master that has written is found out.
func joinExisting(ctx context.Context, m partition.Partition, c partition.Cluster) (partition.Cluster, error) {
	c.Epoch, c.Ends = firstEpoch, nil
	return m.Join(ctx, c)
}

// found founds a new cluster on its first master. A partition that is away may
// belong to a cluster whose first master was replaced by an empty database: so
// all must have been reached, unless the options say that none of them does.
func (s *Store) foundCluster(ctx context.Context, m *backend, away []string) (partition.Cluster, error) {
	first := s.options.Masters[0]
	switch {
	case len(away) > 0 && !s.options.Init:
		return partition.Cluster{}, fmt.Errorf("%w: no partition that was reached belongs to a cluster, and a new one is founded only once all were reached; not reached: %s ('runnel init' founds it without them)",
			partition.ErrUnavailable, strings.Join(away, ", "))
	case m.Name() != first:
		return partition.Cluster{}, fmt.Errorf("%w: a new cluster is founded on its first master %s, which was not reached", partition.ErrUnavailable, first)
	}
	founded := newClusterMap(s.options.Masters)
	c, err := m.Join(ctx, founded)
	if err == nil && c.ID == founded.ID {
		s.options.Logger.Warn("founded a new cluster, since no partition belongs to one", "cluster", c.ID, "partition", m.Name(), "masters", c.Masters, "not_reached", away)
	}
	return c, err
}

// maxEpoch is the last epoch whose revisions fit into an int64.
const maxEpoch = 1<<23 - 1

// checkMap refuses a map by which no key would have a master.
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

// belongs checks the cluster row of a partition. The first one is adopted, and so
// is one of a later epoch, which the other partitions are then taught.
func (s *Store) checkMembership(ctx context.Context, m *backend, c partition.Cluster) error {
	if err := checkMap(c); err != nil {
		return err
	}
	if c.Name != m.Name() {
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
		_, err := m.Accept(ctx, known.Cluster)
		return err
	case c.Epoch > known.Epoch:
		s.cluster.Store(&clusterMap{c, tagOf(c.ID)})
		for _, other := range *s.backends.Load() {
			if other != m && other.joined() {
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

func (s *Store) checkMasters(c partition.Cluster) error {
	if sameMasters(c.Masters, s.options.Masters) {
		return nil
	}
	return fmt.Errorf("%w %w: the cluster has %s, the configuration %s", partition.ErrRefused,
		errMastersDiffer, strings.Join(c.Masters, ", "), strings.Join(s.options.Masters, ", "))
}

// outdated reports whether a member was seen to hold revisions of a later epoch than
// that of the cluster as this process knows it: its row is to be read again.
func (s *Store) isOutdated(m *backend) bool {
	k, c := m.observed.Load(), s.cluster.Load()
	if k == nil || c == nil {
		return false
	}
	for _, at := range k.Origins {
		if at.Revision.Epoch() > c.Epoch {
			return true
		}
	}
	return false
}

func sameMasters(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// compareHeads compares every master's head with what others hold of it.
func (s *Store) compareHeads(ctx context.Context) {
	for _, m := range *s.backends.Load() {
		s.compareHead(ctx, m)
	}
}

// compareHead finds out whether newer revisions of a master are known than it
// holds itself: another partition holds them, or has, or this process has committed them. Such a master has lost something (a crash without durability, an
// older backup): writing on it would give revisions out again, so it takes none, and reads of
// its keys would lack what was lost, so it answers none.
func (s *Store) compareHead(ctx context.Context, master *backend) {
	if !master.isReadable.Load() {
		return
	}
	if !s.isMaster(master.Name()) {
		master.mayLackWrites.Store(false)
		return
	}
	origin := Origin(master.Name())
	highest, holder := Revision(master.newestSeen.Load()), "this process"
	for _, m := range *s.backends.Load() {
		if at, ok := m.position(origin); ok && m != master && at.Revision >= highest {
			highest, holder = at.Revision, m.Name()
		}
	}
	own := master.completeUpTo(origin)
	if own < highest { // it may only have been read earlier
		master.pollPositions(ctx)
		own = master.completeUpTo(origin)
	}
	switch {
	case master.observed.Load() == nil:
	case own < highest:
		master.setBehind(fmt.Errorf("its newest revision is %d, but %s has seen %d of it", own, holder, highest))
	default:
		master.setBehind(s.checkLineages(ctx, master))
	}
}

func (s *Store) isMaster(name string) bool {
	c := s.cluster.Load()
	return c != nil && slices.Contains(c.Masters, name)
}
