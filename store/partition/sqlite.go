package partition

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
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

	mu      sync.Mutex // guards ready while the connections are opened and closed
	ready   bool
	readers *pool[*liteConn]
	streams *pool[*liteConn]
	writing chan *liteConn // the one writing connection, or nil before its first use

	checkpoints *checkpointer
	logPages    int64 // of the checkpointer

	texts sqliteTexts
	log   *slog.Logger
}

// OpenSQLite returns the partition in the file at path. Nothing is opened
// before Prepare.
func OpenSQLite(path string, o Options) (*SQL, error) {
	absolute, err := filepath.Abs(path)
	if path == "" || err != nil {
		return nil, fmt.Errorf("path %q of an SQLite file: %w", path, errors.Join(err, os.ErrInvalid))
	}
	o.Logger = cmp.Or(o.Logger, slog.Default())
	s, err := newSQL(o, func(names *strings.Replacer) dialect {
		d := &sqliteDB{path: absolute, origin: Origin(o.Name), names: names, maxConns: o.MaxConns, timeout: o.Timeout,
			logPages: logPages, log: o.Logger}
		if d.maxConns <= 0 {
			d.maxConns = defaultReaders
		}
		if d.timeout <= 0 {
			d.timeout = defaultTimeout
		}
		d.texts = textsOf(names)
		return d
	})
	if err == nil {
		s.local = true
	}
	return s, err
}

const (
	defaultReaders = 8
	// maxSQLiteValue leaves room for the other columns under
	// SQLITE_MAX_LENGTH, which is 1e9 and bounds a whole row.
	maxSQLiteValue = 1_000_000_000 - 1<<20
	// coldAfter is how long a reading connection stays open that nobody uses.
	coldAfter = 10 * time.Second
)

func (d *sqliteDB) kind() string         { return "sqlite" }
func (d *sqliteDB) maxValueBytes() int64 { return maxSQLiteValue }
func (d *sqliteDB) limitedBy() string    { return "SQLite" }
func (d *sqliteDB) warnings() []string   { return nil } // synchronous=FULL is set by each connection

func (d *sqliteDB) connect(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ready {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(d.path), 0o750); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	d.create()
	write, err := d.openWriter(ctx)
	if err != nil {
		return err
	}
	d.readers = newPool(d.maxConns, d.openReader)
	d.streams = newPool(0, d.openStream)
	d.writing = make(chan *liteConn, 1)
	d.writing <- write
	d.checkpoints = &checkpointer{path: d.path, open: d.openCheckpointer, writing: d.writing, pages: d.logPages, tidy: d.trim,
		log: d.log.With("partition", d.origin)}
	d.checkpoints.start()
	d.ready = true
	return nil
}

// create makes a file that its owner alone reads and writes. SQLite gives the log and the
// shared memory beside the file the same mode. A file that exists is not even opened, as closing it would
// end the locks that this process has on it. What else keeps the file from being made, opening it tells.
func (d *sqliteDB) create() {
	if file, err := os.OpenFile(d.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		_ = file.Close() // nothing was written
	}
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

// openWriter opens a connection that writes. The journal mode is the file's,
// and stays; the page size is that of a file which is made now.
func (d *sqliteDB) openWriter(ctx context.Context) (c *liteConn, err error) {
	err = eventually(ctx, func() error {
		c, err = openLite(ctx, d.path, d.timeout, "journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0",
			"temp_store=MEMORY", pageCache(32<<10))
		return err
	})
	return c, err
}

// pageCache is the setting of a page cache of so many KiB, or of an eighth of that where the
// memory of the process is limited to less than 1 GiB: the caches lie outside the heap that
// the limit bounds.
func pageCache(kib int) string {
	if debug.SetMemoryLimit(-1) < 1<<30 {
		kib /= 8
	}
	return fmt.Sprintf("cache_size=-%d", kib)
}

func (d *sqliteDB) openReader(ctx context.Context) (*liteConn, error) {
	return openLite(ctx, d.path, d.timeout, "query_only=1", pageCache(8<<10))
}

func (d *sqliteDB) openStream(ctx context.Context) (*liteConn, error) {
	return openLite(ctx, d.path, d.timeout, "query_only=1")
}

func (d *sqliteDB) openCheckpointer(ctx context.Context) (*liteConn, error) {
	return openLite(ctx, d.path, d.timeout, "synchronous=FULL", "wal_autocheckpoint=0",
		fmt.Sprintf("busy_timeout=%d", readersEnd))
}

// trim closes what has not been used for a while, and gives its memory back.
func (d *sqliteDB) trim() {
	since := time.Now().Add(-coldAfter)
	d.readers.trim(since)
	d.streams.trim(since)
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
	db, err := sql.Open("sqlite", d.dsn("synchronous(FULL)"))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	for range 5 {
		err = eventually(ctx, func() error { return migrate(ctx, db, goose.DialectSQLite3, "sqlite", d.names) })
		if err == nil || errors.Is(err, ErrRefused) || ctx.Err() != nil {
			break
		}
	}
	return errors.Join(err, db.Close())
}

// writer lends the one writing connection of this process.
func (d *sqliteDB) writer(ctx context.Context) (*session, error) {
	var c *liteConn
	select {
	case lent, open := <-d.writing:
		if c = lent; !open {
			return nil, fmt.Errorf("%w: closed", ErrUnavailable)
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c == nil {
		var err error
		if c, err = d.openWriter(ctx); err != nil {
			d.writing <- nil
			return nil, err
		}
	}
	return &session{connection: c, local: true, idle: nothingToRollBack, back: d.takeBack}, nil
}

func (d *sqliteDB) takeBack(s *session) {
	c := lite(s)
	if s.inTx {
		_ = c.close()
		c = nil
	} else {
		d.checkpoints.written(c)
	}
	d.writing <- c
}

// lite is the connection of a session of this dialect.
func lite(s *session) *liteConn { return s.connection.(*liteConn) }

func (d *sqliteDB) reader(ctx context.Context) (*session, error) { return d.lend(ctx, d.readers) }
func (d *sqliteDB) stream(ctx context.Context) (*session, error) { return d.lend(ctx, d.streams) }

func (d *sqliteDB) lend(ctx context.Context, pool *pool[*liteConn]) (*session, error) {
	c, err := pool.take(ctx)
	if err != nil {
		return nil, err
	}
	return &session{connection: c, local: true, idle: nothingToRollBack, back: func(s *session) {
		if s.inTx {
			pool.drop(c)
			return
		}
		pool.give(c)
	}}, nil
}

func nothingToRollBack(err error) bool { return sqliteCode(err) == sqlite3.SQLITE_ERROR }

func (d *sqliteDB) beginWrite() string      { return "BEGIN IMMEDIATE" }
func (d *sqliteDB) atOnce() bool            { return false }
func (d *sqliteDB) beginSnapshot() []string { return []string{"BEGIN"} } // the view is taken by the first SELECT
func (d *sqliteDB) forShare() string        { return "" }                // a writer has the file to itself
func (d *sqliteDB) forUpdate() string       { return "" }
func (d *sqliteDB) byRevision() string      { return "INDEXED BY {p}entries_by_revision" }
func (d *sqliteDB) byExpiry() string        { return "INDEXED BY {p}entries_by_expiry" }
func (d *sqliteDB) byLive() string          { return "INDEXED BY {p}entries_by_live" }
func (d *sqliteDB) insertIgnore() string    { return "INSERT OR IGNORE" }

// clock is the host's: the database has no other.
func (d *sqliteDB) clock() string { return strconv.FormatInt(time.Now().UnixMicro(), 10) }

// barrier has nothing to do: in WAL mode with synchronous=FULL a commit is
// shown to others only after its fsync.
func (d *sqliteDB) barrier(context.Context, *session) error { return nil }

func (d *sqliteDB) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ready {
		return nil
	}
	d.ready = false
	err := errors.Join(d.checkpoints.stop(), d.streams.close(), d.readers.close())
	// A writer under way has its context cancelled, and comes back soon.
	c := <-d.writing
	close(d.writing)
	if c != nil {
		err = errors.Join(err, c.close())
	}
	return err
}

// sqliteCode is the primary result code in err, or 0.
func sqliteCode(err error) int { return extendedCode(err) & 0xff }

// extendedCode is the result code in err, whoever has called SQLite, or 0.
func extendedCode(err error) int {
	var own *liteError
	if errors.As(err, &own) {
		return int(own.code)
	}
	var driver *sqlite.Error
	if errors.As(err, &driver) {
		return driver.Code()
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
	code := extendedCode(err)
	return code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY || code == sqlite3.SQLITE_CONSTRAINT_UNIQUE
}
