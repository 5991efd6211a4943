package sync

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// Cluster is what the syncer needs of the store.
type Cluster interface {
	// Replicas returns every configured partition, in the order of the
	// configuration; Err says why one cannot be used now.
	Replicas() []store.Replica
	// Origins returns all masters.
	Origins() []store.Origin
	// Committed is the revision of the last commit of this process on a
	// partition that was answered: it, and all before it, is durable there. Zero: not known.
	Committed(name string) partition.Revision
	// Observe is told positions that were just read, so that reads learn at once.
	Observe(name string, p partition.Positions)
	// SetBack is told that an origin lacks what a target holds of it; from then on Replicas says so.
	SetBack(origin, target string, err error)
	// Advance is told one position that was just moved.
	Advance(name string, at partition.Position)
}

// Options is how a Syncer is made. The zero value of a field means its default.
type Options struct {
	Schedule     cron.Schedule // when passes start by themselves, default every second; see ParseSchedule
	BatchEntries int           // most entries of one Apply, default 2000
	BatchBytes   int64         // an Apply's entries end with the one whose value reaches this sum, default 8 MiB
	Timeout      time.Duration // bound of a short operation (positions, snapshot, barrier, lease), default 5 s
	CopyTimeout  time.Duration // bound of reading or applying one batch, default 1 min
	BackoffMax   time.Duration // most time between two attempts at what fails, default 30 s
	LeaseTTL     time.Duration // how long a target waits for a process that died, default 15 s
	Holder       string        // names this process in leases, unique; default made of host and process

	SweepEvery     time.Duration // between two sweeps of expired entries, default 10 s; negative: never
	CollectEvery   time.Duration // between two collections of tombstones, default 1 min; negative: never
	TombstoneGrace time.Duration // how long this process must have known a tombstone to be passed by all, default none

	Wake   <-chan struct{} // a receive starts a pass at once; may be nil
	Logger *slog.Logger    // default slog.Default()
}

func (o Options) withDefaults() Options {
	o.Schedule = cmp.Or[cron.Schedule](o.Schedule, cron.Every(time.Second))
	o.BatchEntries = cmp.Or(o.BatchEntries, 2000)
	o.BatchBytes = cmp.Or(o.BatchBytes, 8<<20)
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	o.CopyTimeout = cmp.Or(o.CopyTimeout, time.Minute)
	o.BackoffMax = cmp.Or(o.BackoffMax, 30*time.Second)
	o.LeaseTTL = cmp.Or(o.LeaseTTL, 15*time.Second)
	o.SweepEvery = cmp.Or(o.SweepEvery, 10*time.Second)
	o.CollectEvery = cmp.Or(o.CollectEvery, time.Minute)
	o.Holder = cmp.Or(o.Holder, NewHolder())
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o
}

// Syncer keeps the partitions of a cluster level. All methods are safe for
// concurrent use.
type Syncer struct {
	cluster Cluster
	options Options
	log     *slog.Logger

	turn     chan struct{}    // holds a token while Run or a lone Pass is at work
	requests chan chan *pass  // passes that Pass asks a running Run for
	trigger  chan struct{}    // a pass is asked for, nobody waits
	kick     chan struct{}    // something that a pass left out can be done now
	freed    chan struct{}    // a copy has ended: there may be a pause or a rest to wait for
	work     sync.WaitGroup   // lanes, late reads and collections under way
	gates    map[string]*gate // by origin; used by Run's or Pass's goroutine alone

	mu         sync.Mutex // guards the fields below, and those of peers and lanes
	peers      []*peer    // in the order of the configuration
	passes     int64
	lastPass   time.Time
	lastTook   time.Duration
	lastWake   time.Time
	inBurst    bool // the last wake came less than burstGap after the one before
	mark       *mark
	considered time.Time
	collecting bool
	sweeping   bool
	swept      time.Time // when the last sweep began
}

// New makes a syncer; nothing happens before Run or Pass.
func New(c Cluster, o Options) *Syncer {
	o = o.withDefaults()
	return &Syncer{
		cluster:  c,
		options:  o,
		log:      o.Logger,
		turn:     make(chan struct{}, 1),
		requests: make(chan chan *pass),
		trigger:  make(chan struct{}, 1),
		kick:     make(chan struct{}, 1),
		freed:    make(chan struct{}, 1),
		gates:    make(map[string]*gate),
	}
}

// Trigger asks a running Run for a pass and does not wait for it.
func (s *Syncer) Trigger() { signal(s.trigger) }

// signal sends without waiting; one that waits already counts for both.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Pass makes one pass over everything and waits until every target is done or
// has failed; the report says how each stands. While Run is at work, it is Run
// that makes the pass, and copies under way count to it. Otherwise Pass
// also sweeps expired entries, collects tombstones, and gives the leases up at the end. The error is ctx's.
func (s *Syncer) Pass(ctx context.Context) (Report, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
		return s.lonePass(ctx)
	default:
	}
	answer := make(chan *pass, 1)
	var first *pass
	for range 2 { // a copy that was under way at first may be of an older snapshot
		select {
		case s.requests <- answer:
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
			return s.lonePass(ctx)
		case <-ctx.Done():
			return Report{}, ctx.Err()
		}
		p := <-answer
		if err := p.wait(ctx); err != nil {
			return Report{}, err
		}
		if first == nil {
			first = p
		}
		if len(p.joined) == 0 {
			break
		}
	}
	return s.report(first), nil
}

func (s *Syncer) lonePass(ctx context.Context) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer s.release(ctx)
	defer s.work.Wait()
	defer cancel()
	p := s.start(ctx, alone)
	s.beginMark(p.view)
	if err := p.wait(ctx); err != nil {
		return Report{}, err
	}
	if err := s.sweepNow(ctx, p.view); err != nil {
		return Report{}, err
	}
	s.collectNow(ctx, s.look(ctx, alone))
	return s.report(p), ctx.Err()
}
