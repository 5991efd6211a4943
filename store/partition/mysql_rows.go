package partition

import "context"

// largeValue is from where on a value travels in a statement of its own with
// binary arguments: escaping could double it.
const largeValue = 64 << 10

// largeValue is less where packets are small.
func (d *mysqlDB) largeValue() int { return min(largeValue, int(d.packet.Load()/16)) }

// maxChunkBytes bounds the text of one packet, roughly; a chunk may exceed it
// by one row. The driver keeps a buffer of up to 256 KiB for the next packet.
const maxChunkBytes = 240 << 10

// chunkBytes is a quarter of a packet at most. Chunks are measured before
// escaping, which may double them, by one row too much, and begin behind
// what has gathered already: in the smallest packet (1 MiB) that is
// 256 KiB + 2·(256 KiB + largeValue + MaxMetadataBytes) and a little.
func (d *mysqlDB) chunkBytes() int {
	return min(maxChunkBytes, int(d.packet.Load()/4))
}

// rows gives the entries to small in chunks for one statement each, and those
// with large values to large.
func (d *mysqlDB) rows(entries []Entry, small func([]Entry) error, large func(Entry) error) error {
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
func (d *mysqlDB) chunk(entries []Entry) int {
	n, size, limit, large := 0, 0, d.chunkBytes(), d.largeValue()
	for n < len(entries) && size < limit && len(entries[n].Value) <= large {
		size += rowBytes(&entries[n])
		n++
	}
	return n
}

// rowBytes estimates the text of a row, as if a tenth of its bytes were escaped.
func rowBytes(e *Entry) int {
	n := len(e.Key) + len(e.Origin) + len(e.ContentType) + len(e.Metadata) + len(e.Value)
	return n + n/10 + 150
}

// upsertNewer implements dialect.
func (d *mysqlDB) upsertNewer(ctx context.Context, c *session, entries []Entry) error {
	l := c.connection.(*link)
	return d.rows(entries, func(chunk []Entry) error {
		l.text = appendUpsert(l.text[:0], chunk, &d.newer, given)
		_, err := l.exec(ctx, string(l.text), nil)
		return err
	}, func(e Entry) error {
		return l.within(ctx, func() error {
			_, err := l.execArgs(d.newer.one, namedValues(e.args(nil)))
			return err
		})
	})
}
