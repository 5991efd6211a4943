package mysql

import (
	"context"
	"database/sql/driver"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// largeValue is from where on a value travels in a statement of its own with
// binary arguments: escaping could double it.
const largeValue = 64 << 10

// largeValue is less where packets are small.
func (d *database) largeValue() int { return min(largeValue, int(d.packet.Load()/16)) }

// maxChunkBytes bounds the text of one packet, roughly; a chunk may exceed it
// by one row. The driver keeps a buffer of up to 256 KiB for the next packet.
const maxChunkBytes = 240 << 10

// chunkBytes is a quarter of a packet at most. Chunks are measured before
// escaping, which may double them, by one row too much, and begin behind
// what has gathered already: in the smallest packet (1 MiB) that is
// 256 KiB + 2·(256 KiB + largeValue + MaxMetadataBytes) and a little.
func (d *database) chunkBytes() int {
	return min(maxChunkBytes, int(d.packet.Load()/4))
}

// rows gives the entries to small in chunks for one statement each, and those
// with large values to large.
func (d *database) rows(entries []partition.Entry, small func([]partition.Entry) error, large func(partition.Entry) error) error {
	for len(entries) > 0 {
		if len(entries[0].Value) > d.largeValue() {
			if err := large(entries[0]); err != nil {
				return err
			}
			entries = entries[1:]
			continue
		}
		n := d.chunk(entries)
		if err := small(entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// chunk counts the entries, from the first, that go into one statement.
func (d *database) chunk(entries []partition.Entry) int {
	n, size, limit, large := 0, 0, d.chunkBytes(), d.largeValue()
	for n < len(entries) && size < limit && len(entries[n].Value) <= large {
		size += rowBytes(&entries[n])
		n++
	}
	return n
}

// rowBytes estimates the text of a row, as if a tenth of its bytes were escaped.
func rowBytes(e *partition.Entry) int {
	n := len(e.Key) + len(e.Origin) + len(e.ContentType) + len(e.Metadata) + len(e.Value)
	return n + n/10 + 150
}

// UpsertNewer implements Dialect.
func (d *database) UpsertNewer(ctx context.Context, c *sqlengine.Conn, entries []partition.Entry) error {
	l := c.RawConn.(*rawConn)
	l.text = l.text[:0]
	t := &transfer{d: d, l: l, sent: true, moved: true}
	if err := t.write(ctx, entries); err != nil {
		return err
	}
	return t.send(ctx)
}

// entryArgs are the columns of an entry as arguments.
func entryArgs(e *partition.Entry) []driver.NamedValue {
	var metadata, expires any
	if len(e.Metadata) > 0 {
		metadata = e.Metadata
	}
	if e.ExpiresAt != 0 {
		expires = int64(e.ExpiresAt)
	}
	return appendArgs(nil, string(e.Key), string(e.Origin), int64(e.Revision), e.Deleted, e.ContentType, metadata,
		int64(e.ModifiedAt), expires, int64(e.Checksum), int64(len(e.Value)), notNil(e.Value))
}

func appendArgs(args []driver.NamedValue, values ...any) []driver.NamedValue {
	for _, v := range values {
		args = append(args, driver.NamedValue{Ordinal: len(args) + 1, Value: v})
	}
	return args
}

// notNil returns an empty value, and not NULL, for nil.
func notNil(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// plain reports whether the columns that plainColumns leaves out are NULL.
func plain(e *partition.Entry) bool { return len(e.Metadata) == 0 && e.ExpiresAt == 0 }
