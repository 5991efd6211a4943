package store

import "time"

// Consistency is what a read asks of the partition that answers it.
type Consistency string

const (
	// Any partition that is ready for the key's origin may answer.
	Any Consistency = "any"
	// FromMaster asks the key's master and nobody else.
	FromMaster Consistency = "master"
)

// ReadOptions says who may answer a read. The zero value is Any.
type ReadOptions struct {
	Consistency Consistency
	Partition   string // only this partition, whatever its state of filling; for verification and operators
}

// Read is the answer of a Get.
type Read struct {
	Entry     Entry         // set unless the error is ErrNotFound
	Partition string        // who answered, also for ErrNotFound
	Staleness time.Duration // upper bound of how old the answer can be; zero from the master
}

// ListOptions selects a page of a listing.
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
	Partition string   // who answered
	Staleness time.Duration
}
