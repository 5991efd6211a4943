package sqlengine

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Engine is a partition in a MySQL, MariaDB or SQLite database.
type Engine struct {
	name    partition.Origin
	dialect Dialect
	sql     Fragments
	names   *strings.Replacer // placeholders → names of tables and columns, index hints
	timeout time.Duration
	durable bool // Options.RequireDurable
	log     *slog.Logger

	preparing    sync.Mutex                       // held while the tables are created or changed
	ready        atomic.Bool                      // Prepare has succeeded
	schema       atomic.Pointer[partition.Schema] // as last read; not nil once ready
	schemaReadAt atomic.Int64                     // nanoseconds
	life         context.Context
	end          context.CancelFunc
}

var _ partition.Partition = (*Engine)(nil)

// Options are the options of all SQL partitions.
type Options struct {
	Name        string        // name of the partition and its Origin
	TablePrefix string        // prefix of all table names
	MaxConns    int           // maximum number of connections; zero: a default
	Timeout     time.Duration // limit of an operation without an earlier deadline; zero: 10 s
	Logger      *slog.Logger  // nil: slog.Default()
	// RequireDurable refuses commits while there are Warnings.
	RequireDurable bool
	// MinFreeDisk refuses commits while fewer bytes are free on the disk of an SQLite file; zero: no floor.
	MinFreeDisk int64
}

const (
	defaultTimeout = 10 * time.Second
	prepareTimeout = time.Minute // at least: migrations can be slow
	maxAttempts    = 20          // of a transaction that the database rolls back in favour of another
)

var prefixes = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]{0,31})?$`)

// Complete checks the options and sets the defaults of Timeout and Logger.
func (o Options) Complete() (Options, error) {
	if o.Name == "" || len(o.Name) > partition.MaxOriginBytes {
		return o, fmt.Errorf("partition name %q: want 1 to %d bytes", o.Name, partition.MaxOriginBytes)
	}
	if !prefixes.MatchString(o.TablePrefix) {
		return o, fmt.Errorf("table prefix %q: want at most 32 letters, digits and underscores, no digit first", o.TablePrefix)
	}
	o.Timeout = cmp.Or(max(o.Timeout, 0), defaultTimeout)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o, nil
}

// Names replaces the placeholders of statements: {p} by the table prefix, {key} by the quoted name of that column, and
// the names of the index hints.
func (o Options) Names(sql Fragments) *strings.Replacer {
	plain := strings.NewReplacer("{p}", o.TablePrefix, "{key}", "`key`").Replace
	return strings.NewReplacer("{p}", o.TablePrefix, "{key}", "`key`", "{delete_by_key}", plain(sql.DeleteByKey), "{by_key}", plain(sql.ByKey),
		"{by_revision}", plain(sql.ByRevision), "{by_expiry}", plain(sql.ByExpiry), "{by_live}", plain(sql.ByLive))
}

// New returns the partition of a dialect. The options must be complete.
func New(o Options, sql Fragments, d Dialect) *Engine {
	s := &Engine{name: partition.Origin(o.Name), dialect: d, sql: sql, timeout: o.Timeout, durable: o.RequireDurable, log: o.Logger,
		names: o.Names(sql)}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// Name implements partition.Identity.
func (s *Engine) Name() string { return string(s.name) }

// Kind implements partition.Identity.
func (s *Engine) Kind() string { return s.dialect.Kind() }

// MaxValueBytes implements partition.Identity.
func (s *Engine) MaxValueBytes() int64 { return s.dialect.MaxValueBytes() }

// Warnings implements partition.Identity.
func (s *Engine) Warnings() []string { return s.dialect.Warnings() }

// checkSizes refuses entries that exceed a limit, before the database is asked.
func (s *Engine) checkSizes(entries []partition.Entry) error {
	err := partition.CheckSizes(entries, s.MaxValueBytes())
	if err != nil {
		return fmt.Errorf("%w, by %s", err, s.sql.ValueLimit)
	}
	return nil
}

// Prepare implements partition.Identity.
func (s *Engine) Prepare(ctx context.Context) error {
	s.preparing.Lock()
	defer s.preparing.Unlock()
	ctx, done := s.withTimeout(ctx, max(s.timeout, prepareTimeout))
	defer done()
	err := s.life.Err()
	if err == nil {
		err = s.dialect.Prepare(ctx)
	}
	if err == nil {
		err = s.dialect.Tables(ctx, func(t *Tables) error { return s.prepareTables(ctx, t) })
	}
	if err != nil {
		return s.wrap("prepare", err)
	}
	s.ready.Store(true)
	return nil
}

// Close implements partition.Partition.
func (s *Engine) Close() error {
	s.end()
	s.preparing.Lock()
	defer s.preparing.Unlock()
	s.ready.Store(false)
	return s.dialect.Close()
}

// begin starts an operation. Its context ends with the caller's context, when the partition is
// closed, and after the timeout.
func (s *Engine) begin(ctx context.Context, op string) (context.Context, func(), error) {
	if err := s.checkUsable(ctx); err != nil {
		return nil, nil, s.wrap(op, err)
	}
	ctx, done := s.withTimeout(ctx, s.timeout)
	return ctx, done, nil
}

func (s *Engine) checkUsable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", partition.ErrUnavailable, err)
	}
	if !s.ready.Load() || s.life.Err() != nil {
		return fmt.Errorf("%w: not prepared, or closed", partition.ErrUnavailable)
	}
	return nil
}

func (s *Engine) withTimeout(ctx context.Context, timeout time.Duration) (context.Context, func()) {
	inner, cancel := context.WithTimeout(ctx, timeout)
	stop := context.AfterFunc(s.life, cancel)
	return operation{inner, s.life}, func() { stop(); cancel() }
}

// operation is a context: Err fails as soon as the partition is closed. Closing cancels the
// inner context only a moment later, too late for the check of Err before COMMIT.
type operation struct {
	context.Context
	life context.Context
}

// Err implements context.Context.
func (o operation) Err() error {
	return cmp.Or(o.Context.Err(), o.life.Err())
}

// wrap adds the operation and the partition to an error of package partition.
func (s *Engine) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s on %s: %w", op, s.name, s.classify(err))
}

func (s *Engine) classify(err error) error {
	for _, known := range []error{partition.ErrUnavailable, partition.ErrOutcomeUnknown, partition.ErrStaleEpoch, partition.ErrOutvoted, partition.ErrPositionMoved,
		partition.ErrLeaseLost, partition.ErrLeaseHeld, partition.ErrNoCluster, partition.ErrRefused, partition.ErrTooLarge, partition.ErrNoChunk, partition.ErrDamaged} {
		if errors.Is(err, known) {
			return err
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, sql.ErrConnDone) {
		return fmt.Errorf("%w: %w", partition.ErrUnavailable, err)
	}
	return s.dialect.Classify(err)
}

// statement replaces the placeholders in a text.
func (s *Engine) statement(text string) Statement { return Kept(s.names.Replace(text)) }

// timed is statement for a text with the database's clock, {now}.
func (s *Engine) timed(text string) Statement {
	return Statement{strings.ReplaceAll(s.names.Replace(text), "{now}", s.dialect.Clock()), false}
}

// read runs f on a reading connection, and again if the first connection has failed.
func (s *Engine) read(ctx context.Context, op string, f func(context.Context, *Conn) error) error {
	ctx, done, err := s.begin(ctx, op)
	if err != nil {
		return err
	}
	defer done()
	err = s.readOnce(ctx, f)
	if err != nil && s.dialect.Transient(err) && ctx.Err() == nil {
		err = s.readOnce(ctx, f)
	}
	return s.wrap(op, err)
}

func (s *Engine) readOnce(ctx context.Context, f func(context.Context, *Conn) error) error {
	c, err := s.dialect.Acquire(ctx, Reading)
	if err != nil {
		return err
	}
	defer c.Release()
	return f(ctx, c)
}

// transact runs f in a transaction and commits durably. If the database has rolled the transaction
// back in favour of another, transact starts again.
func (s *Engine) transact(ctx context.Context, op string, f func(context.Context, *Conn) error) error {
	ctx, done, err := s.begin(ctx, op)
	if err != nil {
		return err
	}
	defer done()
	if err := s.checkWritable(); err != nil {
		return s.wrap(op, err)
	}
	for attempt := 1; ; attempt++ {
		err := s.attemptOnce(ctx, f)
		if err == nil || !s.shouldRetry(ctx, attempt, err) {
			return s.wrap(op, err)
		}
	}
}

// shouldRetry reports whether a failed transaction is worth another attempt.
func (s *Engine) shouldRetry(ctx context.Context, attempt int, err error) bool {
	return attempt < maxAttempts && ctx.Err() == nil && s.dialect.Transient(err) && !errors.Is(err, partition.ErrOutcomeUnknown)
}

func (s *Engine) attemptOnce(ctx context.Context, f func(context.Context, *Conn) error) error {
	c, err := s.dialect.Acquire(ctx, Writing)
	if err != nil {
		return err
	}
	defer c.Release()
	if err := c.Begin(ctx, s.sql.BeginWrite); err != nil {
		return err
	}
	if err := f(ctx, c); err != nil {
		return err
	}
	return c.Finish(ctx, s.dialect)
}
