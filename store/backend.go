package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/runnelkv/runnel/store/partition"
)

// member is a partition with what the store knows of it.
type backend struct {
	partition.Partition
	options            Options
	batcher            *readBatcher
	committer          *committer
	cache              *cache                              // of the store, or nil
	catchUps           catchUps                            // for writes that need copies now
	breaker            *gobreaker.CircuitBreaker[struct{}] // over its reads
	tripped            atomic.Bool                         // the breaker is not closed: ask it
	observed           atomic.Pointer[observedPositions]   // nil until its positions were read
	newestCommitted    atomic.Int64                        // a revision that this process has committed on it, the newest
	joins              atomic.Int64                        // how often it was joined, or tried to
	newestSeen         atomic.Int64                        // the newest revision of it that was committed here or held by a replica, ever
	newestAnswered     atomic.Int64                        // revision of the last commit that was answered; zero: not known
	failedWait         atomic.Pointer[failedWait]          // of a session that waited for others to reach it
	isReadingPositions atomic.Bool                         // its positions are being read for a session that waits
	latency            atomic.Int64                        // of recent operations in nanoseconds, smoothed
	isReadable         atomic.Bool                         // joined, and the last attempt to reach it went well
	isWritable         atomic.Bool                         // … and its head was compared with what others hold of it
	mayLackWrites      atomic.Bool                         // it may lack writes of its own: others hold newer ones, or its head was not compared yet
	proof              proof                               // that it takes commits
	damages            damageLog                           // that were read of it

	mu         sync.Mutex // guards the fields below
	isPrepared bool
	isJoined   bool
	behind     error              // it has lost writes
	lineages   map[string]lineage // by the replica that was compared with it
	err        error              // why the last attempt to reach it failed
	lastLogged string             // the change of state that was logged last
}

// known is what was last read of a partition's positions.
type observedPositions struct {
	partition.Positions
	readAt  time.Time // by this process's clock, before the reading
	clock   clockReading
	movedAt map[Origin]time.Time // when positions were moved after the reading
	// Per origin, up to where it holds everything. That is less than its
	// position while it is amid a catch-up in several steps.
	completeUpTo map[Origin]Revision
}

// clockReading is a look at a partition's clock, which happened at some time between asking
// and being answered. These times are monotonic: what the host's clock is set to
// meanwhile makes nothing expire early, or late.
type clockReading struct {
	now             Instant
	asked, answered time.Time

	// When the clock was last seen set back, and what it could have been then
	// otherwise. An older instant may be from before, by the clock as it was.
	before    Instant
	setBackAt time.Time
}

// clockSlack is what two clocks may differ in the time between two readings,
// besides a thousandth of it, without one having been set.
const clockSlack = 100 * time.Millisecond

// after is the reading c, which came after old: it tells whether the clock was
// set back meanwhile.
func (c clockReading) noteSetBack(old clockReading) clockReading {
	c.before, c.setBackAt = old.before, old.setBackAt
	passed := c.asked.Sub(old.answered) // at least
	if c.now < old.now.Add(passed-passed.Abs()/1000-clockSlack) {
		c.before, c.setBackAt = old.now.Add(c.answered.Sub(old.asked)), c.answered
		if !old.setBackAt.IsZero() {
			c.before = max(c.before, old.before.Add(c.answered.Sub(old.setBackAt)))
		}
	}
	return c
}

// since bounds how long ago the clock was at an instant, in real time. It is
// negative where the clock cannot have been there yet.
func (c clockReading) age(then Instant) time.Duration {
	_, now := c.bounds()
	age := now.Sub(then)
	if age < -clockSlack {
		return -1
	}
	if then <= c.before {
		age = max(age, c.before.Add(time.Since(c.setBackAt)).Sub(then))
	}
	return max(0, age)
}

// bounds are what the clock is now, at least and at most, as far as it has not
// been set since.
func (c clockReading) bounds() (notAfter, notBefore Instant) {
	return c.now.Add(time.Since(c.answered)), c.now.Add(time.Since(c.asked))
}

var errNotReached = fmt.Errorf("%w: not reached yet", partition.ErrUnavailable)

func newBackend(p partition.Partition, o Options) *backend {
	m := &backend{Partition: p, options: o, err: errNotReached}
	m.breaker = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        p.Name(),
		Timeout:     o.Poll,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= 3 },
		IsSuccessful: func(err error) bool {
			return err == nil || !errors.Is(err, partition.ErrUnavailable)
		},
		OnStateChange: func(_ string, _, to gobreaker.State) { m.tripped.Store(to != gobreaker.StateClosed) },
	})
	m.damages.log = o.Logger.With("partition", p.Name())
	m.proof.check = make(chan struct{}, 1)
	m.batcher = newReadBatcher(m)
	m.committer = newCommitter(m)
	m.mayLackWrites.Store(true)
	return m
}

func (m *backend) prepare(ctx context.Context) {
	if m.prepared() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, max(m.options.Timeout, 30*time.Second)) // a first start may create tables
	defer cancel()
	err := m.Prepare(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.isPrepared = err == nil; m.isPrepared {
		for _, w := range m.warnings() {
			m.options.Logger.Warn("a setting of the partition's server is not as it should be", "partition", m.Name(), "reason", w)
		}
	}
	m.setErr(err)
}

// warnings tell what the partition's server puts at risk, and a value that the store
// would take and the partition does not.
func (m *backend) warnings() []string {
	warnings := slices.Clone(m.Warnings())
	if limit := m.MaxValueBytes(); limit < m.options.MaxValueBytes {
		warnings = append(warnings, fmt.Sprintf("it takes values of at most %d bytes: larger ones are refused everywhere, though max_value_bytes is %d; raise max_allowed_packet to %d or more",
			limit, m.options.MaxValueBytes, m.options.MaxValueBytes+256<<10))
	}
	return warnings
}

func (m *backend) setJoined(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.isJoined = err == nil
	m.joins.Add(1)
	m.setErr(err)
}

// setBehind notes how it shows that the master has lost writes; nil: it has not.
func (m *backend) setBehind(cause error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.behind = nil; cause != nil {
		m.behind = fmt.Errorf("%w: it has lost writes, takes no new ones and answers no reads of its keys", cause)
		m.logOnce(slog.LevelError, "master is behind its copies", m.behind)
	}
	m.mayLackWrites.Store(cause != nil)
	if writes := m.isReadable.Load() && cause == nil; m.isWritable.Swap(writes) != writes && writes {
		m.requestWriteCheck()
	}
}

// setErr notes how the last attempt went. m.mu is held.
func (m *backend) setErr(err error) {
	if errors.Is(err, partition.ErrNotPrepared) { // an empty server in place of the member's
		m.isPrepared, m.isJoined = false, false
		m.observed.Store(nil)
	}
	if m.err = err; err == nil && !m.isJoined {
		m.err = errNotReached // whose it is is not known yet: nobody may write to it
	}
	if usable := m.isJoined && err == nil; m.isReadable.Swap(usable) != usable && usable {
		m.options.OnReach()
	}
	if err == nil {
		if m.isJoined && m.behind == nil && m.commitRefusal() == nil {
			m.logOnce(slog.LevelInfo, logPartitionAnswers, nil)
		}
		return
	}
	m.isWritable.Store(false)
	m.mayLackWrites.Store(true)
	level := slog.LevelWarn
	if errors.Is(err, partition.ErrRefused) {
		level = slog.LevelError
	}
	m.logOnce(level, "partition cannot be used", err)
}

// partitionAnswers is logged of a partition of which nothing is wrong any more.
const logPartitionAnswers = "partition answers"

// say logs a change of state once. m.mu is held.
func (m *backend) logOnce(level slog.Level, text string, err error) {
	if m.lastLogged == text {
		return
	}
	m.lastLogged = text
	args := []any{"partition", m.Name()}
	if err != nil {
		args = append(args, "error", err)
	}
	m.options.Logger.Log(context.Background(), level, text, args...)
}

// poll reads the member's positions, if it is joined.
func (m *backend) pollPositions(ctx context.Context) {
	if !m.joined() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(m.options.Timeout, 2*time.Second))
	defer cancel()
	_, err := m.readPositions(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled):
		return // this process is stopping
	case err != nil: // whoever answers next may be another database
		m.isJoined = false
		m.isPrepared = m.isPrepared && errors.Is(err, partition.ErrUnavailable)
	}
	m.setErr(err)
}

// heard takes positions that somebody else has just read, and who cannot say
// when exactly: what is known of the clock stays, if anything is.
func (m *backend) observeForeign(p partition.Positions) {
	k := &observedPositions{Positions: p, readAt: time.Now()}
	if old := m.observed.Load(); old != nil {
		k.clock = old.clock
	} else {
		k.clock = clockReading{now: p.Now, asked: k.readAt, answered: k.readAt}
	}
	m.observe(k)
}

// observe takes what was read of the positions, unless newer ones are known.
func (m *backend) observe(k *observedPositions) {
	for {
		old := m.observed.Load()
		if old != nil && !k.readAt.After(old.readAt) {
			return
		}
		k.computeComplete(old)
		if old != nil {
			k.clock = k.clock.noteSetBack(old.clock)
		}
		next := k.mergeNewer(old)
		if m.observed.CompareAndSwap(old, next) {
			m.cache.observePositions(m.Name(), &next.Positions)
			m.capHead(k.Origins[Origin(m.Name())].Revision)
			for _, at := range k.Origins {
				m.noteReplicaPosition(at)
			}
			m.options.onPositions()
			return
		}
	}
}

// after is k, but for positions that were moved after k was asked for.
func (k *observedPositions) mergeNewer(old *observedPositions) *observedPositions {
	if old == nil {
		return k
	}
	for o, at := range old.movedAt {
		if !at.Before(k.readAt) {
			k = k.withPosition(old.Origins[o], at)
		}
	}
	return k
}

// with is k with one position that was moved since.
func (k *observedPositions) withPosition(p partition.Position, movedAt time.Time) *observedPositions {
	next := *k
	if next.Origins, next.movedAt = maps.Clone(k.Origins), maps.Clone(k.movedAt); next.movedAt == nil {
		next.movedAt = make(map[Origin]time.Time)
	}
	next.completeUpTo = maps.Clone(k.completeUpTo)
	next.completeUpTo[p.Origin] = p.Held(k.completeUpTo[p.Origin])
	next.Origins[p.Origin], next.movedAt[p.Origin] = p, movedAt
	return &next
}

// advance takes a position that somebody has just moved; what is known of the
// others, and as of when, stays.
func (m *backend) advance(p partition.Position) {
	now := time.Now()
	for {
		old := m.observed.Load()
		if old == nil || old.Origins == nil {
			return // nothing is known yet, and soon will be
		}
		next := old.withPosition(p, now)
		if m.observed.CompareAndSwap(old, next) {
			m.cache.observePositions(m.Name(), &next.Positions)
			m.noteReplicaPosition(p)
			m.options.onPositions()
			return
		}
	}
}

// saw notes what a replica holds of an origin: it was durable there before it was copied.
// A master's own row is no such proof: it may be read before its commit is durable.
func (m *backend) noteReplicaPosition(at partition.Position) {
	if string(at.Origin) != m.Name() {
		m.options.onReplicaPosition(at.Origin, at.Seen())
	}
}

// committed notes a revision that was committed on the member.
func (m *backend) noteCommitted(to Revision) {
	m.newestAnswered.Store(int64(to))
	raiseTo(&m.newestCommitted, to)
	raiseTo(&m.newestSeen, to)
}

func raiseTo(a *atomic.Int64, to Revision) {
	for old := a.Load(); old < int64(to) && !a.CompareAndSwap(old, int64(to)); {
		old = a.Load()
	}
}

// recede forgets what was committed if the member does not hold it: another
// database may have taken its place. It may also have been read too early; then
// less is known than could be.
func (m *backend) capHead(to Revision) {
	if old := m.newestAnswered.Load(); old > int64(to) {
		m.newestAnswered.CompareAndSwap(old, 0)
	}
	if old := m.newestCommitted.Load(); old > int64(to) {
		m.newestCommitted.CompareAndSwap(old, int64(to))
	}
}

// took smooths the latency of an operation into the member's.
func (m *backend) observeLatency(d time.Duration) {
	old := m.latency.Load()
	m.latency.Store(old + (int64(d)-old)/8)
}

func (m *backend) prepared() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.isPrepared
}

func (m *backend) joined() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.isJoined
}

// fault is why the member cannot be used now, or nil.
func (m *backend) lastError() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func (m *backend) behindError() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.behind
}

// unavailable is the error of a write or read that only this master could have
// answered. Without a cause it says what is known of the master.
func (m *backend) unavailable(cause error) error {
	for _, known := range []error{m.lastError(), m.behindError(), errNotReached} {
		if cause == nil {
			cause = known
		}
	}
	return &MasterError{Master: m.Name(), RetryAfter: m.options.Poll, Err: cause}
}

// position is how far the member is known to be with an origin.
func (m *backend) position(o Origin) (partition.Position, bool) {
	k := m.observed.Load()
	if k == nil {
		return partition.Position{}, false
	}
	at, ok := k.Origins[o]
	return at, ok
}

// clock estimates the member's clock: surely not later than it is, and surely
// not earlier, as far as it has not been set meanwhile.
func (m *backend) clock() (notAfter, notBefore Instant) {
	if k := m.observed.Load(); k != nil {
		return k.clock.bounds()
	}
	now := partition.InstantOf(time.Now())
	return now, now
}

// whole reports whether the member has ever held everything of the origin, and,
// if it is the origin, holds everything that others hold of it.
func (m *backend) isComplete(o Origin) bool {
	if m.Name() == string(o) {
		return !m.mayLackWrites.Load()
	}
	at, ok := m.position(o)
	return ok && at.Filled()
}

// catchingUp reports whether the member is amid a catch-up in several steps.
func (m *backend) isLagging(o Origin) bool {
	at, _ := m.position(o)
	return at.CatchingUp()
}

// answers reports whether reads can be sent to the member.
func (m *backend) isUp() bool {
	return m.isReadable.Load() && (!m.tripped.Load() || m.breaker.State() != gobreaker.StateOpen)
}
