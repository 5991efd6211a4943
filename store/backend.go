package store

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

// backend is a pooled database: a partition together with its health, its latency, a
// circuit breaker over its reads, and the positions last observed.
type backend struct {
	partition.Partition
	options   Options
	hooks     hooks
	batcher   *pointread.Batcher
	committer *committer
	catchUps  catchUps // for writes that need copies at once
	breaker   *gobreaker.CircuitBreaker[[]Entry]

	tripped            atomic.Bool                       // the breaker is not closed: ask for its state
	observed           atomic.Pointer[observedPositions] // nil until the positions were read
	newestCommitted    atomic.Int64                      // newest revision committed by this process, capped by the counter as read
	newestSeen         atomic.Int64                      // newest revision of this origin ever committed here or held by a replica
	newestAnswered     atomic.Int64                      // revision of the last successful commit; 0: unknown
	durableUpTo        atomic.Int64                      // revision up to which a barrier has made this origin durable
	joins              atomic.Int64                      // attempts to join
	failedWait         atomic.Pointer[failedWait]        // of a session that waited for the replicas of this master
	isReadingPositions atomic.Bool                       // on behalf of a waiting session
	latency            atomic.Int64                      // of recent operations in nanoseconds, smoothed
	isReadable         atomic.Bool                       // joined, and the last attempt to reach the database succeeded
	isWritable         atomic.Bool                       // readable, and the counter was compared with the replicas
	mayLackWrites      atomic.Bool                       // replicas hold newer revisions of this master, or were not compared yet
	proof              proof                             // that commits succeed
	damages            damageLog

	mu sync.Mutex // guards the fields below
	backendState
	lineages      map[string]lineage // by replica
	lastLogged    string             // the change of state that was logged last
	refusalLogged time.Time          // when refused commits were logged last
}

// backendState is the outcome of the last attempts to use a backend.
type backendState struct {
	isPrepared bool
	isJoined   bool
	err        error // why the backend cannot be used now, or nil
	behind     error // why the master is known to have lost writes, or nil
}

func (b *backend) state() backendState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.backendState
}

// hooks connect a backend with its store.
type hooks struct {
	onPositions       func()                 // the observed positions have changed; must not block
	onReplicaPosition func(Origin, Revision) // a replica was seen to hold this revision of an origin
	cache             *cache                 // follows commits and positions; may be nil
}

var errNotReached = fmt.Errorf("%w: not reached yet", partition.ErrUnavailable)

func newBackend(p partition.Partition, o Options, h hooks) *backend {
	b := &backend{Partition: p, options: o, hooks: h, backendState: backendState{err: errNotReached}}
	b.breaker = gobreaker.NewCircuitBreaker[[]Entry](gobreaker.Settings{
		Name:          p.Name(),
		Timeout:       o.Poll,
		ReadyToTrip:   func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= 3 },
		IsSuccessful:  func(err error) bool { return !errors.Is(err, partition.ErrUnavailable) },
		OnStateChange: func(_ string, _, to gobreaker.State) { b.tripped.Store(to != gobreaker.StateClosed) },
	})
	b.damages.log = o.Logger.With("partition", p.Name())
	b.proof.check = make(chan struct{}, 1)
	b.batcher = pointread.New(b, o.Readers, o.Timeout)
	b.committer = newCommitter(b)
	b.mayLackWrites.Store(true)
	return b
}

func (b *backend) prepare(ctx context.Context) {
	if b.state().isPrepared {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, max(b.options.Timeout, 30*time.Second)) // a first start may create tables
	defer cancel()
	err := b.Prepare(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isPrepared = err == nil; b.isPrepared {
		for _, w := range b.warnings() {
			b.options.Logger.Warn("unsafe or limiting setting of the partition's server", "partition", b.Name(), "reason", w)
		}
	}
	b.setErr(err)
}

// warnings are those of the partition's server, and a limit on values below the store's.
func (b *backend) warnings() []string {
	warnings := slices.Clone(b.Warnings())
	if limit := b.MaxValueBytes(); limit < b.options.MaxValueBytes {
		warnings = append(warnings, fmt.Sprintf("it takes values of at most %d bytes: larger ones are refused everywhere, though max_value_bytes is %d; raise max_allowed_packet to %d or more",
			limit, b.options.MaxValueBytes, b.options.MaxValueBytes+256<<10))
	}
	return warnings
}

func (b *backend) setJoined(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.isJoined = err == nil
	b.joins.Add(1)
	b.setErr(err)
}

// setBehind records why the master is known to have lost writes; nil: it has lost none.
func (b *backend) setBehind(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.behind = nil; cause != nil {
		b.behind = fmt.Errorf("%w: it has lost writes, takes no new ones and answers no reads of its keys", cause)
		b.logOnce(slog.LevelError, "master is behind its copies", b.behind)
	}
	b.mayLackWrites.Store(cause != nil)
	if writable := b.isReadable.Load() && cause == nil; b.isWritable.Swap(writable) != writable && writable {
		b.requestWriteCheck()
	}
}

// setErr records the outcome of the last attempt to reach the database. b.mu is held.
func (b *backend) setErr(err error) {
	if errors.Is(err, partition.ErrNotPrepared) { // an empty server has replaced the database
		b.isPrepared, b.isJoined = false, false
		b.observed.Store(nil)
	}
	if b.err = err; err == nil && !b.isJoined {
		b.err = errNotReached // the cluster of the database is unknown: nothing may be written to it
	}
	if readable := b.isJoined && err == nil; b.isReadable.Swap(readable) != readable && readable {
		b.options.OnReach()
	}
	if err == nil {
		if b.isJoined && b.behind == nil && b.commitRefusal() == nil {
			b.logOnce(slog.LevelInfo, logPartitionAnswers, nil)
		}
		return
	}
	b.isWritable.Store(false)
	b.mayLackWrites.Store(true)
	level := slog.LevelWarn
	if errors.Is(err, partition.ErrRefused) {
		level = slog.LevelError
	}
	b.logOnce(level, "partition cannot be used", err)
}

// logPartitionAnswers is logged when nothing is wrong with a partition any more.
const logPartitionAnswers = "partition answers"

// logOnce logs a change of state, unless it was the last to be logged. b.mu is held.
func (b *backend) logOnce(level slog.Level, text string, err error) {
	if b.lastLogged == text {
		return
	}
	b.lastLogged = text
	args := []any{"partition", b.Name()}
	if err != nil {
		args = append(args, "error", err)
	}
	b.options.Logger.Log(context.Background(), level, text, args...)
}

// pollPositions reads the positions of a joined backend and records its health.
func (b *backend) pollPositions(ctx context.Context) {
	if !b.state().isJoined {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(b.options.Timeout, 2*time.Second))
	defer cancel()
	_, err := b.readPositions(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled):
		return // this process is stopping
	case err != nil: // the next answer may come from another database
		b.isJoined = false
		b.isPrepared = b.isPrepared && errors.Is(err, partition.ErrUnavailable)
	}
	b.setErr(err)
}

// ReadKeys reads entries in a statement of their own, through the breaker. Values larger
// than maxValue bytes are left out. An open breaker is ErrUnavailable.
func (b *backend) ReadKeys(ctx context.Context, keys []Key, maxValue int64) ([]Entry, error) {
	began := time.Now()
	entries, err := b.breaker.Execute(func() ([]Entry, error) {
		if maxValue == pointread.Whole {
			return b.Get(ctx, keys)
		}
		return b.GetSmall(ctx, keys, maxValue)
	})
	switch {
	case err == nil:
		b.observeLatency(time.Since(began))
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		err = fmt.Errorf("%w: the circuit breaker is open after repeated failures: %w", partition.ErrUnavailable, err)
	}
	return entries, err
}

// observeLatency adds the duration of an operation to the smoothed latency.
func (b *backend) observeLatency(d time.Duration) {
	old := b.latency.Load()
	b.latency.Store(old + (int64(d)-old)/8)
}

// unavailable is the error of a write or read that only this master could have answered.
// Without a cause the known state of the master is the cause.
func (b *backend) unavailable(cause error) error {
	st := b.state()
	return &MasterError{Master: b.Name(), RetryAfter: b.options.Poll, Err: cmp.Or(cause, st.err, st.behind, errNotReached)}
}

// isUp reports whether reads can be sent to the backend.
func (b *backend) isUp() bool {
	return b.isReadable.Load() && (!b.tripped.Load() || b.breaker.State() != gobreaker.StateOpen)
}
