package store

import "time"

// Consistency is what a read asks of the partition that answers it.
type Consistency string

const (
	// Any partition that is ready for the key's origin may answer.
	Any Consistency = "any"
	// InSession is Any: that an answer is no older than ReadOptions.Session
	// holds for every consistency.
	InSession Consistency = "session"
	// Bounded: whoever answers is not staler than ReadOptions.MaxStaleness.
	Bounded Consistency = "bounded"
	// Quorum: ReadOptions.Copies partitions are asked, and the newest entry wins.
	Quorum Consistency = "quorum"
	// FromMaster asks the key's master and nobody else.
	FromMaster Consistency = "master"
)

// ReadOptions says who may answer a read. The zero value is Any.
type ReadOptions struct {
	Consistency  Consistency
	Session      Vector        // the answer is no older than this
	MaxStaleness time.Duration // for Bounded
	Copies       int           // for Quorum: how many, or one of the constants below
	Partition    string        // only this partition, whatever its state of filling or the session; for verification and operators
}

// What ReadOptions.Copies can be besides a number of partitions.
const (
	MajorityOfCopies = -1 // more than half of the configured partitions
	AllCopies        = -2
)

// Read is the answer of a Get.
type Read struct {
	Entry     Entry         // set unless the error is ErrNotFound
	Partition string        // who answered, also for ErrNotFound
	Staleness time.Duration // upper bound of how old the answer can be; zero from the master, negative while unknown
	Seen      Mark          // of the entry, or of the tombstone or expired entry for ErrNotFound; zero when there was none
}

// ListOptions selects a page of a listing. Quorum is Any for it.
type ListOptions struct {
	ReadOptions
	Space     Space
	Prefix    string // of the name
	Delimiter string // when set, names that go on after Prefix to a delimiter are grouped under that prefix
	After     string // continue after this name or group
	Limit     int    // of entries and groups together, 1..1000, default 100
	Values    bool   // with values (a page then ends early at 8 MiB of them)
}

// Page is one page of a listing, in the order of the names' bytes.
type Page struct {
	Entries   []Entry
	Prefixes  []string // groups, with the prefix and ending in the delimiter
	Next      string   // After of the next page; "" when this is the last
	Partition string   // who answered; "" when several did together
	Staleness time.Duration
	Seen      Vector // of what the page was made from
}
