package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// lookEvery is the minimum interval between two checks of the path by reads. Every write checks the path.
const lookEvery = 100 * time.Millisecond

// openedFile is the file that the connections of an SQLite partition have open. An open file
// outlives its name: without the check, a process would write to a file that was moved, removed or
// replaced, and the writes would be lost when the last connection is closed.
type openedFile struct {
	path     string
	current  atomic.Pointer[os.FileInfo] // nil once the path has another file or none
	lookedAt atomic.Int64                // nanoseconds
}

// note records which file is at the path, just after c was opened to this file. Connections to
// an earlier file are closed at their next use.
func (f *openedFile) note(c *rawConn) error {
	info, err := os.Stat(f.path)
	if err == nil {
		c.file = &info
		f.current.Store(c.file)
	}
	return err
}

// look fails if the file at the path differs from the recorded file, and from then on until the next
// note. The cost is a call of stat.
func (f *openedFile) look() error {
	noted := f.current.Load()
	if noted != nil {
		info, err := os.Stat(f.path)
		if err == nil && os.SameFile(info, *noted) || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		f.current.CompareAndSwap(noted, nil)
	}
	return fmt.Errorf("%w: %w: %s was moved, removed or replaced", partition.ErrUnavailable, partition.ErrNotPrepared, f.path)
}

// lookSometimes calls look at most once per lookEvery, or always after a failure.
func (f *openedFile) lookSometimes() error {
	now, last := time.Now().UnixNano(), f.lookedAt.Load()
	if f.current.Load() != nil && (now-last < int64(lookEvery) || !f.lookedAt.CompareAndSwap(last, now)) {
		return nil
	}
	return f.look()
}

// open opens a connection to the recorded file.
func (f *openedFile) open(ctx context.Context, limit time.Duration, pragmas ...string) (*rawConn, error) {
	file := f.current.Load()
	c, err := open(ctx, f.path, limit, pragmas...)
	if err == nil {
		c.file = file
	}
	return c, err
}

// has reports whether c is a connection to the recorded file.
func (f *openedFile) has(_ context.Context, c *rawConn) bool { return c.file == f.current.Load() }
