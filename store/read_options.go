package store

import (
	"time"

	"github.com/runnelkv/runnel/store/internal/routing"
)

// Consistency is the demand of a read on the partition that answers.
type Consistency string

const (
	// Any partition that is complete for the key's origin may answer.
	Any Consistency = "any"
	// InSession is Any. With every consistency an answer is no older than
	// ReadOptions.Session.
	InSession Consistency = "session"
	// Bounded: the partition that answers is at most ReadOptions.MaxStaleness behind.
	Bounded Consistency = "bounded"
	// Quorum: ReadOptions.Copies partitions are asked, and the newest entry wins.
	Quorum Consistency = "quorum"
	// FromMaster: only the key's master answers.
	FromMaster Consistency = "master"
)

// ReadOptions says which partitions may answer a read. The zero value is Any.
type ReadOptions struct {
	Consistency  Consistency
	Session      Vector        // the answer is no older than this
	MaxStaleness time.Duration // for Bounded
	Copies       int           // for Quorum: a number, or one of the constants below
	Partition    string        // only this partition, regardless of its state and the session; for verification and operators
}

// demand is o without the number of copies.
func (o *ReadOptions) demand() routing.Demand {
	return routing.Demand{
		Session: o.Session, Bounded: o.Consistency == Bounded, MaxStaleness: o.MaxStaleness,
		FromMaster: o.Consistency == FromMaster, Partition: o.Partition,
	}
}

// Values of ReadOptions.Copies besides a number of partitions.
const (
	MajorityOfCopies = -1 // more than half of the configured partitions
	AllCopies        = -2
)

// Read is the answer of a Get.
type Read struct {
	Entry     Entry         // set unless the error is ErrNotFound
	Partition string        // that answered, also for ErrNotFound
	Staleness time.Duration // upper bound of the answer's age; zero from the master, negative while unknown
	Seen      Mark          // of the entry; for ErrNotFound, of the tombstone or expired entry; zero without a row
}

// ListOptions selects a page of a listing. Quorum counts as Any.
type ListOptions struct {
	ReadOptions
	Space     Space
	Prefix    string // of the name
	Delimiter string // when set, names that contain the delimiter after Prefix are grouped by the part up to there
	After     string // continue after this name or group
	Limit     int    // of entries and groups together, 1..1000, default 100
	Values    bool   // with values; a page then ends early at 8 MiB of values
}

// Page is a page of a listing, in the byte order of the names.
type Page struct {
	Entries   []Entry
	Prefixes  []string      // groups, from Prefix to the delimiter, both included
	Next      string        // After of the next page; "" on the last page
	Partition string        // that answered; "" if several did
	Staleness time.Duration // as in Read, of the stalest origin
	Seen      Vector        // everything that the page reflects
}
