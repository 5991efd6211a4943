package partition

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
)

// Verifier is the part of a partition that copies of entries are compared and repaired with.
type Verifier interface {
	// Digest digests the rows of a span, as of one moment. Equal rows have equal digests on every kind of
	// partition.
	Digest(ctx context.Context, s DigestSpan) (Digest, error)
	// Rows reads the first Limit rows of a span in the order of their keys, tombstones included, without
	// values. Values and Bytes of the span are ignored.
	Rows(ctx context.Context, s Span) ([]Entry, error)
	// RowCount estimates the number of rows.
	RowCount(ctx context.Context) (int64, error)
	// Repair replaces a damaged row, or adds a missing row, durably.
	//
	// ErrPositionMoved, without effect: the row is not as it was read, or r.Right is beyond the partition's position.
	// ErrDamaged, without effect: r.Right is damaged.
	Repair(ctx context.Context, r Repair) error
	// Verification reads the state of verifications. ErrRefused: see Schema.CheckVerification.
	Verification(ctx context.Context) (Verification, error)
	// NoteVerification stores the state of verifications. ErrRefused: see Schema.CheckVerification.
	NoteVerification(ctx context.Context, v Verification) error
}

// DigestSpan is a range of keys with the rows that count in its digest.
type DigestSpan struct {
	From   Key // first key, inclusive
	To     Key // end, exclusive; "" means no end
	Limit  int // maximum number of rows that are read, at least 1
	Bounds []Bound
}

// Bound says which rows of an origin count: those up to a revision, without the tombstones that some partition may have
// collected.
type Bound struct {
	Origin    Origin
	Revision  Revision // inclusive
	Collected Revision // tombstones up to here do not count
}

// Counts reports whether a row counts in the digest.
func (s *DigestSpan) Counts(e *Entry) bool {
	return slices.ContainsFunc(s.Bounds, func(b Bound) bool {
		return e.Origin == b.Origin && e.Revision <= b.Revision && (!e.Deleted || e.Revision > b.Collected)
	})
}

// Digest is a digest of the heads of rows. A value is represented by its checksum.
type Digest struct {
	Rows    int64  // rows that were read
	Counted int64  // rows that count
	Sum     int64  // sum of the CRC-32 of the rows that count
	Mix     uint64 // exclusive or of the checksums of the rows that count
	Last    Key    // last row that was read; further rows may follow. "": the span has no further rows
}

// Matches reports whether the rows that count are equal, as far as the digests tell. Both spans had the same bounds.
func (d Digest) Matches(o Digest) bool {
	return d.Counted == o.Counted && d.Sum == o.Sum && d.Mix == o.Mix
}

// DigestRows digests the heads of the first rows of a span.
func DigestRows(s DigestSpan, rows []Entry) (d Digest) {
	var line []byte
	for i := range rows {
		e := &rows[i]
		if s.Counts(e) {
			line = e.appendColumns(line[:0])
			d.Counted, d.Sum, d.Mix = d.Counted+1, d.Sum+int64(crc32.ChecksumIEEE(line)), d.Mix^e.Checksum
		}
	}
	if d.Rows = int64(len(rows)); len(rows) == s.Limit {
		d.Last = rows[len(rows)-1].Key
	}
	return d
}

// appendColumns appends the columns of an entry without its value, as a database writes them.
func (e *Entry) appendColumns(b []byte) []byte {
	b = append(append(b, e.Key...), '|')
	b = append(append(b, e.Origin...), '|')
	b = append(strconv.AppendInt(b, int64(e.Revision), 10), '|')
	deleted := byte('0')
	if e.Deleted {
		deleted = '1'
	}
	b = append(b, deleted, '|')
	b = append(append(b, e.ContentType...), '|')
	b = append(append(b, e.Metadata...), '|')
	for _, n := range []int64{int64(e.ModifiedAt), int64(e.ExpiresAt), int64(e.Checksum)} {
		b = append(strconv.AppendInt(b, n, 10), '|')
	}
	return strconv.AppendInt(b, e.Size, 10)
}

// SameHead reports whether two entries are equal apart from their values.
func (e *Entry) SameHead(o *Entry) bool {
	return e.Key == o.Key && e.Origin == o.Origin && e.Revision == o.Revision && e.Deleted == o.Deleted && e.ContentType == o.ContentType &&
		bytes.Equal(e.Metadata, o.Metadata) && e.ModifiedAt == o.ModifiedAt && e.ExpiresAt == o.ExpiresAt && e.Checksum == o.Checksum && e.Size == o.Size
}

// Repair replaces a row by a right copy of another partition.
type Repair struct {
	Damaged *Entry // the row as it was read, with its value; nil: the partition has no row with the key of Right
	Right   Entry
}

// Check fails with ErrDamaged unless the entry to be written is intact.
func (r *Repair) Check() error {
	if !r.Right.Intact() {
		return fmt.Errorf("%w: %q, revision %d", ErrDamaged, r.Right.Key, r.Right.Revision)
	}
	return nil
}

// CheckStored fails with ErrPositionMoved unless the repair fits the stored rows: old has the key of Damaged, and at is the position for the
// origin of Right.
func (r *Repair) CheckStored(old []Entry, at Revision) error {
	switch {
	case r.Right.Revision > at:
		return fmt.Errorf("%w: %q at %d of %s is beyond the position %d", ErrPositionMoved, r.Right.Key, r.Right.Revision, r.Right.Origin, at)
	case r.Damaged == nil:
		return nil
	case len(old) != 1, !old[0].SameHead(r.Damaged), !bytes.Equal(old[0].Value, r.Damaged.Value):
		return fmt.Errorf("%w: the row of %q has changed", ErrPositionMoved, r.Damaged.Key)
	}
	return nil
}

// Adds reports whether the repair writes a key that has no row yet.
func (r *Repair) Adds() bool { return r.Damaged == nil || r.Damaged.Key != r.Right.Key }

// Verification is the state of verifications on a partition.
type Verification struct {
	VerifiedAt  Instant // the partition was last verified in full, by the clock of the process; zero: never
	BeganAt     Instant // of the verification that is under way; zero: none is
	Deep        bool    // it reads the values too
	Next        Key     // first key that it has not compared
	Compared    int64   // rows that it has compared
	Differences int64   // rows that it has listed
}
