package partition

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
)

// This file holds the rules that every implementation of Partition checks.

// DefaultSpanBytes is the meaning of 0 in Span.Bytes.
const DefaultSpanBytes = 8 << 20

// Limits of an entry's columns, in bytes. The limit of a value is MaxValueBytes.
const (
	MaxOriginBytes      = 64
	maxKeyBytes         = 1024
	maxContentTypeBytes = 1024
	MaxMetadataBytes    = 64 << 10
)

// CheckSizes fails with ErrTooLarge if a column of an entry exceeds its limit.
func CheckSizes(entries []Entry, maxValueBytes int64) error {
	for i := range entries {
		e := &entries[i]
		if len(e.Key) > maxKeyBytes || len(e.Origin) > MaxOriginBytes ||
			len(e.ContentType) > maxContentTypeBytes || len(e.Metadata) > MaxMetadataBytes {
			return fmt.Errorf("%w: key, origin, content type or metadata of %.100q", ErrTooLarge, e.Key)
		}
		if int64(len(e.Value)) > maxValueBytes {
			return fmt.Errorf("%w: the value of %.100q has %d bytes and the limit is %d", ErrTooLarge, e.Key, len(e.Value), maxValueBytes)
		}
	}
	return nil
}

// Normalize checks the batch and returns a copy for a commit on origin. The copy's Write is nil if
// the batch has a Decide; keys of both Read and Heads stay in Read only.
func (b Batch) Normalize(origin Origin, s Schema) (Batch, error) {
	if b.Revisions < 1 {
		return b, fmt.Errorf("claim of %d revisions", b.Revisions)
	}
	if b.Decide != nil {
		b.Write = nil
	}
	if err := cmp.Or(checkClaimed(b.Write, 0, b.Revisions), b.checkGuardsRead(b.Write)); err != nil {
		return b, err
	}
	b.Write, b.RowChecksums = withOrigin(origin, b.Write), s.HasRowChecksums()
	if b.RowChecksums {
		for i := range b.Write {
			e := &b.Write[i]
			e.Checksum = uint64(e.columnChecksum(e.Checksum))
		}
	}
	b.Heads = exclude(b.Heads, b.Read)
	return b, nil
}

// Claimable returns the bounds under which a claim succeeds: from ≤ counter and counter + Revisions
// < below.
func (b *Batch) Claimable() (from, below Revision) {
	from, below = max(Floor(b.Epoch), b.AtLeast), Floor(b.Epoch+1)
	if b.After != 0 {
		from, below = max(from, b.After), min(below, b.After+Revision(b.Revisions)+1)
	}
	return from, below
}

// ClaimError is the error of a claim with the counter outside of Claimable, or with guards in spite of
// Unguarded.
func (b *Batch) ClaimError() error {
	switch {
	case b.Unguarded:
		return fmt.Errorf("%w: there are guards, or it is not at %d, or of another epoch than %d", ErrPositionMoved, b.After, b.Epoch)
	case b.After != 0:
		return fmt.Errorf("%w: it is not at %d, or of another epoch than %d", ErrPositionMoved, b.After, b.Epoch)
	}
	return fmt.Errorf("%w: its counter is not of epoch %d, or below %d, which it has reached before", ErrStaleEpoch, b.Epoch, b.AtLeast)
}

// Resolve returns the entries that a normalized batch writes under a claim, with absolute
// revisions: the entries of Write, or those that Decide returns. The latter are checked.
func (b *Batch) Resolve(c Claim, origin Origin) ([]Entry, error) {
	if b.Decide == nil {
		entries := slices.Clone(b.Write)
		for i := range entries {
			b.Stamp(&entries[i], c)
		}
		return entries, nil
	}
	entries, err := b.Decide(c)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(checkClaimed(entries, c.First, b.Revisions), b.checkGuardsRead(entries)); err != nil {
		return nil, err
	}
	entries = withOrigin(origin, entries)
	if b.RowChecksums {
		for i := range entries {
			entries[i].Checksum = entries[i].rowChecksum(entries[i].Checksum)
		}
	}
	return entries, nil
}

// Stamp gives an entry of Write, in a normalized batch, the revision, the time and the checksum that it has under a claim.
func (b *Batch) Stamp(e *Entry, c Claim) {
	e.Revision, e.ModifiedAt = c.First+e.Revision, c.Now
	if b.RowChecksums {
		e.Checksum = uint64(int64(e.Checksum) + RowChecksumBias - int64(e.ModifiedAt) - int64(e.Revision))
	}
}

// withOrigin copies entries as written by origin.
func withOrigin(origin Origin, entries []Entry) []Entry {
	entries = slices.Clone(entries)
	for i := range entries {
		entries[i].Origin = origin
	}
	return entries
}

// checkClaimed refuses entries outside of the claim and repeated keys or revisions.
func checkClaimed(entries []Entry, first Revision, n int) error {
	taken := make([]bool, n)
	keys := make(map[Key]struct{}, len(entries))
	for i := range entries {
		k, offset := entries[i].Key, entries[i].Revision-first
		if offset < 0 || offset >= Revision(n) {
			return fmt.Errorf("revision %d of %q is outside the claim", entries[i].Revision, k)
		}
		if _, twice := keys[k]; twice || taken[offset] {
			return fmt.Errorf("second entry of key %q or revision %d", k, entries[i].Revision)
		}
		keys[k], taken[offset] = struct{}{}, true
	}
	return nil
}

// exclude returns the keys that are not in others.
func exclude(keys, others []Key) []Key {
	if len(keys) == 0 || len(others) == 0 {
		return keys
	}
	excluded := make(map[Key]struct{}, len(others))
	for _, k := range others {
		excluded[k] = struct{}{}
	}
	return slices.DeleteFunc(slices.Clone(keys), func(k Key) bool { _, found := excluded[k]; return found })
}

// Check refuses revisions that are out of order, and entries that do not belong to the copy.
func (c *Copy) Check() error {
	if c.To < c.From || c.Goal < c.To {
		return fmt.Errorf("from %d to %d with goal %d", c.From, c.To, c.Goal)
	}
	for i := range c.Entries {
		if e := &c.Entries[i]; e.Origin != c.Origin || e.Revision <= c.From || e.Revision > c.To {
			return fmt.Errorf("%s %d is not of the copy", e.Origin, e.Revision)
		}
	}
	return nil
}

// CheckMap fails with ErrPositionMoved if a target whose map has an epoch and a ballot takes nothing of the copy.
func (c *Copy) CheckMap(epoch, ballot int64) error {
	switch {
	case c.Epoch > 0 && epoch > c.Epoch:
		return fmt.Errorf("%w: the cluster map here is of epoch %d, and the source's of %d", ErrPositionMoved, epoch, c.Epoch)
	case c.Ballot > 0 && ballot != c.Ballot:
		return fmt.Errorf("%w: the cluster map here is of ballot %d, and the copy was planned by that of %d", ErrPositionMoved, ballot, c.Ballot)
	}
	return nil
}

// NewPartitionID returns 128 random bits in hex.
func NewPartitionID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails: it ends the process instead
	return hex.EncodeToString(id[:])
}
