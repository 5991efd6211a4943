package files

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	gosync "sync"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/store/partition"
)

// Store is the part of *store.Store that a Keeper uses.
type Store interface {
	Replicas() []store.Replica
	Update(ctx context.Context, keys []store.Key, o store.UpdateOptions, fn func(*store.Tx) error) error
}

// Options configures a Keeper. The zero value of a field means its default.
type Options struct {
	Interval  time.Duration // between the beginnings of two passes, default 5 min
	ScrubRate int64         // bytes of chunks that are read and compared in a second, default 4 MiB; negative: none
	Holder    string        // names this process in the lease
	Logger    *slog.Logger  // default slog.Default()
}

// Keeper keeps the chunks of the files of a store.
type Keeper struct {
	store   Store
	service *file.Service
	options Options
	log     *slog.Logger

	working gosync.Mutex     // held by a pass; guards the fields of this group
	marks   map[string]marks // of chunks that no manifest names, by partition
	surplus map[string]marks // of chunks beyond the copies of their files, by partition
	scrub   scrubState
	renewed time.Time // the lease

	mu     gosync.Mutex // guards status
	status Status
}

// Status is the state of the work on chunks.
type Status struct {
	Stage      string    // of the running pass: "", "manifests", "chunks", "copies", "scrub"
	Standby    bool      // another process does the work
	Passes     int64     // that have ended without an error
	LastPass   time.Time // the end of the last such pass; zero: none
	Took       time.Duration
	Err        error     // of the last pass
	Chunks     int64     // that manifests name, as of the last pass
	Bytes      int64     // of these chunks, a single copy each
	Missing    int64     // copies still to restore
	Unused     int64     // marked chunks that no manifest names, over all partitions
	Lost       int64     // chunks without a whole copy on any partition, although all partitions answered
	Copied     int64     // copies that were restored since the start
	Dropped    int64     // chunks that were dropped since the start
	Scrubbed   int64     // chunks whose copies were read and compared in the present round
	VerifiedAt time.Time // the beginning of the last complete round of comparing; zero: none
}

// New returns a Keeper.
func New(s Store, f *file.Service, o Options) *Keeper {
	o.Interval = cmp.Or(o.Interval, 5*time.Minute)
	o.ScrubRate = cmp.Or(o.ScrubRate, 4<<20)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return &Keeper{store: s, service: f, options: o, log: o.Logger, marks: make(map[string]marks), surplus: make(map[string]marks)}
}

// Status returns the state of the work.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

func (k *Keeper) update(f func(*Status)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(&k.status)
}

// lookEvery is how often Run looks for partitions that have come or gone.
const lookEvery = 2 * time.Second

// Run makes a pass at each interval, and when the partitions that can be used have changed, until ctx
// ends.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	due, seen := time.Now().Add(lookEvery), ""
	for {
		select {
		case <-ctx.Done():
			k.release(context.WithoutCancel(ctx))
			return nil
		case now := <-tick.C:
			usable := k.usable()
			if now.Before(due) && usable == seen {
				continue
			}
			began := time.Now()
			if err := k.Pass(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, errStandby) {
				k.logFailure(err)
			}
			due, seen = began.Add(k.options.Interval), usable
		}
	}
}

// usable names the partitions that can be used.
func (k *Keeper) usable() string {
	var names []string
	for _, r := range k.store.Replicas() {
		if r.Err == nil {
			names = append(names, r.Name())
		}
	}
	return strings.Join(names, " ")
}

// Pass makes a pass and returns when the pass has ended.
func (k *Keeper) Pass(ctx context.Context) error {
	k.working.Lock()
	defer k.working.Unlock()
	began := time.Now()
	err := k.pass(ctx, began)
	k.update(func(s *Status) {
		s.Stage, s.Err, s.Standby = "", err, errors.Is(err, errStandby)
		if s.Standby {
			s.Err = nil
		}
		if err == nil {
			s.Passes, s.LastPass, s.Took = s.Passes+1, time.Now(), time.Since(began)
		}
	})
	return err
}

func (k *Keeper) pass(ctx context.Context, began time.Time) error {
	k.stage("manifests")
	in, err := k.readInventory(ctx)
	if err != nil || len(in.refs) == 0 && !k.hasChunks(ctx, in) {
		return err
	}
	if err := k.acquire(ctx); err != nil {
		return err
	}
	k.stage("chunks")
	for i := range in.replicas {
		if err := k.compare(ctx, in, i); err != nil {
			return err
		}
	}
	k.stage("copies")
	if err := k.restoreCopies(ctx, in); err != nil {
		return err
	}
	k.stage("scrub")
	return k.scrubUntil(ctx, in, began.Add(k.options.Interval/2))
}

// hasChunks reports whether a partition is known to hold a chunk. Without files and chunks there is no work, and not even the
// lease is written.
func (k *Keeper) hasChunks(ctx context.Context, in *inventory) bool {
	for _, r := range in.replicas {
		if r.Err != nil {
			continue
		}
		if infos, err := r.ListChunks(ctx, nil, 1); err == nil && len(infos) > 0 {
			return true
		}
	}
	return false
}

// logFailure logs why a pass did not end. The store logs partitions that cannot be used.
func (k *Keeper) logFailure(err error) {
	level := slog.LevelWarn
	for _, known := range []error{store.ErrNoPartition, store.ErrMasterUnavailable, partition.ErrUnavailable} {
		if errors.Is(err, known) {
			level = slog.LevelDebug
		}
	}
	k.log.Log(context.Background(), level, "the pass over the chunks of files did not end", "error", err)
}

func (k *Keeper) stage(name string) { k.update(func(s *Status) { s.Stage = name }) }
