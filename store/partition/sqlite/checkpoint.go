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
	// logPages is the length of the write-ahead log from which on it is copied
	// into the file: 64 MiB. Longer ones copy a page less often, and make
	// readers look in more places.
	logPages = 16_000
	// maxLogs times that length is where writers copy it themselves, when
	// nobody else gets to it.
	maxLogs = 4
	// fewPages are copied while writers wait: some milliseconds.
	fewPages = 500
	// readersEnd is how many milliseconds such a checkpoint waits for readers
	// of the log, so that it can begin again: several times what a Get takes.
	readersEnd = 20
	// calmPages is how much a log may grow between two looks for an idle one,
	// and smallLog the size in bytes of a file that stays as it is.
	calmPages = 50
	smallLog  = 1 << 20
	// tidyEvery is how often somebody looks for what an idle partition can give back.
	tidyEvery = 5 * time.Second
)

// checkpointer copies the write-ahead log of one partition into its file, off
// the path of the commits. Every process that has the file open has one: SQLite
// lets one of them work at a time, and the others pass by.
//
// The log begins again only when all of it is copied and nobody reads in it,
// which writers that never rest would put off for ever. So the most is copied
// beside them, and the little that is left while they wait.
type checkpointer struct {
	path    string
	file    *openedFile
	open    func(context.Context) (*rawConn, error)
	writing chan *rawConn // the writers' turn
	pages   int64         // logPages, but in tests
	tidy    func()        // called every tidyEvery
	log     *slog.Logger

	due  atomic.Int64  // pages in the log at which the next checkpoint is worth it
	wake chan struct{} // holds one when it is
	quit context.CancelFunc
	done sync.WaitGroup

	// Of the goroutine alone:
	conn *rawConn
	last int64 // pages in the log at the last look for an idle one
}

// logState is the length of a write-ahead log, and how much of it is copied.
type logState struct{ pages, copied int64 }

// start runs the checkpointer until stop.
func (k *checkpointer) start() {
	ctx, cancel := context.WithCancel(context.Background())
	k.quit, k.wake = cancel, make(chan struct{}, 1)
	k.due.Store(k.pages)
	k.done.Go(func() { k.run(ctx) })
}

func (k *checkpointer) stop() error {
	k.quit()
	k.done.Wait()
	if k.conn == nil {
		return nil
	}
	return k.conn.Close()
}

func (k *checkpointer) run(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		err := error(nil)
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
			err = k.copyLog(ctx)
		case <-tick.C:
			k.tidy()
			err = k.shrinkIdleLog(ctx)
		}
		if err != nil && ctx.Err() == nil {
			k.log.Warn("the write-ahead log cannot be copied into its file", "error", err)
		}
	}
}

// written is told of each transaction by the writer whose turn it still is.
func (k *checkpointer) written(c *rawConn) {
	log, err := c.checkpoint(lib.SQLITE_CHECKPOINT_NOOP)
	switch {
	case err != nil:
	case log.pages < k.pages:
		k.due.Store(k.pages)
	case log.pages >= k.due.Load():
		if log.pages >= maxLogs*k.pages {
			k.attempted(c.checkpoint(lib.SQLITE_CHECKPOINT_PASSIVE))
		}
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// attempted puts the next attempt off: what stays in the log after this one,
// because somebody reads in it, would stay again.
func (k *checkpointer) attempted(log logState, err error) {
	if err == nil {
		k.due.Store(log.pages + k.pages)
	}
}

// copyLog copies the log into the file.
func (k *checkpointer) copyLog(ctx context.Context) error {
	if err := k.connect(ctx); err != nil {
		return err
	}
	if err := k.copyMost(ctx); err != nil {
		return err
	}
	return k.inTurn(ctx, func(*rawConn) error {
		log, err := k.conn.checkpoint(lib.SQLITE_CHECKPOINT_RESTART)
		k.attempted(log, err)
		return err
	})
}

// copyMost copies until few pages are left, or as many come as go.
func (k *checkpointer) copyMost(ctx context.Context) error {
	for before := int64(math.MaxInt64); ctx.Err() == nil; {
		if _, err := k.conn.checkpoint(lib.SQLITE_CHECKPOINT_PASSIVE); err != nil {
			return err
		}
		log, err := k.conn.checkpoint(lib.SQLITE_CHECKPOINT_NOOP)
		left := log.pages - log.copied
		if err != nil || left <= fewPages || left > before/2 {
			return err
		}
		before = left
	}
	return nil
}

// shrinkIdleLog gives back the disk and the memory that a log and its writer have used
// once little has been written for a while, by whatever process: the notes of
// a sync process that finds nothing to copy do not keep a log long.
func (k *checkpointer) shrinkIdleLog(ctx context.Context) error {
	if err := k.connect(ctx); err != nil {
		return err
	}
	log, err := k.conn.checkpoint(lib.SQLITE_CHECKPOINT_NOOP)
	grown := log.pages - k.last
	if k.last = log.pages; err != nil || grown < 0 || grown > calmPages || !k.worth() {
		return err
	}
	if _, err := k.conn.checkpoint(lib.SQLITE_CHECKPOINT_PASSIVE); err != nil {
		return err
	}
	return k.inTurn(ctx, func(writer *rawConn) error {
		_, err := k.conn.checkpoint(lib.SQLITE_CHECKPOINT_TRUNCATE)
		k.conn.releaseMemory()
		if writer != nil {
			writer.releaseMemory()
		}
		return err
	})
}

// worth says whether the log's file, which is as long as the log ever was, has
// anything to give back.
func (k *checkpointer) worth() bool {
	info, err := os.Stat(k.path + "-wal")
	return err == nil && info.Size() > smallLog
}

func (k *checkpointer) connect(ctx context.Context) (err error) {
	if k.conn != nil && !k.file.has(ctx, k.conn) {
		_ = k.conn.Close()
		k.conn = nil
	}
	if k.conn == nil {
		k.conn, err = k.open(ctx)
	}
	return err
}

// inTurn runs f while no writer of this process does anything. There may be no
// connection to write with.
func (k *checkpointer) inTurn(ctx context.Context, f func(writer *rawConn) error) error {
	select {
	case c, open := <-k.writing:
		if !open {
			return nil
		}
		defer func() { k.writing <- c }()
		return f(c)
	case <-ctx.Done():
		return nil
	}
}

// checkpoint runs one of SQLite's kinds of checkpoint. That another process is
// at it is no error.
func (c *rawConn) checkpoint(mode int32) (logState, error) {
	counts := c.tls.Alloc(16)
	defer c.tls.Free(16)
	rc := lib.Xsqlite3_wal_checkpoint_v2(c.tls, c.db, 0, mode, counts, counts+8)
	if rc != lib.SQLITE_OK && rc&0xff != lib.SQLITE_BUSY && rc&0xff != lib.SQLITE_LOCKED {
		return logState{}, c.failed(rc)
	}
	return logState{pages: int64(int32At(counts)), copied: int64(int32At(counts + 8))}, nil
}

// releaseMemory gives back the memory of pages that are not in use.
func (c *rawConn) releaseMemory() { lib.Xsqlite3_db_release_memory(c.tls, c.db) }
