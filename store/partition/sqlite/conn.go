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

// rawConn is a connection to an SQLite file, used by a single goroutine at a time. It calls the
// library directly: database/sql and its driver allocate for each column and lock at each call,
// which is a third of the cost of a read.
type rawConn struct {
	tls         *libc.TLS
	db          uintptr
	kept        map[string]*stmt
	lockTimeout time.Duration // for which a statement waits for other processes
	file        *os.FileInfo  // the file of openedFile when the connection was opened
}

// Error is an error of SQLite.
type Error struct {
	code int32 // extended result code
	text string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("sqlite: %s (%d)", e.text, e.code) }

const persistent = lib.SQLITE_PREPARE_PERSISTENT

// open opens or creates the file at path, and runs the pragmas.
func open(ctx context.Context, path string, lockTimeout time.Duration, pragmas ...string) (*rawConn, error) {
	c := &rawConn{tls: libc.NewTLS(), kept: make(map[string]*stmt), lockTimeout: lockTimeout}
	if err := c.openFile(path); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	for _, p := range pragmas {
		if _, err := c.Exec(ctx, sqlengine.Statement{Text: "PRAGMA " + p}); err != nil {
			return nil, errors.Join(fmt.Errorf("pragma %s: %w", p, err), c.Close())
		}
	}
	return c, nil
}

func (c *rawConn) openFile(path string) error {
	name, err := libc.CString(path)
	if err != nil {
		return err
	}
	defer libc.Xfree(c.tls, name)
	handle := c.tls.Alloc(8)
	defer c.tls.Free(8)
	rc := lib.Xsqlite3_open_v2(c.tls, name, handle, lib.SQLITE_OPEN_READWRITE|lib.SQLITE_OPEN_CREATE|lib.SQLITE_OPEN_NOMUTEX, 0)
	if c.db = pointerAt(handle); rc != lib.SQLITE_OK {
		return c.errorOf(rc)
	}
	lib.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	return nil
}

// Close closes the connection and its statements. Close may be repeated.
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
			err = c.errorOf(rc)
		}
	}
	c.tls.Close()
	c.tls, c.db, c.kept = nil, 0, nil
	return err
}

// errorOf returns the error of a call that returned rc.
func (c *rawConn) errorOf(rc int32) error {
	text := libc.GoString(lib.Xsqlite3_errstr(c.tls, rc))
	if c.db != 0 && lib.Xsqlite3_errcode(c.tls, c.db)&0xff == rc&0xff {
		text = libc.GoString(lib.Xsqlite3_errmsg(c.tls, c.db))
	}
	return &Error{code: rc, text: text}
}

// prepare compiles a statement. flags may be persistent.
func (c *rawConn) prepare(statement string, flags uint32) (*stmt, error) {
	text, err := libc.CString(statement)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(c.tls, text)
	handle := c.tls.Alloc(8)
	defer c.tls.Free(8)
	if rc := lib.Xsqlite3_prepare_v3(c.tls, c.db, text, int32(len(statement)+1), flags, handle, 0); rc != lib.SQLITE_OK {
		return nil, c.errorOf(rc)
	}
	return &stmt{c: c, handle: pointerAt(handle)}, nil
}

// compiled returns a kept statement, which is compiled on first use, or a statement for a single
// use. Compiling reads the schema, so it waits for a locked file as a first step does.
func (c *rawConn) compiled(ctx context.Context, s sqlengine.Statement) (*stmt, error) {
	if !s.Keep {
		return c.retryLocked(ctx, func() (*stmt, error) { return c.prepare(s.Text, 0) })
	}
	if st := c.kept[s.Text]; st != nil {
		if st.inUse {
			return c.compiled(ctx, sqlengine.Statement{Text: s.Text})
		}
		return st, nil
	}
	st, err := c.retryLocked(ctx, func() (*stmt, error) { return c.prepare(s.Text, persistent) })
	if err == nil {
		st.kept, c.kept[s.Text] = true, st
	}
	return st, err
}

// retryLocked repeats f while another process has locked the file.
func (c *rawConn) retryLocked(ctx context.Context, f func() (*stmt, error)) (*stmt, error) {
	var begun time.Time
	for wait := time.Millisecond; ; wait = min(2*wait, maxLockPause) {
		st, err := f()
		if err == nil || errorCode(err) != lib.SQLITE_BUSY {
			return st, err
		}
		if begun.IsZero() {
			begun = time.Now()
		} else if time.Since(begun) > c.lockTimeout || ctx.Err() != nil { // Err may change before Done
			return nil, errors.Join(ctx.Err(), err)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}

// maxLockPause is the longest pause between two attempts on a locked file.
const maxLockPause = 10 * time.Millisecond

// Exec implements sqlengine.RawConn.
func (c *rawConn) Exec(ctx context.Context, s sqlengine.Statement, args ...any) (int64, error) {
	st, err := c.compiled(ctx, s)
	if err != nil {
		return 0, err
	}
	defer st.endUse()
	return st.exec(ctx, args)
}

// CommitTx implements sqlengine.RawConn. It does not wait.
func (c *rawConn) CommitTx(ctx context.Context) error {
	_, err := c.Exec(context.WithoutCancel(ctx), sqlengine.Kept("COMMIT"))
	return err
}

// RollbackTx implements sqlengine.RawConn.
func (c *rawConn) RollbackTx(ctx context.Context) error {
	_, err := c.Exec(ctx, sqlengine.Kept("ROLLBACK"))
	if errorCode(err) == lib.SQLITE_ERROR { // no transaction is open
		return nil
	}
	return err
}

// interruptAt interrupts the connection when ctx ends, until stop is called.
func (c *rawConn) interruptAt(ctx context.Context) (stop func()) {
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

// Abort implements sqlengine.RawConn. Nothing runs between two rows.
func (*rawConn) Abort() {}

// malloc allocates memory outside of Go's heap.
func (c *rawConn) malloc(n int) (uintptr, error) {
	p := libc.Xmalloc(c.tls, types.Size_t(n))
	if p == 0 {
		return 0, &Error{code: lib.SQLITE_NOMEM, text: "out of memory"}
	}
	return p, nil
}
