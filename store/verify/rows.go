package verify

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/store/partition"
)

// Bounds of memory for each partition.
const (
	pageRows   = 500
	batchBytes = 4 << 20 // of values that are read together; a larger value is read alone
)

// rowReader reads the heads of a span page by page.
type rowReader struct {
	p    partition.Partition
	span partition.Span
	page []partition.Entry
	done bool
}

func newRowReader(p partition.Partition, of partition.DigestSpan) *rowReader {
	return &rowReader{p: p, span: partition.Span{From: of.From, To: of.To, Limit: pageRows}}
}

// peek returns the next row, or nil after the last.
func (r *rowReader) peek(ctx context.Context) (*partition.Entry, error) {
	if len(r.page) == 0 && !r.done {
		page, err := r.p.Rows(ctx, r.span)
		if err != nil {
			return nil, err
		}
		if r.page, r.done = page, len(page) < pageRows; len(page) > 0 {
			r.span.From = page[len(page)-1].Key + "\x00"
		}
	}
	if len(r.page) == 0 {
		return nil, nil
	}
	return &r.page[0], nil
}

// compareRows merges the rows of all partitions in the order of their keys, and examines those that differ.
func (r *run) compareRows(ctx context.Context, span partition.DigestSpan, seen map[partition.Key]bool) error {
	members := r.compared()
	readers, heads := make([]*rowReader, len(members)), make([]*partition.Entry, len(members))
	for i, m := range members {
		readers[i] = newRowReader(m, span)
	}
	for {
		var least *partition.Entry
		for i, reader := range readers {
			head, err := reader.peek(ctx)
			if err != nil {
				return r.drop(ctx, members[i], err)
			}
			if heads[i] = head; head != nil && (least == nil || head.Key < least.Key) {
				least = head
			}
		}
		if least == nil {
			return nil
		}
		if !agree(heads, *least, &span) {
			if err := r.examine(ctx, least.Key, seen); err != nil {
				return err
			}
		}
		k := least.Key
		for i, reader := range readers {
			if heads[i] != nil && heads[i].Key == k {
				reader.page = reader.page[1:]
			}
		}
	}
}

// agree reports whether all partitions hold the row, or lack it because it is a tombstone that some may have collected.
func agree(heads []*partition.Entry, row partition.Entry, span *partition.DigestSpan) bool {
	missing := false
	for _, head := range heads {
		switch {
		case head == nil || head.Key != row.Key:
			missing = true
		case !head.SameHead(&row):
			return false
		}
	}
	if !missing {
		return true
	}
	for _, b := range span.Bounds {
		if b.Origin == row.Origin {
			return row.Deleted && row.Revision <= b.Collected
		}
	}
	return false
}

// readValues reads every row of the span on all partitions side by side, and examines those that do not match their checksums.
func (r *run) readValues(ctx context.Context, span partition.DigestSpan, seen map[partition.Key]bool) error {
	members := r.compared()
	damaged, errs := make([][]partition.Key, len(members)), make([]error, len(members))
	var group errgroup.Group
	for i, m := range members {
		group.Go(func() error {
			damaged[i], errs[i] = damagedKeys(ctx, newRowReader(m, span))
			return nil
		})
	}
	_ = group.Wait() // see errs
	for i, m := range members {
		if errs[i] != nil {
			if err := r.drop(ctx, m, errs[i]); err != nil {
				return err
			}
		}
	}
	for _, keys := range damaged {
		for _, k := range keys {
			if err := r.examine(ctx, k, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

// damagedKeys returns the keys of the rows that do not match their checksums.
func damagedKeys(ctx context.Context, reader *rowReader) (damaged []partition.Key, err error) {
	for {
		var keys []partition.Key
		for size := int64(0); len(keys) < pageRows; {
			head, err := reader.peek(ctx)
			if err != nil {
				return nil, err
			}
			if head == nil || len(keys) > 0 && size+head.Size > batchBytes {
				break
			}
			keys, size = append(keys, head.Key), size+head.Size
			reader.page = reader.page[1:]
		}
		if len(keys) == 0 {
			return damaged, nil
		}
		rows, err := reader.p.Get(ctx, keys)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			if !rows[i].Intact() {
				damaged = append(damaged, rows[i].Key)
			}
		}
	}
}
