package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Store is the core over a set of partitions. Its methods are safe for concurrent use.
// Reads and writes are answered while Run is running.
type Store struct {
	options          Options
	backends         atomic.Pointer[[]*backend] // replaced as a whole by Add
	cluster          atomic.Pointer[clusterMap] // nil until the first partition has joined
	tail             *tail                      // reads the feed for all watchers
	positionsChanged notifier                   // of any backend
	cache            *cache                     // of replicas' answers, or nil
	requests         sync.Pool                  // of *writeRequest

	joining sync.Mutex // serialises joins: the first one founds or finds the cluster

	mu     sync.Mutex     // guards the fields below
	start  func(*backend) // starts a backend's goroutines; nil while Run is not running
	closed bool           // Add fails
	work   sync.WaitGroup // the backends' goroutines
}

// Open makes a store of the partitions, without connecting to any. The caller closes it.
func Open(o Options) (*Store, error) {
	s := &Store{options: o.withDefaults()}
	s.tail = newTail(s)
	s.requests.New = func() any { return &writeRequest{alone: newGroup(1)} }
	onCommit := s.options.OnCommit
	s.options.OnCommit = func() {
		onCommit()
		s.tail.wakeIfWatched()
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
	backends := make([]*backend, 0, len(o.Partitions))
	for _, p := range o.Partitions {
		if slices.ContainsFunc(backends, func(b *backend) bool { return b.Name() == p.Name() }) {
			return nil, fmt.Errorf("two partitions are named %s", p.Name())
		}
		backends = append(backends, s.newBackend(p))
	}
	s.backends.Store(&backends)
	for _, name := range s.options.Masters {
		if s.backend(name) == nil {
			return nil, fmt.Errorf("master %s: %w", name, ErrUnknownPartition)
		}
	}
	return s, nil
}

func (s *Store) newBackend(p partition.Partition) *backend {
	return newBackend(p, s.options, hooks{
		onPositions: func() {
			s.tail.wakeIfWatched()
			if s.cache.active() {
				s.tail.wake()
			}
			s.positionsChanged.broadcast()
		},
		onReplicaPosition: func(o Origin, r Revision) {
			if b := s.backend(string(o)); b != nil {
				raiseTo(&b.newestSeen, r)
			}
		},
		cache: s.cache,
	})
}

// Run connects to the partitions and serves until ctx ends. Then it commits every accepted
// write and returns. It fails at once if the cluster contradicts the options.
func (s *Store) Run(ctx context.Context) error {
	if err := s.Connect(ctx); err != nil && errors.Is(err, errMastersDiffer) {
		return err
	}
	s.mu.Lock()
	s.start = func(b *backend) { s.startBackend(ctx, b) }
	for _, b := range *s.backends.Load() {
		s.start(b)
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

func (s *Store) startBackend(ctx context.Context, b *backend) {
	s.work.Go(func() { s.superviseBackend(ctx, b) })
	s.work.Go(func() { b.committer.commitLoop(ctx) })
	s.work.Go(func() { s.proveWritableLoop(ctx, b) })
	for range s.options.Readers {
		s.work.Go(func() { b.batcher.Run(ctx) })
	}
}

// superviseBackend keeps a backend joined, and its health and positions up to date, until
// ctx ends. While only an operator can help it looks less often.
func (s *Store) superviseBackend(ctx context.Context, b *backend) {
	timer := time.NewTimer(s.options.Poll)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		b.prepare(ctx)
		s.joinBackend(ctx, b)
		b.pollPositions(ctx)
		s.compareHead(ctx, b)
		interval := s.options.Poll
		if errors.Is(b.state().err, partition.ErrRefused) {
			interval *= 5
		}
		timer.Reset(interval)
	}
}

// Add adds a partition to the store, which may be running. The partition joins the cluster
// and serves reads once the sync process has filled it. ErrClosed: Run has ended.
func (s *Store) Add(p partition.Partition) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.backend(p.Name()) != nil {
		return fmt.Errorf("a partition named %s exists already", p.Name())
	}
	b := s.newBackend(p)
	backends := append(slices.Clone(*s.backends.Load()), b)
	s.backends.Store(&backends)
	if s.start != nil {
		s.start(b)
	}
	return nil
}

// Close closes the partitions. Run must have returned.
func (s *Store) Close() error {
	var errs []error
	for _, b := range slices.Backward(*s.backends.Load()) {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

// CheckName returns a *KeyError unless name is a valid name of a key in this store.
func (s *Store) CheckName(name string) error { return CheckName(name, s.options.MaxKeyBytes) }

// MaxValueBytes is the size of the largest value that every partition accepts. A partition
// that was not reached yet counts with the default settings of its kind of server.
func (s *Store) MaxValueBytes() int64 {
	limit := s.options.MaxValueBytes
	for _, b := range *s.backends.Load() {
		limit = min(limit, b.MaxValueBytes())
	}
	return limit
}

// backend returns the backend of the named partition, or nil.
func (s *Store) backend(name string) *backend {
	for _, b := range *s.backends.Load() {
		if b.Name() == name {
			return b
		}
	}
	return nil
}

// Replica is a configured partition as the sync process sees it.
type Replica struct {
	partition.Partition
	Err     error // why the partition cannot be used now; nil when it has joined and is reachable
	SetBack error // why nothing of this origin may be copied: it is a master that has lost writes
}

// Replicas returns every configured partition, masters too, in the order of the
// configuration.
func (s *Store) Replicas() []Replica {
	backends := *s.backends.Load()
	replicas := make([]Replica, len(backends))
	for i, b := range backends {
		st := b.state()
		replicas[i] = Replica{Partition: b, Err: st.err, SetBack: st.behind}
	}
	return replicas
}

// Committed is the revision of this process's last successful commit on a partition. That
// revision and all before it are durable. It is 0 if no commit is known, or the partition
// was seen to hold less since.
func (s *Store) Committed(name string) Revision {
	if b := s.backend(name); b != nil {
		return Revision(b.newestAnswered.Load())
	}
	return 0
}

// Advance takes a position of a partition that the sync process has just moved.
func (s *Store) Advance(name string, at partition.Position) {
	if b := s.backend(name); b != nil {
		b.advancePosition(at)
	}
}

// Observe takes positions of a partition that the sync process has just read.
func (s *Store) Observe(name string, p partition.Positions) {
	if b := s.backend(name); b != nil {
		b.observeForeign(p)
	}
}
