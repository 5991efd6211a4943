package partition

import "time"

// Key is a stored key: its space, a slash, and the name its users know,
// for example "k/users/7". Package store builds and validates them.
type Key string

// PrefixEnd is the first key after all keys that begin with prefix, "" if there is none.
func PrefixEnd(prefix Key) Key {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			return prefix[:i] + Key([]byte{prefix[i] + 1})
		}
	}
	return ""
}

// Origin is the name of the master that wrote an entry, which is the name of a partition.
type Origin string

// Revision is the place of a write in the total order of its origin: epoch·2^40 + n. The revisions
// of a key only grow, also when its master changes.
type Revision int64

const epochBits = 40

// Floor is the revision below all revisions of an epoch: the counter of a master before its first
// write of the epoch.
func Floor(epoch int64) Revision { return Revision(epoch << epochBits) }

// Epoch is the epoch of the revision.
func (r Revision) Epoch() int64 { return int64(r) >> epochBits }

// Instant is a time in microseconds since the Unix epoch, by the clock of
// the database that gave it. Zero means "none".
type Instant int64

// InstantOf converts t, truncated to microseconds.
func InstantOf(t time.Time) Instant { return Instant(t.UnixMicro()) }

// Time converts the instant to UTC.
func (i Instant) Time() time.Time { return time.UnixMicro(int64(i)).UTC() }

// Add moves the instant by d, truncated to microseconds.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d.Microseconds()) }

// Sub is the duration since earlier.
func (i Instant) Sub(earlier Instant) time.Duration {
	return time.Duration(i-earlier) * time.Microsecond
}

// Entry is the stored row of a key. A tombstone has Deleted set, an empty
// value, no content type and no metadata.
type Entry struct {
	Key         Key
	Origin      Origin
	Revision    Revision
	Deleted     bool
	ContentType string
	Metadata    []byte  // JSON, nil when there is none
	ModifiedAt  Instant // the master's clock at commit
	ExpiresAt   Instant // zero: never
	Size        int64   // bytes of the value, also when the value was not read
	Checksum    uint64  // Checksum(Value), or a row checksum, see Schema.HasRowChecksums
	Value       []byte  // nil when only the head was read
}

// Live reports whether a reader at now may see the entry.
func (e *Entry) Live(now Instant) bool {
	return !e.Deleted && (e.ExpiresAt == 0 || now < e.ExpiresAt)
}
