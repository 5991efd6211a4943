package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/broadcast"
	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// Register owns the cluster map of this process. The register joins partitions to the cluster, founds a cluster where there
// is none, begins new epochs, and finds masters that have lost writes. All methods are safe for concurrent use.
type Register struct {
	backends *backend.Set
	options  Options
	current  atomic.Pointer[Map] // nil until the first partition has joined
	changed  broadcast.Channel   // of current

	unconfirmed atomic.Bool // a partition shows a later map that is not known to be chosen

	joining   sync.Mutex // serialises joins: the first join founds or finds the cluster
	reading   sync.Mutex // serialises refresh
	admitting sync.Mutex // serialises AdmitMaster

	mu       sync.Mutex // guards lineages
	lineages map[lineagePair]lineage
}

// Options configures a register.
type Options struct {
	Masters      []string      // names of partitions, not empty
	Init         bool          // found a cluster even if configured partitions cannot be reached
	Timeout      time.Duration // of a database operation
	Poll         time.Duration // how often a backend is looked after
	BatchEntries int           // of a step of a restore
	BatchBytes   int64         // of a step of a restore
	Logger       *slog.Logger
}

// New makes a register that knows no map yet.
func New(backends *backend.Set, o Options) *Register {
	return &Register{backends: backends, options: o, lineages: make(map[lineagePair]lineage)}
}

// Map returns the current map, nil until the first partition has joined.
func (r *Register) Map() *Map { return r.current.Load() }

// Tag is the tag of the cluster, 0 until the first partition has joined.
func (r *Register) Tag() version.ClusterTag {
	if c := r.Map(); c != nil {
		return c.Tag
	}
	return 0
}

// Origins lists the origins that new writes can have: all masters. It is nil until the first partition has joined.
func (r *Register) Origins() (origins []partition.Origin) {
	if c := r.Map(); c != nil {
		for _, name := range c.Masters {
			origins = append(origins, partition.Origin(name))
		}
	}
	return origins
}

// adopt makes c the known map, if c is later than the known map or that was not confirmed.
func (r *Register) adopt(c partition.Cluster) {
	for {
		known := r.Map()
		if known != nil && (c.Epoch < known.Epoch || c.Epoch == known.Epoch && (known.IsConfirmed() || !isConfirmed(&c))) {
			return
		}
		if r.current.CompareAndSwap(known, newMapOf(c)) {
			r.changed.Send()
			return
		}
	}
}

// refresh reads the cluster rows of all partitions, unless another call has read them since the map was known. pending: a
// partition has accepted a later map that is not known to be chosen.
func (r *Register) refresh(ctx context.Context, known *Map) (pending bool) {
	r.reading.Lock()
	defer r.reading.Unlock()
	if r.Map() != known {
		return false
	}
	read := r.askAll(ctx, r.backends.All(), func(ctx context.Context, b *backend.Backend) (partition.Cluster, error) { return b.Cluster(ctx) })
	for _, row := range read.rows {
		switch {
		case row.ID != known.ID || checkMap(row) != nil: // the partition's next join says why
		case isConfirmed(&row):
			r.adopt(row)
		default:
			pending = pending || row.Accepted > known.Accepted
		}
	}
	r.admitMasters(ctx)
	return pending
}

// admitMasters calls AdmitMaster for all masters.
func (r *Register) admitMasters(ctx context.Context) {
	for _, name := range r.Map().Masters {
		if b := r.backends.Named(name); b != nil {
			r.AdmitMaster(ctx, b)
		}
	}
}

// AdmitMaster lets a partition that has just become a master take writes, as its next poll would.
func (r *Register) AdmitMaster(ctx context.Context, b *backend.Backend) {
	r.admitting.Lock()
	defer r.admitting.Unlock()
	at := b.Observed()
	hasBegun := at != nil && at.Origins[partition.Origin(b.Name())].Revision >= partition.Floor(r.Map().EpochOf(b.Name()))
	if !b.IsReadable() || hasBegun && (b.IsWritable() || b.State().Behind != nil) {
		return
	}
	b.PollPositions(ctx)
	r.compareHead(ctx, b)
}

// moveWait is how long a request waits for the end of a move.
const moveWait = 2 * time.Second

// AwaitMaster returns a later map than known by which a master serves the request, as serves reports; nil: there is none
// within two seconds, or no later map.
func (r *Register) AwaitMaster(ctx context.Context, known *Map, serves func(*Map) bool) *Map {
	ctx, cancel := context.WithTimeout(ctx, moveWait)
	defer cancel()
	for {
		seen := r.Map()
		next := r.changed.Next()
		pending := r.refresh(ctx, seen)
		switch now := r.Map(); {
		case !now.IsConfirmed() || !serves(now):
		case now != known:
			return now
		case !pending:
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-next:
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// isOrigin reports whether a partition is a master, or has ever been.
func (r *Register) isOrigin(name string) bool {
	c := r.Map()
	return c != nil && slices.Contains(c.Cluster.Origins(), partition.Origin(name))
}

// Connect tries once to prepare and join every partition that has not joined yet, and reads
// all positions. The error joins, for each partition that cannot be used, the reason; the
// rest can be used.
func (r *Register) Connect(ctx context.Context) error {
	backends := r.backends.All()
	var group sync.WaitGroup
	for _, b := range backends {
		group.Go(func() { b.EnsurePrepared(ctx) })
	}
	group.Wait()
	var errs []error
	for _, b := range backends { // in order: the first partition's cluster counts
		if err := r.joinBackend(ctx, b); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", b.Name(), err))
		}
	}
	for _, b := range backends { // those before the founder could not join at first
		if st := b.State(); !st.IsJoined && st.IsPrepared {
			r.joinBackend(ctx, b)
		}
	}
	for _, b := range backends {
		group.Go(func() { b.PollPositions(ctx) })
	}
	group.Wait()
	for _, b := range backends {
		r.compareHead(ctx, b)
	}
	return errors.Join(errs...)
}

// SuperviseLoop keeps a backend joined, and its health and positions up to date, until
// ctx ends. While only an operator can help, the polls are rarer.
func (r *Register) SuperviseLoop(ctx context.Context, b *backend.Backend) {
	timer := time.NewTimer(r.options.Poll)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		b.EnsurePrepared(ctx)
		r.joinBackend(ctx, b)
		b.PollPositions(ctx)
		r.compareHead(ctx, b)
		interval := r.options.Poll
		if errors.Is(b.State().Err, partition.ErrRefused) {
			interval *= 5
		}
		timer.Reset(interval)
	}
}
