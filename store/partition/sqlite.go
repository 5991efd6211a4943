package partition

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteDB is the dialect of SQLite: a file that several processes may share.
// In each, one connection writes and a pool reads.
type sqliteDB struct {
	path     string
	origin   Origin
	names    *strings.Replacer
	maxConns int
	timeout  time.Duration

	mu       sync.Mutex // guards the pools while they are opened and closed
	write    *sql.DB
	read     *sql.DB
	streams  *sql.DB
	selects  []*sql.Stmt // by the binary logarithm of the number of keys
	writing  chan *session
	claimOf  string
	upsert   rowStatements
	newer    rowStatements
	headsOf  string
	wholesOf string
}

// OpenSQLite returns the partition in the file at path. Nothing is opened
// before Prepare.
func OpenSQLite(path string, o Options) (*SQL, error) {
	absolute, err := filepath.Abs(path)
	if path == "" || err != nil {
		return nil, fmt.Errorf("path %q of an SQLite file: %w", path, errors.Join(err, os.ErrInvalid))
	}
	return newSQL(o, func(names *strings.Replacer) dialect {
		d := &sqliteDB{path: absolute, origin: Origin(o.Name), names: names, maxConns: o.MaxConns, timeout: o.Timeout}
		if d.maxConns <= 0 {
			d.maxConns = defaultReaders
		}
		if d.timeout <= 0 {
			d.timeout = defaultTimeout
		}
		d.statements()
		return d
	})
}

const (
	defaultReaders = 8
	// maxSQLiteValue leaves room for the other columns under
	// SQLITE_MAX_LENGTH, which is 1e9 and bounds a whole row.
	maxSQLiteValue = 1_000_000_000 - 1<<20
	// autocheckpoint is in pages of 4 KiB. More of them make commits faster
	// and the WAL file bigger: 16 MiB here.
	autocheckpoint = 4096
)

func (d *sqliteDB) kind() string         { return "sqlite" }
func (d *sqliteDB) maxValueBytes() int64 { return maxSQLiteValue }

func (d *sqliteDB) connect(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.write != nil {
		return d.write.PingContext(ctx)
	}
	if err := os.MkdirAll(filepath.Dir(d.path), 0o750); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	write, err := sql.Open("sqlite", d.dsn("journal_mode(WAL)", "synchronous(FULL)",
		fmt.Sprintf("wal_autocheckpoint(%d)", autocheckpoint), "cache_size(-32768)"))
	if err != nil {
		return err
	}
	write.SetMaxOpenConns(2) // the writer's, which is kept, and one for migrations
	if err := eventually(ctx, func() error { return write.PingContext(ctx) }); err != nil {
		return errors.Join(err, write.Close())
	}
	return d.openPools(write)
}

// eventually repeats f while another process has the file locked in a way
// that SQLite does not wait for, as in a change of the journal mode.
func eventually(ctx context.Context, f func() error) error {
	for {
		err := f()
		if code := sqliteCode(err); code != sqlite3.SQLITE_BUSY && code != sqlite3.SQLITE_LOCKED {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (d *sqliteDB) openPools(write *sql.DB) error {
	read, err := sql.Open("sqlite", d.dsn("query_only(1)", "cache_size(-8192)"))
	if err != nil {
		return errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(d.maxConns)
	read.SetMaxIdleConns(d.maxConns)
	streams, err := sql.Open("sqlite", d.dsn("query_only(1)"))
	if err != nil {
		return errors.Join(err, write.Close(), read.Close())
	}
	streams.SetMaxIdleConns(2)
	d.write, d.read, d.streams = write, read, streams
	d.writing = make(chan *session, 1)
	d.writing <- nil // no connection yet
	return nil
}

// dsn is a file: URI, in which no character of the path has a meaning.
func (d *sqliteDB) dsn(pragmas ...string) string {
	query := url.Values{"_txlock": {"immediate"}, "_dqs": {"0"}, "_error_rc": {"1"}}
	query.Add("_pragma", fmt.Sprintf("busy_timeout(%d)", max(d.timeout, time.Minute).Milliseconds()))
	for _, p := range pragmas {
		query.Add("_pragma", p)
	}
	return "file://" + (&url.URL{Path: filepath.ToSlash(d.path)}).EscapedPath() + "?" + query.Encode()
}

// migrate may meet another process that does the same: each migration is one
// transaction, so that whoever comes second fails and finds it done.
func (d *sqliteDB) migrate(ctx context.Context) error {
	var err error
	for range 5 {
		err = eventually(ctx, func() error { return migrate(ctx, d.write, goose.DialectSQLite3, "sqlite", d.names) })
		if err == nil || errors.Is(err, ErrRefused) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// writer lends the one writing connection of this process, with its
// statements.
func (d *sqliteDB) writer(ctx context.Context) (*session, error) {
	select {
	case c, open := <-d.writing:
		if !open {
			return nil, fmt.Errorf("%w: closed", ErrUnavailable)
		}
		if c != nil {
			return c, nil
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	conn, err := d.write.Conn(ctx)
	if err != nil {
		d.writing <- nil
		return nil, err
	}
	return &session{conn: conn, stmts: make(map[string]*sql.Stmt), local: true, idle: nothingToRollBack, back: d.takeBack}, nil
}

func (d *sqliteDB) takeBack(c *session) {
	if c.inTx {
		c.drop()
		c = nil
	}
	d.writing <- c
}

func (d *sqliteDB) reader(ctx context.Context) (*session, error) { return d.lend(ctx, d.read) }
func (d *sqliteDB) stream(ctx context.Context) (*session, error) { return d.lend(ctx, d.streams) }

func (d *sqliteDB) lend(ctx context.Context, pool *sql.DB) (*session, error) {
	c, err := lend(ctx, pool)
	if err == nil {
		c.local, c.idle = true, nothingToRollBack
	}
	return c, err
}

func nothingToRollBack(err error) bool { return sqliteCode(err) == sqlite3.SQLITE_ERROR }

func (d *sqliteDB) beginWrite() string      { return "BEGIN IMMEDIATE" }
func (d *sqliteDB) beginSnapshot() []string { return []string{"BEGIN"} } // the view is taken by the first SELECT
func (d *sqliteDB) forShare() string        { return "" }                // a writer has the file to itself
func (d *sqliteDB) forUpdate() string       { return "" }
func (d *sqliteDB) byRevision() string      { return "INDEXED BY {p}entries_by_revision" }
func (d *sqliteDB) insertIgnore() string    { return "INSERT OR IGNORE" }

// clock is the host's: the database has no other.
func (d *sqliteDB) clock() string { return strconv.FormatInt(time.Now().UnixMicro(), 10) }

// barrier has nothing to do: in WAL mode with synchronous=FULL a commit is
// shown to others only after its fsync.
func (d *sqliteDB) barrier(context.Context, *session) error { return nil }

func (d *sqliteDB) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.write == nil {
		return nil
	}
	// A writer under way has its context cancelled, and comes back soon.
	c := <-d.writing
	close(d.writing)
	var err error
	if c != nil {
		err = c.conn.Close()
	}
	err = errors.Join(err, d.streams.Close(), d.read.Close(), d.write.Close())
	d.write = nil
	return err
}

// sqliteCode is the primary result code in err, or 0.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// transient: SQLite itself waits for other writers.
func (d *sqliteDB) transient(error) bool { return false }

// answered: after an I/O error in COMMIT the write-ahead log may hold the
// transaction or not.
func (d *sqliteDB) answered(err error) bool {
	code := sqliteCode(err)
	return code != 0 && code != sqlite3.SQLITE_IOERR && code != sqlite3.SQLITE_INTERRUPT
}

func (d *sqliteDB) explain(err error) error {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR,
		sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_CANTOPEN:
		return fmt.Errorf("%w: this process needs to read and write %s and its directory: %w", ErrRefused, d.path, err)
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%w: %s is damaged or no SQLite file; restore it, or move it away: %w", ErrRefused, d.path, err)
	case sqlite3.SQLITE_TOOBIG:
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case sqlite3.SQLITE_CONSTRAINT:
		if isDuplicate(err) {
			return fmt.Errorf("%w: %w", errDuplicate, err)
		}
	}
	return err
}

// isDuplicate tells the violation of a unique key from that of other constraints.
func isDuplicate(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) &&
		(e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY || e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE)
}
