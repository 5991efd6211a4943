package sync

import (
	"cmp"
	"log/slog"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/sync/internal/durability"
	"github.com/runnelkv/runnel/sync/internal/lease"
)

// Cluster is the part of the store that the syncer needs.
type Cluster interface {
	// Replicas returns every configured partition, in the order of the
	// configuration; Err says why a partition is unusable now.
	Replicas() []store.Replica
	// Origins returns all masters.
	Origins() []store.Origin
	// Committed returns the revision of this process's last answered commit on a
	// partition: everything up to that revision is durable there. Zero: unknown.
	Committed(name string) partition.Revision
	// Observe passes on positions that were just read.
	Observe(name string, p partition.Positions)
	// SetBack reports an origin that lacks changes which a target holds. From then
	// on Replicas reports the loss too.
	SetBack(origin, target string, err error)
	// Advance passes on a position that was just moved.
	Advance(name string, at partition.Position)
}

// Options configure a Syncer. A field's zero value selects the default.
type Options struct {
	Schedule     cron.Schedule // starts passes; default every second; see ParseSchedule
	BatchEntries int           // most entries of an Apply, default 2000
	BatchBytes   int64         // an Apply ends when the sum of its values reaches this size, default 8 MiB
	Timeout      time.Duration // of a short operation (positions, snapshot, barrier, lease), default 5 s
	CopyTimeout  time.Duration // of reading or applying a chunk, default 1 min
	BackoffMax   time.Duration // longest delay before a failed operation is retried, default 30 s
	LeaseTTL     time.Duration // how long a target waits for a process that died, default 15 s
	Holder       string        // names this process in leases, unique; default: host, process and a random part

	SweepEvery     time.Duration // between two sweeps of expired entries, default 10 s; negative: never
	CollectEvery   time.Duration // between two collections of tombstones, default 1 min; negative: never
	TombstoneGrace time.Duration // least age of a tombstone, counted from when all partitions passed it, default 0

	Verify cron.Schedule // starts verifications that repair, by the process that copies; nil: never

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
	o.Holder = cmp.Or(o.Holder, lease.NewHolder())
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o
}

// Syncer keeps the partitions of a cluster level. All methods are safe for
// concurrent use.
type Syncer struct {
	cluster Cluster
	options Options
	log     *slog.Logger

	running      chan struct{}                            // holds a token while Run or a standalone Pass works
	passRequests chan chan *pass                          // passes that Pass requests from Run
	triggerCh    chan struct{}                            // requests a pass; the sender does not wait
	retryCh      chan struct{}                            // work that an earlier pass left out is possible now
	streamDone   chan struct{}                            // a copy has ended: Run must compute its next wake-up again
	background   sync.WaitGroup                           // running copies, late readings, sweeps and collections
	durabilities map[partition.Origin]*durability.Tracker // used only by the goroutine that makes passes

	mu         sync.Mutex // guards the fields below, and the fields of replicas and streams
	replicas   []*replica // in the order of the configuration
	passes     int64
	lastPass   time.Time
	lastTook   time.Duration
	lastWake   time.Time
	inBurst    bool // the last wake came less than burstGap after the previous wake
	mark       *mark
	collecting upkeep
	sweeping   upkeep
}

// New returns a Syncer, which does nothing before Run or Pass.
func New(c Cluster, o Options) *Syncer {
	o = o.withDefaults()
	return &Syncer{
		cluster:      c,
		options:      o,
		log:          o.Logger,
		running:      make(chan struct{}, 1),
		passRequests: make(chan chan *pass),
		triggerCh:    make(chan struct{}, 1),
		retryCh:      make(chan struct{}, 1),
		streamDone:   make(chan struct{}, 1),
		durabilities: make(map[partition.Origin]*durability.Tracker),
	}
}

// usable returns the partitions that can be compared.
func (s *Syncer) usable() (parts []partition.Partition) {
	for _, r := range s.cluster.Replicas() {
		if r.Err == nil && r.SetBack == nil {
			parts = append(parts, r.Partition)
		}
	}
	return parts
}

// notify sends without waiting. A notification that is already queued counts for both.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Status returns the current status.
func (s *Syncer) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Holder: s.options.Holder, Passes: s.passes, LastPass: s.lastPass, LastTook: s.lastTook}
	if s.passes > 0 {
		st.NextPass = following(s.options.Schedule, s.lastPass)
	}
	for _, r := range s.replicas {
		st.Targets = append(st.Targets, r.status())
		st.Active = st.Active || r.lease.IsHeld()
	}
	return st
}
