package mysql

import (
	"context"
	"database/sql/driver"

	"github.com/runnelkv/runnel/store/partition"
)

// largeValue is the size in bytes above which a value is sent in a statement of its own, with
// binary arguments, because escaping could double its size.
const largeValue = 64 << 10

// largeValue is lower if packets are small.
func (d *database) largeValue() int { return min(largeValue, int(d.packet.Load()/16)) }

// maxChunkBytes roughly limits the text of a packet; a chunk may exceed the limit by a row. The
// driver keeps a buffer of up to 256 KiB for the next packet.
const maxChunkBytes = 240 << 10

// chunkBytes is at most a quarter of a packet. Chunks are measured before escaping, which may
// double them, may be too long by a row, and follow text that was gathered before. In the smallest
// packet (1 MiB) the sum is about 256 KiB + 2·(256 KiB + largeValue + MaxMetadataBytes).
func (d *database) chunkBytes() int {
	return min(maxChunkBytes, int(d.packet.Load()/4))
}

// eachChunk calls small with chunks of entries that fit into a statement, and large with each entry
// that has a large value.
func (d *database) eachChunk(entries []partition.Entry, small func([]partition.Entry) error, large func(partition.Entry) error) error {
	for len(entries) > 0 {
		if len(entries[0].Value) > d.largeValue() {
			if err := large(entries[0]); err != nil {
				return err
			}
			entries = entries[1:]
			continue
		}
		n := d.chunkLen(entries)
		if err := small(entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// chunkLen returns how many of the first entries go into a statement.
func (d *database) chunkLen(entries []partition.Entry) int {
	n, size, limit, large := 0, 0, d.chunkBytes(), d.largeValue()
	for n < len(entries) && size < limit && len(entries[n].Value) <= large {
		size += rowBytes(&entries[n])
		n++
	}
	return n
}

// rowBytes estimates the text of a row, with a tenth of the bytes escaped.
func rowBytes(e *partition.Entry) int {
	n := len(e.Key) + len(e.Origin) + len(e.ContentType) + len(e.Metadata) + len(e.Value)
	return n + n/10 + 150
}

// execEntry runs a prepared statement with the columns of an entry.
func (l *rawConn) execEntry(ctx context.Context, statement string, e *partition.Entry) error {
	return l.withKill(ctx, func() error {
		_, err := l.execArgs(statement, entryArgs(e))
		return err
	})
}

// entryArgs returns the columns of an entry as arguments.
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

// notNil turns nil, which would be NULL, into an empty value.
func notNil(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}
