package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/semaphore"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

const (
	// transferBytes bounds the memory of the entries in flight. A larger entry is sent alone.
	transferBytes = 64 << 20
	// groupItems and groupBytes bound the entries of a batch.
	groupItems = 1000
	groupBytes = 4 << 20
	// maxFailuresShown bounds the failures that the report lists.
	maxFailuresShown = 20
)

// transfer stores the items of an import with several workers.
type transfer struct {
	c          *client.Client
	streams    *console.Streams
	o          ImportOptions
	checkpoint *checkpoint
	progress   *console.Progress
	began      time.Time

	mu       sync.Mutex // guards the fields below
	stored   int64
	bytes    int64
	expired  int64
	same     int64
	failed   int64
	failures []string // the first maxFailuresShown
}

// storeItems passes the items of src to o.Parallel workers and returns when no item is in flight any more. Failures of
// single items are counted. The error is that of src, of ctx, or of a server that does not work; each ends the import.
func (t *transfer) storeItems(ctx context.Context, src source) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	memory := semaphore.NewWeighted(transferBytes)
	work := make(chan item, groupItems)
	var workers sync.WaitGroup
	for range t.o.Parallel {
		workers.Go(func() {
			for group := nextGroup(work); len(group) > 0; group = nextGroup(work) {
				if ctx.Err() == nil { // after the end of ctx no further group is started
					if err := t.storeGroup(ctx, group); err != nil {
						stop(err)
					}
				}
				for _, it := range group {
					memory.Release(heldBy(it))
				}
			}
		})
	}
	err := t.sendToWorkers(ctx, src, memory, work)
	close(work)
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// nextGroup waits for an item and adds the items that are ready, up to the bounds of a batch. A slow source therefore has
// its items stored as they come. The group is empty at the end of work.
func nextGroup(work <-chan item) []item {
	it, ok := <-work
	if !ok {
		return nil
	}
	group, weight := []item{it}, it.weight
	for len(group) < groupItems && weight < groupBytes {
		select {
		case it, ok := <-work:
			if !ok {
				return group
			}
			group, weight = append(group, it), weight+it.weight
		default:
			return group
		}
	}
	return group
}

// heldBy returns the part of transferBytes that an item takes.
func heldBy(it item) int64 { return min(it.weight, transferBytes) }

// sendToWorkers sends the items of src to the workers until the end of src or of ctx.
func (t *transfer) sendToWorkers(ctx context.Context, src source, memory *semaphore.Weighted, work chan<- item) error {
	for it, err := range src.items(ctx) {
		if err != nil {
			return err
		}
		if err := memory.Acquire(ctx, heldBy(it)); err != nil {
			return err
		}
		t.checkpoint.noteStarted(it.after)
		select {
		case work <- it:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// storeGroup stores a group of items, small items together in a batch. Failures of single items are counted. The error is
// a failure of the server, which further items would meet as well.
func (t *transfer) storeGroup(ctx context.Context, group []item) error {
	entries := make([]loaded, len(group))
	errs := make([]error, len(group))
	var batch, alone []int // indexes
	for i, it := range group {
		entries[i], errs[i] = it.load()
		switch {
		case errs[i] != nil || t.o.DryRun || entries[i].done():
		case entries[i].batchable():
			batch = append(batch, i)
		default:
			alone = append(alone, i)
		}
	}
	if len(batch) > 1 {
		t.storeBatch(ctx, entries, batch, errs)
	} else {
		alone = append(batch, alone...)
	}
	for _, i := range alone {
		e := &entries[i]
		_, errs[i] = t.c.PutBody(ctx, e.key, e.body, e.put)
	}
	var away error
	for i, it := range group {
		away = cmp.Or(away, t.finishItem(it, &entries[i], errs[i]))
	}
	return away
}

// storeBatch stores the entries at these indexes in a batch and sets the error of each.
func (t *transfer) storeBatch(ctx context.Context, entries []loaded, batch []int, errs []error) {
	operations := make([]client.Operation, len(batch))
	for n, i := range batch {
		e := &entries[i]
		operations[n] = client.PutOp(e.key, e.inline, e.put)
	}
	results, err := t.c.Batch(ctx, operations, client.ReadOptions{})
	for n, i := range batch {
		if errs[i] = err; err == nil {
			errs[i] = results[n].Err
		}
	}
}

// finishItem records the result of an item. A failure of the server is not recorded but returned.
func (t *transfer) finishItem(it item, e *loaded, err error) error {
	if err != nil && errors.Is(err, client.ErrServer) {
		return fmt.Errorf("the import stopped at %s: %w", it.where, err)
	}
	t.tally(it, e, err)
	if err != nil {
		t.checkpoint.noteFailed(it.after)
		return nil
	}
	return t.checkpoint.noteStored(it.after)
}

// tally adds the result of an item to the report.
func (t *transfer) tally(it item, e *loaded, err error) {
	t.progress.Add(it.units)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err != nil:
		t.failed++
		if len(t.failures) < maxFailuresShown {
			t.failures = append(t.failures, fmt.Sprintf("%s: %v", it.where, err))
		}
	case e.expired:
		t.expired++
	case e.same:
		t.same++
	default:
		if t.o.DryRun {
			fmt.Fprintf(t.streams.Out, "store %s\n", t.streams.Name(e.key))
		}
		t.stored++
		t.bytes += e.body.Size
	}
}

// printReport writes a line for each kept failure, and a line with the totals. The workers have ended.
func (t *transfer) printReport(w io.Writer) {
	for _, f := range t.failures {
		fmt.Fprintf(w, "not stored: %s\n", console.Line(f))
	}
	if more := t.failed - int64(len(t.failures)); more > 0 {
		fmt.Fprintf(w, "not stored: %d more\n", more)
	}
	took := t.streams.Now().Sub(t.began)
	what := "stored"
	if t.o.DryRun {
		what = "would store"
	}
	parts := []string{fmt.Sprintf(what+" %d entries, %s in %v", t.stored, humanize.IBytes(uint64(t.bytes)), took.Round(time.Millisecond))}
	if s := took.Seconds(); s > 0 {
		parts[0] += fmt.Sprintf(" (%.0f/s)", float64(t.stored)/s)
	}
	if t.same > 0 {
		parts = append(parts, fmt.Sprintf("%d were stored already", t.same))
	}
	if t.expired > 0 {
		parts = append(parts, fmt.Sprintf("%d had expired", t.expired))
	}
	if t.failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", t.failed))
	}
	fmt.Fprintln(w, strings.Join(parts, "; "))
}
