package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
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

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// database is the dialect of SQLite.
type database struct {
	path     string
	file     openedFile
	disk     disk
	origin   partition.Origin
	names    *strings.Replacer
	maxConns int
	timeout  time.Duration

	mu      sync.Mutex // guards ready while connections are opened and closed
	ready   bool
	readers *sqlengine.Pool[*rawConn]
	streams *sqlengine.Pool[*rawConn]
	writing chan *rawConn // holds the writing connection, or nil before its first use

	checkpoints *checkpointer
	logPages    int64 // logPages of the checkpointer

	texts texts
	log   *slog.Logger
}

// Open returns the partition in the file at path. The file is opened by Prepare.
func Open(path string, o sqlengine.Options) (*sqlengine.Engine, error) {
	s, _, err := openDatabase(path, o)
	return s, err
}

func openDatabase(path string, o sqlengine.Options) (*sqlengine.Engine, *database, error) {
	absolute, err := filepath.Abs(path)
	if path == "" || err != nil {
		return nil, nil, fmt.Errorf("path %q of an SQLite file: %w", path, errors.Join(err, os.ErrInvalid))
	}
	if o, err = o.Complete(); err != nil {
		return nil, nil, err
	}
	d := &database{path: absolute, file: openedFile{path: absolute}, origin: partition.Origin(o.Name), names: o.Names(fragments), maxConns: cmp.Or(max(o.MaxConns, 0), defaultReaders),
		timeout: o.Timeout, logPages: logPages, log: o.Logger, disk: disk{path: absolute, floor: o.MinFreeDisk, free: freeBytes}}
	d.disk.known.Store(math.MaxInt64)
	d.texts = textsOf(d.names)
	return sqlengine.New(o, fragments, d), d, nil
}

// fragments has no locks, because a writer locks the file, and no barrier: in WAL mode with
// synchronous=FULL a commit becomes visible only after its fsync.
var fragments = sqlengine.Fragments{
	BeginWrite:      "BEGIN IMMEDIATE",
	BeginSnapshot:   []string{"BEGIN"}, // the first SELECT opens the view
	InsertIgnore:    "INSERT OR IGNORE",
	UpsertChunk:     "ON CONFLICT (hash) DO UPDATE SET size = excluded.size, touched_at = MAX(touched_at + 1, excluded.touched_at)",
	UpsertChunkData: "ON CONFLICT (hash) DO UPDATE SET data = excluded.data WHERE data <> excluded.data",
	DeleteByKey:     "DELETE FROM {p}entries",
	ByRevision:      "INDEXED BY {p}entries_by_revision",
	ByExpiry:        "INDEXED BY {p}entries_by_expiry",
	ByLive:          "INDEXED BY {p}entries_by_live",
	CountTables:     "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = '{table}'",
	CountRows:       "SELECT COUNT(*) FROM {p}entries INDEXED BY {p}entries_by_revision",
	ValueLimit:      "SQLite",
	InProcess:       true,
}

const (
	defaultReaders = 8
	// maxValueBytes leaves room for the remaining columns below SQLITE_MAX_LENGTH, which is 1e9 and
	// limits a row.
	maxValueBytes = 1_000_000_000 - 1<<20
	// maxIdleTime is how long an unused reading connection stays open.
	maxIdleTime = 10 * time.Second
)

// Kind implements sqlengine.Dialect.
func (d *database) Kind() string { return "sqlite" }

// MaxValueBytes implements sqlengine.Dialect.
func (d *database) MaxValueBytes() int64 { return maxValueBytes }

// Warnings implements sqlengine.Dialect. Each connection sets synchronous=FULL, so there are none.
func (d *database) Warnings() []string { return nil }

// Prepare implements sqlengine.Dialect.
func (d *database) Prepare(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ready && d.file.look() == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(d.path), 0o750); err != nil {
		return fmt.Errorf("%w: %w", partition.ErrRefused, err)
	}
	d.create()
	write, err := d.openWriter(ctx)
	if err != nil {
		return err
	}
	if err := d.file.note(write); err != nil {
		return errors.Join(err, write.Close())
	}
	if d.ready { // the connections to the earlier file are closed at their next use
		return write.Close()
	}
	d.readers = sqlengine.NewPool(d.maxConns, d.openReader)
	d.streams = sqlengine.NewPool(0, d.openStream)
	d.readers.Usable, d.streams.Usable = d.file.has, d.file.has
	d.writing = make(chan *rawConn, 1)
	d.writing <- write
	d.checkpoints = &checkpointer{path: d.path, file: &d.file, open: d.openCheckpointer, writing: d.writing, pages: d.logPages, closeIdle: d.closeIdle,
		log: d.log.With("partition", d.origin)}
	d.checkpoints.start()
	d.ready = true
	return nil
}

// create creates the file with access for its owner only. SQLite uses the same mode for the log and
// the shared memory. An existing file is not opened, because closing it would release this
// process's locks on the file. Other errors show up again when SQLite opens the file.
func (d *database) create() {
	if file, err := os.OpenFile(d.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		_ = file.Close() // nothing was written
	}
}

// retryBusy repeats f while another process has locked the file in a way for which SQLite does not
// wait, for example to change the journal mode.
func retryBusy(ctx context.Context, f func() error) error {
	for {
		err := f()
		if code := errorCode(err); code != sqlite3.SQLITE_BUSY && code != sqlite3.SQLITE_LOCKED {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// openWriter opens a writing connection. The file keeps its journal mode; the page size applies to
// a new file.
func (d *database) openWriter(ctx context.Context) (c *rawConn, err error) {
	err = retryBusy(ctx, func() error {
		c, err = d.file.open(ctx, d.timeout, "journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0",
			"temp_store=MEMORY", pageCache(32<<10))
		return err
	})
	return c, err
}

// pageCache returns the pragma for a page cache of kib KiB. If the process may use less than 1 GiB
// of memory, the cache gets an eighth: caches lie outside of Go's heap, which the memory limit
// controls.
func pageCache(kib int) string {
	if debug.SetMemoryLimit(-1) < 1<<30 {
		kib /= 8
	}
	return fmt.Sprintf("cache_size=-%d", kib)
}

func (d *database) openReader(ctx context.Context) (*rawConn, error) {
	return d.file.open(ctx, d.timeout, "query_only=1", pageCache(8<<10))
}

func (d *database) openStream(ctx context.Context) (*rawConn, error) {
	return d.file.open(ctx, d.timeout, "query_only=1")
}

func (d *database) openCheckpointer(ctx context.Context) (*rawConn, error) {
	return d.file.open(ctx, d.timeout, "synchronous=FULL", "wal_autocheckpoint=0",
		fmt.Sprintf("busy_timeout=%d", readersWait))
}

// closeIdle closes connections that have not been used for maxIdleTime.
func (d *database) closeIdle() {
	since := time.Now().Add(-maxIdleTime)
	d.readers.Trim(since)
	d.streams.Trim(since)
}

// dsn returns a file: URI with an escaped path.
func (d *database) dsn(pragmas ...string) string {
	query := url.Values{"_txlock": {"immediate"}, "_dqs": {"0"}, "_error_rc": {"1"}}
	query.Add("_pragma", fmt.Sprintf("busy_timeout(%d)", max(d.timeout, time.Minute).Milliseconds()))
	for _, p := range pragmas {
		query.Add("_pragma", p)
	}
	return "file://" + (&url.URL{Path: filepath.ToSlash(d.path)}).EscapedPath() + "?" + query.Encode()
}

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations implements sqlengine.Dialect.
func (d *database) Migrations() fs.FS { return sqlengine.Folder(migrations, "migrations") }

// Tables implements sqlengine.Dialect. A migration is a transaction, so of several processes the
// second fails and finds the migration done when f runs again.
func (d *database) Tables(ctx context.Context, f func(*sqlengine.Tables) error) error {
	if _, err := os.Stat(d.path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w: %w", partition.ErrUnavailable, partition.ErrNotPrepared, err)
	}
	db, err := sql.Open("sqlite", d.dsn("synchronous(FULL)"))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	t := &sqlengine.Tables{DB: db, Dialect: goose.DialectSQLite3, Lock: func(context.Context) error { return nil }}
	for range 5 {
		err = retryBusy(ctx, func() error { return f(t) })
		if err == nil || errors.Is(err, partition.ErrRefused) || ctx.Err() != nil {
			break
		}
	}
	return errors.Join(err, db.Close())
}

// Acquire implements sqlengine.Dialect.
func (d *database) Acquire(ctx context.Context, use sqlengine.Use) (*sqlengine.Conn, error) {
	p := d.readers
	switch use {
	case sqlengine.Writing:
		c, err := d.acquireWriter(ctx)
		if err != nil {
			return nil, err
		}
		return sqlengine.NewConn(c, func(inTx bool) { d.releaseWriter(c, inTx) }), nil
	case sqlengine.Streaming:
		p = d.streams
	}
	if err := d.file.lookSometimes(); err != nil {
		return nil, err
	}
	c, err := p.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return sqlengine.NewConn(c, func(inTx bool) {
		if inTx {
			p.Discard(c)
			return
		}
		p.Release(c)
	}), nil
}

// acquireWriter takes the only writing connection of this process.
func (d *database) acquireWriter(ctx context.Context) (c *rawConn, err error) {
	select {
	case lent, open := <-d.writing:
		if c = lent; !open {
			return nil, fmt.Errorf("%w: closed", partition.ErrUnavailable)
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err = d.file.look(); c != nil && !d.file.has(ctx, c) {
		_ = c.Close()
		c = nil
	}
	if c == nil && err == nil {
		c, err = d.openWriter(ctx)
	}
	if err != nil {
		d.writing <- c
		return nil, err
	}
	return c, nil
}

func (d *database) releaseWriter(c *rawConn, inTx bool) {
	if inTx {
		_ = c.Close()
		c = nil
	} else {
		d.checkpoints.noteCommit(c)
	}
	d.writing <- c
}

// Clock is the host's clock.
func (d *database) Clock() string { return strconv.FormatInt(time.Now().UnixMicro(), 10) }

// Close implements sqlengine.Dialect.
func (d *database) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ready {
		return nil
	}
	d.ready = false
	err := errors.Join(d.checkpoints.stop(), d.streams.Close(), d.readers.Close())
	// Closing cancels the context of a running writer, so the connection comes back soon.
	c := <-d.writing
	close(d.writing)
	if c != nil {
		err = errors.Join(err, c.Close())
	}
	return err
}

// errorCode returns the primary result code in err, or 0.
func errorCode(err error) int { return extendedCode(err) & 0xff }

// extendedCode returns the result code in err, from this package or the driver, or 0.
func extendedCode(err error) int {
	var own *Error
	if errors.As(err, &own) {
		return int(own.code)
	}
	var driver *sqlite.Error
	if errors.As(err, &driver) {
		return driver.Code()
	}
	return 0
}

// Transient implements sqlengine.Dialect. SQLite itself waits for other writers.
func (d *database) Transient(error) bool { return false }

// Answered implements sqlengine.Dialect. After an I/O error of COMMIT the write-ahead log may contain the
// transaction.
func (d *database) Answered(err error) bool {
	code := errorCode(err)
	return code != 0 && code != sqlite3.SQLITE_IOERR && code != sqlite3.SQLITE_INTERRUPT
}

// Classify implements sqlengine.Dialect.
func (d *database) Classify(err error) error {
	switch errorCode(err) {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %w: %w", partition.ErrUnavailable, partition.ErrNoSpace, err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR,
		sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL:
		return fmt.Errorf("%w: %w", partition.ErrUnavailable, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_CANTOPEN:
		return fmt.Errorf("%w: this process needs to read and write %s and its directory: %w", partition.ErrRefused, d.path, err)
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%w: %s is damaged or no SQLite file; restore it, or move it away: %w", partition.ErrRefused, d.path, err)
	case sqlite3.SQLITE_TOOBIG:
		return fmt.Errorf("%w: %w", partition.ErrTooLarge, err)
	case sqlite3.SQLITE_CONSTRAINT:
		if code := extendedCode(err); code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY || code == sqlite3.SQLITE_CONSTRAINT_UNIQUE {
			return fmt.Errorf("%w: %w", sqlengine.ErrDuplicate, err)
		}
	}
	return err
}
