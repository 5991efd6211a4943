package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/runnelkv/runnel/store/internal/pointread"
	"github.com/runnelkv/runnel/store/partition"
)

// Backend is a pooled database: a partition together with its health, its latency, a
// circuit breaker over its reads, and the positions last observed.
type Backend struct {
	partition.Partition
	set     *Set
	batcher *pointread.Batcher
	breaker *gobreaker.CircuitBreaker[[]partition.Entry]

	tripped     atomic.Bool                 // the breaker is not closed: ask for its state
	observation atomic.Pointer[Observation] // nil until the positions were read
	committed   atomic.Int64                // see NewestCommitted
	seen        atomic.Int64                // see NewestSeen
	answered    atomic.Int64                // see NewestAnswered
	durable     atomic.Int64                // see DurableUpTo
	joinCount   atomic.Int64                // see joins
	smoothed    atomic.Int64                // see latency
	lastRead    atomic.Int64                // when keys were read last, in nanoseconds since set.began
	readable    atomic.Bool                 // see IsReadable
	writable    atomic.Bool                 // see IsWritable
	mayLack     atomic.Bool                 // see MayLackWrites
	proof       proof                       // that commits succeed
	damages     damageLog

	confirmations confirmations // of the counter's epoch

	mu            sync.Mutex // guards the fields below
	current       State
	lastLogged    string    // the change of state that was logged last
	refusalLogged time.Time // when refused commits were logged last
}

// State is the outcome of the last attempts to use a backend.
type State struct {
	IsPrepared bool  // the database has been reached, and its tables are there
	IsJoined   bool  // the database belongs to the cluster under this name
	Err        error // why the backend cannot be used now, or nil
	Behind     error // why the master is known to have lost writes, or nil
}

// State is the outcome of the last attempts to use the backend.
func (b *Backend) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.current
}

func newBackend(p partition.Partition, s *Set) *Backend {
	o := &s.options
	b := &Backend{Partition: p, set: s, current: State{Err: ErrNotReached}}
	b.breaker = gobreaker.NewCircuitBreaker[[]partition.Entry](gobreaker.Settings{
		Name:          p.Name(),
		Timeout:       o.Poll,
		ReadyToTrip:   func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= 3 },
		IsSuccessful:  func(err error) bool { return !errors.Is(err, partition.ErrUnavailable) },
		OnStateChange: func(_ string, _, to gobreaker.State) { b.tripped.Store(to != gobreaker.StateClosed) },
	})
	b.damages.log = o.Logger.With("partition", p.Name())
	b.proof.check = make(chan struct{}, 1)
	b.batcher = pointread.New(b, o.Readers, o.Timeout)
	b.mayLack.Store(true)
	return b
}

// EnsurePrepared prepares the database once it can be reached, and records the outcome.
func (b *Backend) EnsurePrepared(ctx context.Context) {
	if b.State().IsPrepared {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, max(b.set.options.Timeout, 30*time.Second)) // a first start may create tables
	defer cancel()
	err := b.Prepare(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current.IsPrepared = err == nil; b.current.IsPrepared {
		for _, w := range b.AllWarnings() {
			b.set.options.Logger.Warn("unsafe or limiting setting of the partition's server", "partition", b.Name(), "reason", w)
		}
	}
	b.setErr(err)
}

// AllWarnings are those of the partition's server, and a limit on values below the store's.
func (b *Backend) AllWarnings() []string {
	warnings := slices.Clone(b.Warnings())
	if limit := b.MaxValueBytes(); limit < b.set.options.MaxValueBytes {
		warnings = append(warnings, fmt.Sprintf("it takes values of at most %d bytes: larger ones are refused everywhere, though max_value_bytes is %d; raise max_allowed_packet to %d or more",
			limit, b.set.options.MaxValueBytes, b.set.options.MaxValueBytes+256<<10))
	}
	return warnings
}

// SetJoined records the outcome of an attempt to join the cluster.
func (b *Backend) SetJoined(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.current.IsJoined = err == nil
	b.joinCount.Add(1)
	b.setErr(err)
}

// SetBehind records why the master is known to have lost writes; nil: it has lost none.
func (b *Backend) SetBehind(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current.Behind = nil; cause != nil {
		b.current.Behind = fmt.Errorf("%w: it has lost writes, takes no new ones and answers no reads of its keys", cause)
		b.logOnce(slog.LevelError, "master is behind its copies", b.current.Behind)
	}
	b.mayLack.Store(cause != nil)
	if writable := b.readable.Load() && cause == nil; b.writable.Swap(writable) != writable && writable {
		b.requestWriteCheck()
	}
}

// setErr records the outcome of the last attempt to reach the database. b.mu is held.
func (b *Backend) setErr(err error) {
	if errors.Is(err, partition.ErrNotPrepared) { // an empty server has replaced the database
		b.current.IsPrepared, b.current.IsJoined = false, false
		b.observation.Store(nil)
	}
	if b.current.Err = err; err == nil && !b.current.IsJoined {
		b.current.Err = ErrNotReached // the cluster of the database is unknown: nothing may be written to it
	}
	if readable := b.current.IsJoined && err == nil; b.readable.Swap(readable) != readable && readable {
		b.set.options.OnReach()
	}
	if err == nil {
		if b.current.IsJoined && b.current.Behind == nil && b.CommitRefusal() == nil {
			b.logOnce(slog.LevelInfo, logPartitionAnswers, nil)
		}
		return
	}
	b.writable.Store(false)
	b.mayLack.Store(true)
	level := slog.LevelWarn
	if errors.Is(err, partition.ErrRefused) {
		level = slog.LevelError
	}
	b.logOnce(level, "partition cannot be used", err)
}

// logPartitionAnswers is logged when nothing is wrong with a partition any more.
const logPartitionAnswers = "partition answers"

// logOnce logs a change of state, unless it was the last to be logged. b.mu is held.
func (b *Backend) logOnce(level slog.Level, text string, err error) {
	if b.lastLogged == text {
		return
	}
	b.lastLogged = text
	args := []any{"partition", b.Name()}
	if err != nil {
		args = append(args, "error", err)
	}
	b.set.options.Logger.Log(context.Background(), level, text, args...)
}

// PollPositions reads the positions of a joined backend and records its health.
func (b *Backend) PollPositions(ctx context.Context) {
	if !b.State().IsJoined {
		return
	}
	limit := min(b.set.options.Timeout, 2*time.Second)
	late := time.Now().Add(limit / 2)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err := b.ReadPositions(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled):
		return // this process is stopping
	case err != nil && ctx.Err() != nil && b.hasReadSince(late):
		return // the database answers, but slowly, as on an overloaded machine
	case err != nil: // the next answer may come from another database
		b.current.IsJoined = false
		b.current.IsPrepared = b.current.IsPrepared && errors.Is(err, partition.ErrUnavailable)
	}
	b.setErr(err)
}

// ReadKeys reads entries in a statement of their own, through the breaker. Values larger
// than maxValue bytes are left out. An open breaker is ErrUnavailable.
func (b *Backend) ReadKeys(ctx context.Context, keys []partition.Key, maxValue int64) ([]partition.Entry, error) {
	began := time.Now()
	entries, err := b.breaker.Execute(func() ([]partition.Entry, error) {
		if maxValue == pointread.Whole {
			return b.Get(ctx, keys)
		}
		return b.GetSmall(ctx, keys, maxValue)
	})
	switch {
	case err == nil:
		now := time.Now()
		b.lastRead.Store(int64(now.Sub(b.set.began)))
		b.ObserveLatency(now.Sub(began))
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		err = fmt.Errorf("%w: the circuit breaker is open after repeated failures: %w", partition.ErrUnavailable, err)
	}
	return entries, err
}

// hasReadSince reports whether a statement that began at any time has read keys since t.
func (b *Backend) hasReadSince(t time.Time) bool {
	return b.lastRead.Load() > int64(t.Sub(b.set.began))
}

// ObserveLatency adds the duration of an operation to the smoothed latency.
func (b *Backend) ObserveLatency(d time.Duration) {
	old := b.smoothed.Load()
	b.smoothed.Store(old + (int64(d)-old)/8)
}

// Unavailable is the error of a write or read that only this master could have answered.
// Without a cause the known state of the master is the cause.
func (b *Backend) Unavailable(cause error) error {
	st := b.State()
	return &MasterError{Master: b.Name(), RetryAfter: b.set.options.Poll, Err: cmp.Or(cause, st.Err, st.Behind, ErrNotReached)}
}

// IsUp reports whether reads can be sent to the backend.
func (b *Backend) IsUp() bool {
	return b.readable.Load() && (!b.tripped.Load() || b.breaker.State() != gobreaker.StateOpen)
}

// Latency is that of recent operations, smoothed.
func (b *Backend) Latency() time.Duration { return time.Duration(b.smoothed.Load()) }

// Joins is the number of attempts to join.
func (b *Backend) Joins() int64 { return b.joinCount.Load() }

// HasLease reports whether this process may commit on the backend and answer for it, as a master.
func (b *Backend) HasLease() bool { return b.set.options.HasLease() }

// IsReadable reports whether the backend has joined, and the last attempt to reach the database succeeded.
func (b *Backend) IsReadable() bool { return b.readable.Load() }

// IsWritable reports whether the backend is readable, and its counter was compared with the replicas.
func (b *Backend) IsWritable() bool { return b.writable.Load() }

// MayLackWrites reports whether replicas hold newer revisions of this master, or were not compared yet.
func (b *Backend) MayLackWrites() bool { return b.mayLack.Load() }

// NoteNoMaster records that the partition is the master of nothing, and so can have lost no writes.
func (b *Backend) NoteNoMaster() { b.mayLack.Store(false) }

// RunReader answers point reads until ctx ends. A backend has as many readers as the options say.
func (b *Backend) RunReader(ctx context.Context) { b.batcher.Run(ctx) }

// IsFaster reports whether b is faster than another backend by more than chance explains.
// Among backends of about equal latency the choice stays random.
func (b *Backend) IsFaster(than *Backend) bool {
	return 5*b.smoothed.Load() < 4*than.smoothed.Load()
}
