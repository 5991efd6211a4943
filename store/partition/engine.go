package partition

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// SQL is a partition in a MySQL, MariaDB or SQLite database. What the
// databases share is written once here; a dialect has the rest.
type SQL struct {
	name    Origin
	dialect dialect
	names   *strings.Replacer // placeholders in statements → table and column names
	indexes *strings.Replacer // placeholders in statements → what makes a SELECT use an index
	timeout time.Duration
	log     *slog.Logger
	durable bool // Options.RequireDurable
	local   bool // the database runs in this process: Get waits for nothing that a timer would end

	preparing sync.Mutex  // held during Prepare
	ready     atomic.Bool // Prepare has succeeded
	life      context.Context
	end       context.CancelFunc
}

var _ Partition = (*SQL)(nil)

// Options are what all SQL partitions have in common.
type Options struct {
	Name        string        // the partition's name, which is also its Origin
	TablePrefix string        // put before the name of every table
	MaxConns    int           // connections at once; zero: a default
	Timeout     time.Duration // bounds an operation whose context has no earlier deadline; zero: 10 s
	Logger      *slog.Logger  // nil: slog.Default()
	// RequireDurable refuses commits as long as there are Warnings.
	RequireDurable bool
}

// dialect is what differs between the databases. Its errors are the driver's;
// explain turns them into those of this package.
type dialect interface {
	kind() string
	maxValueBytes() int64
	limitedBy() string  // what maxValueBytes comes from
	warnings() []string // see Identity
	// connect opens the pools, creating a missing database; it may be repeated.
	connect(ctx context.Context) error
	// migrate brings the schema to this binary's version.
	migrate(ctx context.Context) error

	// writer, reader and stream lend a connection, which goes back by its
	// release; stream's are for long reading and not taken from the others.
	writer(ctx context.Context) (*session, error)
	reader(ctx context.Context) (*session, error)
	stream(ctx context.Context) (*session, error)
	// beginWrite and beginSnapshot are the statements that open a transaction.
	beginWrite() string
	beginSnapshot() []string
	// atOnce reports whether several statements can be sent together.
	atOnce() bool
	// clock is an SQL expression: the database's clock in microseconds.
	clock() string
	// forShare and forUpdate end a SELECT that locks what it reads.
	forShare() string
	forUpdate() string
	// byRevision makes a SELECT go by the order of revisions: a planner that
	// expects most of the table would read and sort all of it instead.
	byRevision() string
	// byExpiry makes one go by the times of expiry, and byLive by the keys of
	// entries that are no tombstones.
	byExpiry() string
	byLive() string
	// insertIgnore begins an INSERT that leaves a row that is there.
	insertIgnore() string
	// upsertNewer writes entries unless what stands is as new, in the open
	// transaction of c.
	upsertNewer(ctx context.Context, c *session, entries []Entry) error
	// barrier makes a small durable commit.
	barrier(ctx context.Context, c *session) error

	commit(ctx context.Context, b Batch) (Claim, error)
	// get leaves out the values of more than most bytes; anySize: none.
	get(ctx context.Context, keys []Key, most int64) ([]Entry, error)

	transient(err error) bool // another attempt of the transaction may succeed at once
	answered(err error) bool  // the database itself said so: the outcome is known
	explain(err error) error
	close() error
}

// anySize is as large as no value is.
const anySize = math.MaxInt64

const (
	defaultTimeout = 10 * time.Second
	prepareTimeout = time.Minute // at least: migrations take their time
	maxAttempts    = 20          // of a transaction that the database gave up for another
)

var prefixes = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]{0,31})?$`)

func newSQL(o Options, make func(names *strings.Replacer) dialect) (*SQL, error) {
	if o.Name == "" || len(o.Name) > MaxOriginBytes {
		return nil, fmt.Errorf("partition name %q: want 1 to %d bytes", o.Name, MaxOriginBytes)
	}
	if !prefixes.MatchString(o.TablePrefix) {
		return nil, fmt.Errorf("table prefix %q: want at most 32 letters, digits and underscores, no digit first", o.TablePrefix)
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	names := strings.NewReplacer("{p}", o.TablePrefix, "{key}", "`key`")
	s := &SQL{name: Origin(o.Name), names: names, dialect: make(names), timeout: o.Timeout, log: o.Logger, durable: o.RequireDurable}
	s.indexes = strings.NewReplacer("{by_revision}", s.dialect.byRevision(), "{by_expiry}", s.dialect.byExpiry(), "{by_live}", s.dialect.byLive())
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Name implements Identity.
func (s *SQL) Name() string { return string(s.name) }

// Kind implements Identity.
func (s *SQL) Kind() string { return s.dialect.kind() }

// MaxValueBytes implements Identity.
func (s *SQL) MaxValueBytes() int64 { return s.dialect.maxValueBytes() }

// Warnings implements Identity.
func (s *SQL) Warnings() []string { return s.dialect.warnings() }

// fit refuses entries that do not fit, before anything is sent.
func (s *SQL) fit(entries []Entry) error {
	err := CheckSizes(entries, s.MaxValueBytes())
	if err != nil {
		return fmt.Errorf("%w, by %s", err, s.dialect.limitedBy())
	}
	return nil
}

// Prepare implements Identity.
func (s *SQL) Prepare(ctx context.Context) error {
	s.preparing.Lock()
	defer s.preparing.Unlock()
	ctx, done := s.within(ctx, max(s.timeout, prepareTimeout))
	defer done()
	err := s.life.Err()
	if err == nil {
		err = s.dialect.connect(ctx)
	}
	if err == nil {
		err = s.dialect.migrate(ctx)
	}
	if err != nil {
		return s.failed("prepare", err)
	}
	s.ready.Store(true)
	return nil
}

// Close implements Partition.
func (s *SQL) Close() error {
	s.end()
	s.preparing.Lock()
	defer s.preparing.Unlock()
	s.ready.Store(false)
	return s.dialect.close()
}

// begin opens an operation: its context ends with the caller's, with the
// partition, and after the timeout.
func (s *SQL) begin(ctx context.Context, op string) (context.Context, func(), error) {
	if err := s.usable(ctx); err != nil {
		return nil, nil, s.failed(op, err)
	}
	ctx, done := s.within(ctx, s.timeout)
	return ctx, done, nil
}

func (s *SQL) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if !s.ready.Load() || s.life.Err() != nil {
		return fmt.Errorf("%w: not prepared, or closed", ErrUnavailable)
	}
	return nil
}

func (s *SQL) within(ctx context.Context, timeout time.Duration) (context.Context, func()) {
	inner, cancel := context.WithTimeout(ctx, timeout)
	stop := context.AfterFunc(s.life, cancel)
	return operation{inner, s.life}, func() { stop(); cancel() }
}

// operation is a context that has ended as soon as the partition is closed:
// the cancellation that closing brings about comes a moment later, and what
// is decided by Err, before COMMIT, would slip through.
type operation struct {
	context.Context
	life context.Context
}

// Err implements context.Context.
func (o operation) Err() error {
	if err := o.Context.Err(); err != nil {
		return err
	}
	return o.life.Err()
}

// failed says what was being done where, in the errors of this package.
func (s *SQL) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s on %s: %w", op, s.name, s.explain(err))
}

func (s *SQL) explain(err error) error {
	for _, known := range []error{ErrUnavailable, ErrOutcomeUnknown, ErrStaleEpoch, ErrPositionMoved,
		ErrLeaseLost, ErrLeaseHeld, ErrNoCluster, ErrRefused, ErrTooLarge} {
		if errors.Is(err, known) {
			return err
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, sql.ErrConnDone) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return s.dialect.explain(err)
}

// sql puts the names of tables, and what the dialect wants, into a statement.
func (s *SQL) sql(statement string) string {
	return s.names.Replace(s.indexes.Replace(statement))
}

// read runs f on a reading connection, and once more when the first has died.
func (s *SQL) read(ctx context.Context, op string, f func(context.Context, *session) error) error {
	ctx, done, err := s.begin(ctx, op)
	if err != nil {
		return err
	}
	defer done()
	err = s.readOnce(ctx, f)
	if err != nil && s.dialect.transient(err) && ctx.Err() == nil {
		err = s.readOnce(ctx, f)
	}
	return s.failed(op, err)
}

func (s *SQL) readOnce(ctx context.Context, f func(context.Context, *session) error) error {
	c, err := s.dialect.reader(ctx)
	if err != nil {
		return err
	}
	defer c.release()
	return f(ctx, c)
}

// transact runs f in a transaction, again when the database gave the
// transaction up, and commits it durably.
func (s *SQL) transact(ctx context.Context, op string, f func(context.Context, *session) error) error {
	ctx, done, err := s.begin(ctx, op)
	if err != nil {
		return err
	}
	defer done()
	for attempt := 1; ; attempt++ {
		err := s.attempt(ctx, f)
		if err == nil || !s.again(ctx, attempt, err) {
			return s.failed(op, err)
		}
	}
}

// again says whether a transaction that failed is worth another attempt.
func (s *SQL) again(ctx context.Context, attempt int, err error) bool {
	return attempt < maxAttempts && ctx.Err() == nil && s.dialect.transient(err) && !errors.Is(err, ErrOutcomeUnknown)
}

func (s *SQL) attempt(ctx context.Context, f func(context.Context, *session) error) error {
	c, err := s.dialect.writer(ctx)
	if err != nil {
		return err
	}
	defer c.release()
	if err := c.begin(ctx, s.dialect.beginWrite()); err != nil {
		return err
	}
	if err := f(ctx, c); err != nil {
		return err
	}
	return finish(ctx, c, s.dialect)
}

// finish commits. An error before COMMIT was sent, or one that the database
// itself answered with, leaves nothing behind; after any other nobody knows.
func finish(ctx context.Context, c *session, d dialect) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := c.commit(ctx)
	if err != nil && !d.answered(err) {
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	return err
}
