package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/cache"
	"github.com/runnelkv/runnel/store/internal/catchup"
	"github.com/runnelkv/runnel/store/internal/cluster"
	"github.com/runnelkv/runnel/store/internal/commit"
	"github.com/runnelkv/runnel/store/internal/feed"
	"github.com/runnelkv/runnel/store/internal/mend"
	"github.com/runnelkv/runnel/store/internal/quota"
	"github.com/runnelkv/runnel/store/internal/routing"
	"github.com/runnelkv/runnel/store/partition"
)

// Store is the core over a set of partitions. Its methods are safe for concurrent use.
// Reads and writes are answered while Run is running.
type Store struct {
	options    Options
	backends   *backend.Set
	cluster    *cluster.Register
	router     *routing.Router
	cache      *cache.Cache // of replicas' answers, or nil
	feed       *feed.Feed
	copier     *catchup.Copier
	quotas     *quota.Book
	mender     *mend.Mender
	committers atomic.Pointer[[]*commit.Committer] // by backend; replaced as a whole by Add
	requests   commit.Pool

	mu     sync.Mutex              // guards the fields below
	start  func(*commit.Committer) // starts the goroutines of a committer and its backend; nil while Run is not running
	closed bool                    // Add fails
	work   sync.WaitGroup          // the goroutines
}

// Open makes a store of the partitions, without connecting to any. The caller closes it.
func Open(o Options) (*Store, error) {
	if len(o.Partitions) == 0 {
		return nil, errors.New("a store needs at least one partition")
	}
	s := &Store{options: o.withDefaults()}
	if len(s.options.Masters) == 0 {
		s.options.Masters = []string{o.Partitions[0].Name()}
	}
	if err := s.options.checkRead(); err != nil {
		return nil, err
	}
	if err := s.assemble(); err != nil {
		return nil, err
	}
	for _, p := range o.Partitions {
		if err := s.addBackend(p); err != nil {
			return nil, err
		}
	}
	for _, name := range s.options.Masters {
		if s.backends.Named(name) == nil {
			return nil, fmt.Errorf("master %s: %w", name, backend.ErrUnknownPartition)
		}
	}
	return s, nil
}

// assemble makes the parts of the store.
func (s *Store) assemble() (err error) {
	o := &s.options
	s.backends = backend.NewSet(backend.Options{
		Timeout: o.Timeout, Poll: o.Poll, Readers: o.Readers, MaxValueBytes: o.MaxValueBytes, Logger: o.Logger, OnReach: o.OnReach,
		BootClock: o.BootClock, HasLease: func() bool { return s.cluster.HasLease() },
		OnPositions: func(name string, p *partition.Positions) {
			s.cache.ObservePositions(name, p)
			s.feed.NotePositions()
		},
		OnLoss:   func() { s.cache.Invalidate() },
		OnDamage: func(k Key) { s.mender.Note(k) },
	})
	s.cluster = cluster.New(s.backends, cluster.Options{
		Masters: o.Masters, Init: o.Init, Timeout: o.Timeout, Poll: o.Poll, BatchEntries: o.BatchEntries, BatchBytes: o.BatchBytes, Logger: o.Logger,
	})
	if s.cache, err = cache.New(o.CacheBytes, func() { s.feed.Wake() }); err != nil {
		return err
	}
	s.feed = feed.New(s.backends, s.cluster, s.cache, o.Timeout, o.Poll)
	s.router = routing.New(s.backends, s.cache, o.routing(s.background))
	s.copier = catchup.New(s.backends, o.Timeout)
	s.mender = mend.New(s.backends, o.Timeout, o.Logger)
	s.quotas = quota.NewBook()
	s.SetQuotas(o.Quotas)
	s.committers.Store(new([]*commit.Committer))
	return nil
}

// addBackend adds a partition and its committer.
func (s *Store) addBackend(p partition.Partition) error {
	b, err := s.backends.Add(p)
	if err != nil {
		return err
	}
	o := &s.options
	c := commit.New(b, commit.Options{
		BatchEntries: o.BatchEntries, BatchBytes: o.BatchBytes, QueueEntries: o.QueueEntries, MaxValueBytes: o.MaxValueBytes,
		Timeout: o.Timeout, Cache: s.cache, Quotas: s.quotas, CountGuards: s.countGuards, SlotOf: func(k Key) uint16 { return uint16(cluster.SlotOf(k)) },
		OnCommit: func() {
			o.OnCommit()
			s.feed.NoteCommit()
		},
	})
	committers := append(slices.Clone(*s.committers.Load()), c)
	s.committers.Store(&committers)
	return nil
}

// Run connects to the partitions and serves until ctx ends. Then it commits every accepted
// write and returns.
func (s *Store) Run(ctx context.Context) error {
	_ = s.Connect(ctx) // Status shows the errors, and the partitions are tried again
	s.mu.Lock()
	s.start = func(c *commit.Committer) { s.startCommitter(ctx, c) }
	for _, c := range *s.committers.Load() {
		s.start(c)
	}
	s.work.Go(func() { s.feed.FollowLoop(ctx) })
	s.work.Go(func() { s.measureLoop(ctx) })
	s.work.Go(func() { s.mender.Loop(ctx) })
	s.work.Go(func() { s.cluster.ContinueLoop(ctx) })
	s.work.Go(func() { s.cluster.ReportLoop(ctx) })
	if s.options.Promotes {
		s.work.Go(func() { s.cluster.FailoverLoop(ctx) })
	}
	s.mu.Unlock()

	<-ctx.Done()
	s.mu.Lock()
	s.closed, s.start = true, nil
	s.mu.Unlock()
	s.work.Wait()
	return nil
}

func (s *Store) startCommitter(ctx context.Context, c *commit.Committer) {
	b := c.Master
	s.work.Go(func() { s.cluster.SuperviseLoop(ctx, b) })
	s.work.Go(func() { c.CommitLoop(ctx) })
	s.work.Go(func() { s.cluster.ProveWritableLoop(ctx, b) })
	for range s.options.Readers {
		s.work.Go(func() { b.RunReader(ctx) })
	}
}

// background runs f in a goroutine that Run waits for. false: Run is not running.
func (s *Store) background(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.start == nil {
		return false
	}
	s.work.Go(f)
	return true
}

// Add adds a partition to the store, which may be running. The partition joins the cluster
// and serves reads once the sync process has filled it. ErrClosed: Run has ended.
func (s *Store) Add(p partition.Partition) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if err := s.addBackend(p); err != nil {
		return err
	}
	if s.start != nil {
		committers := *s.committers.Load()
		s.start(committers[len(committers)-1])
	}
	return nil
}

// Close closes the partitions. Run must have returned.
func (s *Store) Close() error {
	var errs []error
	for _, b := range slices.Backward(s.backends.All()) {
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
	for _, b := range s.backends.All() {
		limit = min(limit, b.MaxValueBytes())
	}
	return limit
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
	backends := s.backends.All()
	replicas := make([]Replica, len(backends))
	for i, b := range backends {
		st := b.State()
		replicas[i] = Replica{Partition: b, Err: st.Err, SetBack: st.Behind}
	}
	return replicas
}

// Committed is the revision of this process's last successful commit on a partition. That
// revision and all before it are durable. It is 0 if no commit is known, or the partition
// was seen to hold less since.
func (s *Store) Committed(name string) Revision {
	if b := s.backends.Named(name); b != nil {
		return b.NewestAnswered()
	}
	return 0
}

// Advance takes a position of a partition that the sync process has just moved.
func (s *Store) Advance(name string, at partition.Position) {
	if b := s.backends.Named(name); b != nil {
		b.AdvancePosition(at)
	}
}

// Observe takes positions of a partition that the sync process has just read.
func (s *Store) Observe(name string, p partition.Positions) {
	if b := s.backends.Named(name); b != nil {
		b.ObserveForeign(p)
	}
}
