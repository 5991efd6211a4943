package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/runnelkv/runnel/store/partition"
)

// Store is the core over a set of partitions. Its methods are safe for
// concurrent use; writes and reads are answered while Run is running.
type Store struct {
	options       Options
	backends      atomic.Pointer[[]*backend] // replaced as a whole by Add
	cluster       atomic.Pointer[clusterMap] // nil until the first partition is joined
	tail          *tail                      // reads changes for all who watch
	positionsRead notifier                   // of positions
	cache         *cache                     // of what replicas answered, or nil

	updates sync.Pool // of *update

	joining sync.Mutex // serialises joins: the first one founds or finds the cluster

	mu     sync.Mutex     // guards the fields below
	start  func(*backend) // starts a member's goroutines; nil while Run is not running
	closed bool           // no member may be added any more
	work   sync.WaitGroup // the members' goroutines
}

// Open makes a store of the partitions, without connecting to any. Close it.
func Open(o Options) (*Store, error) {
	s := &Store{options: o.withDefaults()}
	s.tail = newTail(s)
	s.options.addTail(s.tail)
	stir := s.options.onPositions
	s.options.onPositions = func() { stir(); s.positionsRead.broadcast() }
	s.options.onReplicaPosition = func(o Origin, r Revision) {
		if m := s.backend(string(o)); m != nil {
			raiseTo(&m.newestSeen, r)
		}
	}
	if len(o.Partitions) == 0 {
		return nil, errors.New("a store needs at least one partition")
	}
	if len(s.options.Masters) == 0 {
		s.options.Masters = []string{o.Partitions[0].Name()}
	}
	if err := s.options.checkRead(); err != nil {
		return nil, err
	}
	var err error
	if s.cache, err = newCache(s.options.CacheBytes, s.tail.wake); err != nil {
		return nil, err
	}
	members := make([]*backend, 0, len(o.Partitions))
	for _, p := range o.Partitions {
		if slices.ContainsFunc(members, func(m *backend) bool { return m.Name() == p.Name() }) {
			return nil, fmt.Errorf("two partitions are named %s", p.Name())
		}
		members = append(members, s.newBackend(p))
	}
	s.backends.Store(&members)
	for _, name := range s.options.Masters {
		if s.backend(name) == nil {
			return nil, fmt.Errorf("master %s: %w", name, ErrUnknownPartition)
		}
	}
	return s, nil
}

// Run connects to the partitions and serves until ctx ends; then it commits
// what was accepted and returns. An error says that the cluster contradicts
// the options, so that nothing can be served.
func (s *Store) Run(ctx context.Context) error {
	if err := s.Connect(ctx); err != nil && errors.Is(err, errMastersDiffer) {
		return err
	}
	s.mu.Lock()
	s.start = func(m *backend) { s.startBackend(ctx, m) }
	for _, m := range *s.backends.Load() {
		s.start(m)
	}
	s.work.Go(func() { s.tail.followLoop(ctx) })
	s.mu.Unlock()

	<-ctx.Done()
	s.mu.Lock()
	s.closed, s.start = true, nil
	s.mu.Unlock()
	s.work.Wait()
	return nil
}

func (s *Store) startBackend(ctx context.Context, m *backend) {
	s.work.Go(func() { s.superviseBackend(ctx, m) })
	s.work.Go(func() { m.committer.commitLoop(ctx) })
	s.work.Go(func() { s.proveWritableLoop(ctx, m) })
	for range s.options.Readers {
		s.work.Go(func() { m.batcher.readLoop(ctx) })
	}
}

// Add takes a further partition into a running store: it is joined and, once
// the sync process has filled it, serves reads.
func (s *Store) Add(p partition.Partition) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.backend(p.Name()) != nil {
		return fmt.Errorf("a partition is named %s already", p.Name())
	}
	m := s.newBackend(p)
	members := append(slices.Clone(*s.backends.Load()), m)
	s.backends.Store(&members)
	if s.start != nil {
		s.start(m)
	}
	return nil
}

func (s *Store) newBackend(p partition.Partition) *backend {
	m := newBackend(p, s.options)
	m.cache = s.cache
	return m
}

// Close closes the partitions. Run must have returned.
func (s *Store) Close() error {
	var errs []error
	for _, m := range slices.Backward(*s.backends.Load()) {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// CheckName returns a *KeyError unless name is a key of this store.
func (s *Store) CheckName(name string) error { return CheckName(name, s.options.MaxKeyBytes) }

// MaxValueBytes is the largest value that every partition accepts. Of one that was not
// reached yet it is what the default settings of its kind of server allow.
func (s *Store) MaxValueBytes() int64 {
	limit := s.options.MaxValueBytes
	for _, m := range *s.backends.Load() {
		limit = min(limit, m.MaxValueBytes())
	}
	return limit
}

// member returns the partition of that name, or nil.
func (s *Store) backend(name string) *backend {
	for _, m := range *s.backends.Load() {
		if m.Name() == name {
			return m
		}
	}
	return nil
}

// Peer is a configured partition as the sync process sees it.
type Replica struct {
	partition.Partition
	Err     error // why it cannot be used now; nil when it is joined and reachable
	SetBack error // why nothing that it wrote may be copied: a master that has lost writes
}

// Replicas returns every configured partition, in the order of the configuration.
func (s *Store) Replicas() []Replica {
	members := *s.backends.Load()
	peers := make([]Replica, len(members))
	for i, m := range members {
		peers[i] = Replica{Partition: m, Err: m.lastError(), SetBack: m.behindError()}
	}
	return peers
}

// Origins returns the origins that writes of now can have: all masters.
func (s *Store) Origins() []Origin {
	c := s.cluster.Load()
	if c == nil {
		return nil
	}
	origins := make([]Origin, len(c.Masters))
	for i, name := range c.Masters {
		origins[i] = Origin(name)
	}
	return origins
}

// Committed is the revision of the last commit of this process on a partition
// that was answered: it is durable, with all before it. Zero: none is known, or
// the partition was seen to hold less since.
func (s *Store) Committed(name string) Revision {
	if m := s.backend(name); m != nil {
		return Revision(m.newestAnswered.Load())
	}
	return 0
}

// SetBack is told that a master lacks what a replica holds of it, as partition.CheckLineage
// found: the master takes no writes until it is seen to hold that, or the replica is filled afresh.
func (s *Store) SetBack(origin, replica string, err error) {
	if m := s.backend(origin); m != nil {
		m.reportSetBack(replica, err)
	}
}

// Advance takes a position that somebody has just moved.
func (s *Store) Advance(name string, at partition.Position) {
	if m := s.backend(name); m != nil {
		m.advance(at)
	}
}

// Observe takes positions that somebody has just read of a partition.
func (s *Store) Observe(name string, p partition.Positions) {
	if m := s.backend(name); m != nil {
		m.observeForeign(p)
	}
}
