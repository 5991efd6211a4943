package backup

import (
	"encoding/binary"
	"errors"

	"github.com/runnelkv/runnel/store/partition"
)

// A block holds at most blockEntries entries, and ends with the entry that brings the values to
// blockBytes.
const (
	blockEntries = 4096
	blockBytes   = 4 << 20
)

// Flags of an entry in a block.
const (
	isDeleted     = 1 << iota
	hasMetadata   // not NULL
	hasExpiry     // not NULL
	sameMediaType // the content type is that of the entry before
)

// block is a part of an origin's entries, in the order of revisions.
type block struct {
	origin  partition.Origin
	entries []partition.Entry
}

// appendBlock appends a block to b. Numbers are varints, and texts follow their length:
//
//	origin, number of entries
//	for each: key, revision − revision before, flags, content type, metadata,
//	          modified_at − modified_at before, expires_at, checksum (8 bytes), value
//
// The content type, the metadata and expires_at are present as the flags say.
func appendBlock(b []byte, k block) []byte {
	b = appendText(b, k.origin)
	b = binary.AppendUvarint(b, uint64(len(k.entries)))
	var before partition.Entry
	for i := range k.entries {
		e := &k.entries[i]
		b = appendText(b, e.Key)
		b = binary.AppendVarint(b, int64(e.Revision-before.Revision))
		flags := flagsOf(e, i > 0 && e.ContentType == before.ContentType)
		b = append(b, flags)
		if flags&sameMediaType == 0 {
			b = appendText(b, e.ContentType)
		}
		if flags&hasMetadata != 0 {
			b = appendText(b, e.Metadata)
		}
		b = binary.AppendVarint(b, int64(e.ModifiedAt-before.ModifiedAt))
		if flags&hasExpiry != 0 {
			b = binary.AppendVarint(b, int64(e.ExpiresAt))
		}
		b = binary.LittleEndian.AppendUint64(b, e.Checksum)
		b = appendText(b, e.Value)
		before = *e
	}
	return b
}

func appendText[T ~string | ~[]byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func flagsOf(e *partition.Entry, sameType bool) (flags byte) {
	if e.Deleted {
		flags |= isDeleted
	}
	if e.Metadata != nil {
		flags |= hasMetadata
	}
	if e.ExpiresAt != 0 {
		flags |= hasExpiry
	}
	if sameType {
		flags |= sameMediaType
	}
	return flags
}

// cursor decodes a block. After a failure all further values are zero.
type cursor struct {
	rest []byte
	bad  bool
}

var errBadBlock = errors.New("its entries cannot be decoded")

// parseBlock decodes a block. The entries do not refer to payload.
func parseBlock(payload []byte) (block, error) {
	c := cursor{rest: payload}
	k := block{origin: partition.Origin(c.text())}
	n := c.uvarint()
	if n > blockEntries {
		return k, errBadBlock
	}
	k.entries = make([]partition.Entry, n)
	var before partition.Entry
	for i := range k.entries {
		k.entries[i] = c.nextEntry(&before)
		before = k.entries[i]
		k.entries[i].Origin = k.origin
	}
	if c.bad || len(c.rest) > 0 || n == 0 {
		return k, errBadBlock
	}
	return k, nil
}

// nextEntry decodes an entry that follows another.
func (c *cursor) nextEntry(before *partition.Entry) (e partition.Entry) {
	e.Key = partition.Key(c.text())
	e.Revision = before.Revision + partition.Revision(c.varint())
	flags := c.bytes(1)[0]
	e.Deleted, e.ContentType = flags&isDeleted != 0, before.ContentType
	if flags&sameMediaType == 0 {
		e.ContentType = string(c.text())
	}
	if flags&hasMetadata != 0 {
		e.Metadata = append([]byte{}, c.text()...)
	}
	e.ModifiedAt = before.ModifiedAt + partition.Instant(c.varint())
	if flags&hasExpiry != 0 {
		e.ExpiresAt = partition.Instant(c.varint())
	}
	e.Checksum = binary.LittleEndian.Uint64(c.bytes(8))
	e.Value = append([]byte{}, c.text()...)
	e.Size = int64(len(e.Value))
	return e
}

var zeros [8]byte

// bytes returns the next n bytes; after a failure, zeros.
func (c *cursor) bytes(n int) []byte {
	if n > len(c.rest) {
		c.rest, c.bad = nil, true
		return zeros[:min(n, len(zeros))]
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

// text returns a text behind its length; after a failure, nothing.
func (c *cursor) text() []byte {
	n := c.uvarint()
	if n > uint64(len(c.rest)) {
		c.rest, c.bad = nil, true
		return nil
	}
	return c.bytes(int(n))
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.rest)
	c.skip(n)
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.rest)
	c.skip(n)
	return v
}

// skip passes a varint of n bytes; n ≤ 0 is a failure.
func (c *cursor) skip(n int) {
	if n <= 0 {
		c.rest, c.bad = nil, true
		return
	}
	c.rest = c.rest[n:]
}
