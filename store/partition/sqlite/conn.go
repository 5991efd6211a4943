package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"modernc.org/libc"
	"modernc.org/libc/sys/types"
	lib "modernc.org/sqlite/lib"

	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// liteConn is one connection to an SQLite file, used by one goroutine at a
// time. It calls SQLite itself: database/sql and the driver below it box each
// column and lock around each call, a third of what a read costs.
type rawConn struct {
	tls   *libc.TLS
	db    uintptr
	kept  map[string]*stmt
	limit time.Duration // how long a statement waits for other processes
	file  *os.FileInfo  // the noted file of openedFile when the connection was opened
}

// liteError is what SQLite answered with.
type Error struct {
	code int32 // extended
	text string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("sqlite: %s (%d)", e.text, e.code) }

const persistent = lib.SQLITE_PREPARE_PERSISTENT

// openLite opens the file at path, or makes it, and runs the pragmas.
func open(ctx context.Context, path string, limit time.Duration, pragmas ...string) (*rawConn, error) {
	c := &rawConn{tls: libc.NewTLS(), kept: make(map[string]*stmt), limit: limit}
	if err := c.open(path); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	for _, p := range pragmas {
		if _, err := c.Exec(ctx, sqlengine.Statement{Text: "PRAGMA " + p}); err != nil {
			return nil, errors.Join(fmt.Errorf("pragma %s: %w", p, err), c.Close())
		}
	}
	return c, nil
}

func (c *rawConn) open(path string) error {
	name, err := libc.CString(path)
	if err != nil {
		return err
	}
	defer libc.Xfree(c.tls, name)
	handle := c.tls.Alloc(8)
	defer c.tls.Free(8)
	rc := lib.Xsqlite3_open_v2(c.tls, name, handle, lib.SQLITE_OPEN_READWRITE|lib.SQLITE_OPEN_CREATE|lib.SQLITE_OPEN_NOMUTEX, 0)
	if c.db = pointerAt(handle); rc != lib.SQLITE_OK {
		return c.failed(rc)
	}
	lib.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	return nil
}

// Close ends the connection and its statements. It may be repeated.
func (c *rawConn) Close() error {
	if c.tls == nil {
		return nil
	}
	for _, st := range c.kept {
		st.finalize()
	}
	var err error
	if c.db != 0 {
		if rc := lib.Xsqlite3_close_v2(c.tls, c.db); rc != lib.SQLITE_OK {
			err = c.failed(rc)
		}
	}
	c.tls.Close()
	c.tls, c.db, c.kept = nil, 0, nil
	return err
}

// failed is the error of a call that returned rc.
func (c *rawConn) failed(rc int32) error {
	text := libc.GoString(lib.Xsqlite3_errstr(c.tls, rc))
	if c.db != 0 && lib.Xsqlite3_errcode(c.tls, c.db)&0xff == rc&0xff {
		text = libc.GoString(lib.Xsqlite3_errmsg(c.tls, c.db))
	}
	return &Error{code: rc, text: text}
}

// prepare compiles one statement. flags may be persistent.
func (c *rawConn) prepare(statement string, flags uint32) (*stmt, error) {
	text, err := libc.CString(statement)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(c.tls, text)
	handle := c.tls.Alloc(8)
	defer c.tls.Free(8)
	if rc := lib.Xsqlite3_prepare_v3(c.tls, c.db, text, int32(len(statement)+1), flags, handle, 0); rc != lib.SQLITE_OK {
		return nil, c.failed(rc)
	}
	return &stmt{c: c, handle: pointerAt(handle)}, nil
}

// compiled returns the kept statement, compiled the first time, or one for this use alone. It
// waits like a first step does, as compiling reads the schema.
func (c *rawConn) compiled(ctx context.Context, s sqlengine.Statement) (*stmt, error) {
	if !s.Keep {
		return c.patiently(ctx, func() (*stmt, error) { return c.prepare(s.Text, 0) })
	}
	if st := c.kept[s.Text]; st != nil {
		if st.inUse {
			return c.compiled(ctx, sqlengine.Statement{Text: s.Text})
		}
		return st, nil
	}
	st, err := c.patiently(ctx, func() (*stmt, error) { return c.prepare(s.Text, persistent) })
	if err == nil {
		st.kept, c.kept[s.Text] = true, st
	}
	return st, err
}

// patiently repeats f while another process has the file locked.
func (c *rawConn) patiently(ctx context.Context, f func() (*stmt, error)) (*stmt, error) {
	var begun time.Time
	for wait := time.Millisecond; ; wait = min(2*wait, maxWait) {
		st, err := f()
		if err == nil || errorCode(err) != lib.SQLITE_BUSY {
			return st, err
		}
		if begun.IsZero() {
			begun = time.Now()
		} else if time.Since(begun) > c.limit || ctx.Err() != nil { // Err may know of an end before Done
			return nil, errors.Join(ctx.Err(), err)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}

// maxWait is the longest pause between two attempts to have a locked file.
const maxWait = 10 * time.Millisecond

// Exec implements RawConn.
func (c *rawConn) Exec(ctx context.Context, s sqlengine.Statement, args ...any) (int64, error) {
	st, err := c.compiled(ctx, s)
	if err != nil {
		return 0, err
	}
	defer st.done()
	return st.exec(ctx, args)
}

// CommitTx implements RawConn: it waits for nobody.
func (c *rawConn) CommitTx(ctx context.Context) error {
	_, err := c.Exec(context.WithoutCancel(ctx), sqlengine.Kept("COMMIT"))
	return err
}

// RollbackTx implements RawConn.
func (c *rawConn) RollbackTx(ctx context.Context) error {
	_, err := c.Exec(ctx, sqlengine.Kept("ROLLBACK"))
	if errorCode(err) == lib.SQLITE_ERROR { // no transaction is open
		return nil
	}
	return err
}

// watch interrupts what the connection does when ctx ends, until the function
// that it returns is called.
func (c *rawConn) watch(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	ended := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(ended)
		lib.Xsqlite3_interrupt(c.tls, c.db)
	})
	return func() {
		if !cancel() {
			<-ended
		}
	}
}

// Abort implements RawConn: nothing is under way between two rows.
func (*rawConn) Abort() {}

// malloc returns memory of SQLite's, which the garbage collector does not know.
func (c *rawConn) malloc(n int) (uintptr, error) {
	p := libc.Xmalloc(c.tls, types.Size_t(n))
	if p == 0 {
		return 0, &Error{code: lib.SQLITE_NOMEM, text: "out of memory"}
	}
	return p, nil
}
