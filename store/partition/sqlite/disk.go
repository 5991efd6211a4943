package sqlite

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// freeEvery is the minimum interval between two questions about the free space of a disk.
const freeEvery = time.Second

// disk keeps a floor of free space on the disk of a file.
type disk struct {
	path  string
	floor int64                           // bytes; 0: no floor
	free  func(path string) (int64, bool) // bytes that an ordinary user may still write; false: unknown

	askedAt atomic.Int64 // nanoseconds since 1970
	known   atomic.Int64 // free bytes at askedAt; math.MaxInt64 while unknown
}

// checkRoom returns ErrNoSpace if less than the floor is free. The answer may be freeEvery old. Deletions are refused too:
// they take space, and free none before they are collected.
func (d *disk) checkRoom() error {
	if d.floor == 0 {
		return nil
	}
	now, last := time.Now().UnixNano(), d.askedAt.Load()
	if now-last >= int64(freeEvery) && d.askedAt.CompareAndSwap(last, now) {
		if free, ok := d.free(filepath.Dir(d.path)); ok {
			d.known.Store(free)
		}
	}
	if free := d.known.Load(); free < d.floor {
		return fmt.Errorf("%w: %w: %d MiB are free, and %d MiB must stay free", partition.ErrUnavailable, partition.ErrNoSpace, free>>20, d.floor>>20)
	}
	return nil
}
