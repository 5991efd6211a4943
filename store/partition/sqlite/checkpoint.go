package sqlite

import (
	"context"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	lib "modernc.org/sqlite/lib"
)

const (
	// logPages is the length of the write-ahead log at which the checkpointer copies the log into
	// the file: 64 MiB. A longer log copies a page less often but slows readers down.
	logPages = 16_000
	// forcedFactor·logPages is the length at which writers copy the log themselves, because the
	// checkpointer did not succeed.
	forcedFactor = 4
	// shortRest is the number of pages that are copied while writers wait, which takes some
	// milliseconds.
	shortRest = 500
	// readersWait is how many milliseconds such a checkpoint waits for readers of the log, so that
	// the log can restart: several times the duration of a Get.
	readersWait = 20
	// idlePages is the growth between two checks up to which a log counts as idle. smallLog is the
	// size in bytes up to which its file is left alone.
	idlePages = 50
	smallLog  = 1 << 20
	// idleCheck is the interval of looking for resources that an idle partition can release.
	idleCheck = 5 * time.Second
)

// checkpointer copies the write-ahead log of a partition into its file, in the background of
// commits. Every process that has opened the file has a checkpointer; SQLite lets a single one work
// at a time, and the rest do nothing meanwhile.
//
// The log restarts only when all of it has been copied and no reader uses it. Writers without
// pauses would prevent that forever. So most of the log is copied in parallel to the writers, and
// the small rest while they wait.
type checkpointer struct {
	path      string
	file      *openedFile
	open      func(context.Context) (*rawConn, error)
	writing   chan *rawConn // holds the writing connection while no writer uses it
	pages     int64         // logPages, except in tests
	closeIdle func()        // called at every idleCheck
	log       *slog.Logger

	due  atomic.Int64  // length of the log, in pages, for the next checkpoint
	wake chan struct{} // holds a token when due is reached
	quit context.CancelFunc
	done sync.WaitGroup

	// Used by the goroutine only:
	conn *rawConn
	last int64 // length of the log at the last idleCheck, in pages
}

// logState is the length of a write-ahead log and its copied part, in pages.
type logState struct{ pages, copied int64 }

// start starts the checkpointer's goroutine; stop ends it.
func (k *checkpointer) start() {
	ctx, cancel := context.WithCancel(context.Background())
	k.quit, k.wake = cancel, make(chan struct{}, 1)
	k.due.Store(k.pages)
	k.done.Go(func() { k.loop(ctx) })
}

func (k *checkpointer) stop() error {
	k.quit()
	k.done.Wait()
	if k.conn == nil {
		return nil
	}
	return k.conn.Close()
}

func (k *checkpointer) loop(ctx context.Context) {
	tick := time.NewTicker(idleCheck)
	defer tick.Stop()
	for {
		err := error(nil)
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
			err = k.copyLog(ctx)
		case <-tick.C:
			k.closeIdle()
			err = k.shrinkIdleLog(ctx)
		}
		if err != nil && ctx.Err() == nil {
			k.log.Warn("the write-ahead log cannot be copied into its file", "error", err)
		}
	}
}

// noteCommit is called after each transaction, by the owner of the writing connection.
func (k *checkpointer) noteCommit(c *rawConn) {
	log, err := c.checkpoint(lib.SQLITE_CHECKPOINT_NOOP)
	switch {
	case err != nil:
	case log.pages < k.pages:
		k.due.Store(k.pages)
	case log.pages >= k.due.Load():
		if log.pages >= forcedFactor*k.pages {
			k.postpone(c.checkpoint(lib.SQLITE_CHECKPOINT_PASSIVE))
		}
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// postpone schedules the next attempt. Pages that stay in the log after this attempt, because of
// readers, would stay again at once.
func (k *checkpointer) postpone(log logState, err error) {
	if err == nil {
		k.due.Store(log.pages + k.pages)
	}
}

// copyLog copies the log into the file.
func (k *checkpointer) copyLog(ctx context.Context) error {
	if err := k.ensureConn(ctx); err != nil {
		return err
	}
	if err := k.copyMost(ctx); err != nil {
		return err
	}
	return k.withoutWriter(ctx, func() error {
		log, err := k.conn.checkpoint(lib.SQLITE_CHECKPOINT_RESTART)
		k.postpone(log, err)
		return err
	})
}

// copyMost copies until shortRest pages are left, or until the log grows as fast as it is copied.
func (k *checkpointer) copyMost(ctx context.Context) error {
	for before := int64(math.MaxInt64); ctx.Err() == nil; {
		if _, err := k.conn.checkpoint(lib.SQLITE_CHECKPOINT_PASSIVE); err != nil {
			return err
		}
		log, err := k.conn.checkpoint(lib.SQLITE_CHECKPOINT_NOOP)
		left := log.pages - log.copied
		if err != nil || left <= shortRest || left > before/2 {
			return err
		}
		before = left
	}
	return nil
}

// shrinkIdleLog releases the disk space of the log after a period of few writes by any process. The
// positions that an idle sync process stores do not prevent that.
//
// The memory of page caches is kept: all connections of the process share an allocator, and no
// request on any file can proceed while the allocator returns a cache to the kernel.
func (k *checkpointer) shrinkIdleLog(ctx context.Context) error {
	if err := k.ensureConn(ctx); err != nil {
		return err
	}
	log, err := k.conn.checkpoint(lib.SQLITE_CHECKPOINT_NOOP)
	grown := log.pages - k.last
	if k.last = log.pages; err != nil || grown < 0 || grown > idlePages || !k.isLogLarge() {
		return err
	}
	if _, err := k.conn.checkpoint(lib.SQLITE_CHECKPOINT_PASSIVE); err != nil {
		return err
	}
	return k.withoutWriter(ctx, func() error {
		_, err := k.conn.checkpoint(lib.SQLITE_CHECKPOINT_TRUNCATE)
		return err
	})
}

// isLogLarge reports whether the log's file has disk space to release. The file keeps the log's
// largest length.
func (k *checkpointer) isLogLarge() bool {
	info, err := os.Stat(k.path + "-wal")
	return err == nil && info.Size() > smallLog
}

func (k *checkpointer) ensureConn(ctx context.Context) (err error) {
	if k.conn != nil && !k.file.has(ctx, k.conn) {
		_ = k.conn.Close()
		k.conn = nil
	}
	if k.conn == nil {
		k.conn, err = k.open(ctx)
	}
	return err
}

// withoutWriter runs f while no writer of this process is active.
func (k *checkpointer) withoutWriter(ctx context.Context, f func() error) error {
	select {
	case c, open := <-k.writing:
		if !open {
			return nil
		}
		defer func() { k.writing <- c }()
		return f()
	case <-ctx.Done():
		return nil
	}
}

// checkpoint runs a kind of checkpoint of SQLite. A concurrent checkpoint of another process is no
// error.
func (c *rawConn) checkpoint(mode int32) (logState, error) {
	counts := c.tls.Alloc(16)
	defer c.tls.Free(16)
	rc := lib.Xsqlite3_wal_checkpoint_v2(c.tls, c.db, 0, mode, counts, counts+8)
	if rc != lib.SQLITE_OK && rc&0xff != lib.SQLITE_BUSY && rc&0xff != lib.SQLITE_LOCKED {
		return logState{}, c.errorOf(rc)
	}
	return logState{pages: int64(int32At(counts)), copied: int64(int32At(counts + 8))}, nil
}
