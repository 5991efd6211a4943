package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// stmt is a compiled statement. Arguments are numbered from 1 and columns from 0, as in SQLite.
type stmt struct {
	c      *rawConn
	handle uintptr
	kept   bool // by the connection, for later use
	inUse  bool // by rows that have not been closed

	// buffer holds the texts and blobs of the arguments. SQLite reads them there, without a copy,
	// until the statement is reset.
	buffer     uintptr
	size, used int
}

// maxKeptBuffer is the largest buffer, in bytes, that a statement keeps between uses.
const maxKeptBuffer = 256 << 10

// endUse ends a use of the statement.
func (st *stmt) endUse() {
	if st.kept {
		st.reset()
	} else {
		st.finalize()
	}
}

func (st *stmt) finalize() {
	lib.Xsqlite3_finalize(st.c.tls, st.handle)
	st.free()
}

func (st *stmt) free() {
	if st.buffer != 0 {
		libc.Xfree(st.c.tls, st.buffer)
	}
	st.buffer, st.size, st.used = 0, 0, 0
}

// reserve makes room for n bytes of arguments and discards the previous arguments.
func (st *stmt) reserve(n int) (err error) {
	if st.used = 0; st.size >= n {
		return nil
	}
	st.free()
	room := max(n, 512)
	if st.buffer, err = st.c.malloc(room); err == nil {
		st.size = room
	}
	return err
}

func (st *stmt) bindInt(i int, v int64) error {
	return st.check(lib.Xsqlite3_bind_int64(st.c.tls, st.handle, int32(i), v))
}

func (st *stmt) bindNull(i int) error {
	return st.check(lib.Xsqlite3_bind_null(st.c.tls, st.handle, int32(i)))
}

// bindBlob binds bytes; reserve has made room for them.
func bindBlob[T []byte | string](st *stmt, i int, v T) error {
	return st.check(lib.Xsqlite3_bind_blob(st.c.tls, st.handle, int32(i), store(st, v), int32(len(v)), lib.SQLITE_STATIC))
}

func (st *stmt) bindText(i int, v string) error {
	return st.check(lib.Xsqlite3_bind_text(st.c.tls, st.handle, int32(i), store(st, v), int32(len(v)), lib.SQLITE_STATIC))
}

// store copies v into the buffer. An empty value has an address too, because no address means NULL.
func store[T []byte | string](st *stmt, v T) uintptr {
	if st.buffer == 0 || len(v) > st.size-st.used {
		panic("partition: an argument without room")
	}
	at := st.buffer + uintptr(st.used)
	st.used += copy(libc.GoBytes(at, len(v)), v)
	return at
}

func (st *stmt) check(rc int32) error {
	if rc != lib.SQLITE_OK {
		return st.c.errorOf(rc)
	}
	return nil
}

// bind binds all arguments.
func (st *stmt) bind(args []any) error {
	room := 1
	for _, a := range args {
		switch a := a.(type) {
		case string:
			room += len(a)
		case []byte:
			room += len(a)
		}
	}
	if err := st.reserve(room); err != nil {
		return err
	}
	for i, a := range args {
		if err := st.bindAny(i+1, a); err != nil {
			return err
		}
	}
	return nil
}

func (st *stmt) bindAny(i int, arg any) error {
	switch v := arg.(type) {
	case nil:
		return st.bindNull(i)
	case int:
		return st.bindInt(i, int64(v))
	case int64:
		return st.bindInt(i, v)
	case string:
		return st.bindText(i, v)
	case []byte:
		if v == nil {
			return st.bindNull(i)
		}
		return bindBlob(st, i, v)
	}
	return fmt.Errorf("argument %d is of type %T", i, arg)
}

// step goes on to the next row.
func (st *stmt) step() (row bool, err error) {
	switch rc := lib.Xsqlite3_step(st.c.tls, st.handle); rc {
	case lib.SQLITE_ROW:
		return true, nil
	case lib.SQLITE_DONE:
		return false, nil
	default:
		return false, st.c.errorOf(rc)
	}
}

// firstStep makes the first step, which waits for other processes.
func (st *stmt) firstStep(ctx context.Context) (row bool, err error) {
	_, err = st.c.retryLocked(ctx, func() (*stmt, error) {
		row, err = st.step()
		if err != nil {
			lib.Xsqlite3_reset(st.c.tls, st.handle)
		}
		return st, err
	})
	return row, err
}

// reset ends an execution. step has returned its errors.
func (st *stmt) reset() {
	lib.Xsqlite3_reset(st.c.tls, st.handle)
	if st.size > maxKeptBuffer {
		st.free()
	}
}

// exec runs the statement until its end or the end of ctx, and returns the number of changed rows.
func (st *stmt) exec(ctx context.Context, args []any) (int64, error) {
	if err := st.bind(args); err != nil {
		return 0, err
	}
	stop := st.c.interruptAt(ctx)
	defer stop()
	row, err := st.firstStep(ctx)
	for row && err == nil {
		row, err = st.step()
	}
	if err != nil {
		return 0, errors.Join(ctx.Err(), err)
	}
	return st.changed(), nil
}

// changed returns how many rows the statement that ended last has written.
func (st *stmt) changed() int64 { return lib.Xsqlite3_changes64(st.c.tls, st.c.db) }

func (st *stmt) int(i int) int64 { return lib.Xsqlite3_column_int64(st.c.tls, st.handle, int32(i)) }

// blob returns the column's memory in SQLite, valid until the next step or reset. NULL and an empty
// value are nil.
func (st *stmt) blob(i int) []byte {
	p := lib.Xsqlite3_column_blob(st.c.tls, st.handle, int32(i))
	if p == 0 {
		return nil
	}
	return libc.GoBytes(p, int(lib.Xsqlite3_column_bytes(st.c.tls, st.handle, int32(i))))
}

func (st *stmt) null(i int) bool {
	return lib.Xsqlite3_column_type(st.c.tls, st.handle, int32(i)) == lib.SQLITE_NULL
}

// pointerAt reads the pointer that SQLite has stored at p.
func pointerAt(p uintptr) uintptr {
	var size = 8
	if math.MaxInt == math.MaxInt32 {
		size = 4
	}
	b := libc.GoBytes(p, size)
	if size == 4 {
		return uintptr(binary.NativeEndian.Uint32(b))
	}
	return uintptr(binary.NativeEndian.Uint64(b))
}

func int32At(p uintptr) int32 { return int32(binary.NativeEndian.Uint32(libc.GoBytes(p, 4))) }
