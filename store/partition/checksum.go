package partition

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"
)

// Checksum is the xxh3-64 hash of a value. The hash detects damage, not manipulation.
func Checksum(value []byte) uint64 { return xxh3.Hash(value) }

// A row checksum stands in place of the checksum of the value, and covers all columns: it is a hash of the columns that are
// known before the commit, the checksum of the value among them, minus the two that the database gives, revision and time.
// A difference needs no hash in SQL, and any change of a single column changes it. The bias keeps a 64-bit integer from
// overflowing in SQL.
const (
	RowChecksumBias = 1 << 53   // larger than any time in microseconds up to the year 2255
	columnMask      = 1<<62 - 1 // of the hash
)

// Intact reports whether the value has its size, and the checksum is that of the row or, in rows of binaries from before
// row checksums, that of the value.
func (e *Entry) Intact() bool {
	if int64(len(e.Value)) != e.Size {
		return false
	}
	value := Checksum(e.Value)
	return value == e.Checksum || e.rowChecksum(value) == e.Checksum
}

// HasRowChecksum reports whether an intact entry has a row checksum.
func (e *Entry) HasRowChecksum() bool { return e.Checksum != Checksum(e.Value) }

// rowChecksum returns the row checksum of an entry whose value has a checksum.
func (e *Entry) rowChecksum(value uint64) uint64 {
	return uint64(e.columnChecksum(value) + RowChecksumBias - int64(e.ModifiedAt) - int64(e.Revision))
}

// columnChecksum hashes the columns that are known before the commit.
func (e *Entry) columnChecksum(value uint64) int64 {
	var room [256]byte // most rows need no more
	b := binary.LittleEndian.AppendUint64(room[:0], value)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.ExpiresAt))
	deleted := byte(0)
	if e.Deleted {
		deleted = 1
	}
	b = append(append(append(b, deleted), e.Origin...), 0)
	b = append(append(b, e.ContentType...), 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Key)))
	b = append(append(b, e.Key...), e.Metadata...)
	return int64(xxh3.Hash(b) & columnMask)
}
