package sqlengine

import (
	"strings"

	"github.com/runnelkv/runnel/store/partition"
)

// The columns of an entry, in the order of reading and writing.
const (
	HeadColumns  = `{key}, origin, revision, deleted, content_type, metadata, modified_at, expires_at, checksum, size`
	EntryColumns = HeadColumns + `, value`
	ColumnCount  = 11
)

// Statements of both dialects.
const (
	InsertEntries   = `INSERT INTO {p}entries (` + EntryColumns + `) VALUES `
	SelectEntriesIn = `SELECT ` + EntryColumns + ` FROM {p}entries {by_key} WHERE {key} IN `
	SelectHeadsIn   = `SELECT ` + HeadColumns + ` FROM {p}entries {by_key} WHERE {key} IN `

	// AddGuards changes the number of guards in the partition's own row.
	AddGuards = `UPDATE {p}positions SET guarded = guarded + ? WHERE origin = ?`

	// The maximum size of a value stands between the two.
	SelectSmall   = `SELECT ` + HeadColumns + `, CASE WHEN size <= `
	SelectSmallIn = ` THEN value END FROM {p}entries {by_key} WHERE {key} IN `
)

// Rows are the rows of a query. Columns are numbered from 0.
type Rows interface {
	Next() bool
	Int(column int) int64    // NULL: 0
	Bytes(column int) []byte // valid until Next; NULL: nil
	// Entry copies a row of EntryColumns or, without values, HeadColumns.
	Entry(s *SharedStrings, values bool) partition.Entry
	// Err is the error that ended the rows.
	Err() error
	// Close may be repeated.
	Close() error
}

// SharedStrings shares the strings that repeat from row to row: origins and content types.
type SharedStrings struct {
	origin      partition.Origin
	contentType string
}

// Origin returns b as a string.
func (s *SharedStrings) Origin(b []byte) partition.Origin {
	if string(b) != string(s.origin) {
		s.origin = partition.Origin(b)
	}
	return s.origin
}

// ContentType returns b as a string.
func (s *SharedStrings) ContentType(b []byte) string {
	if string(b) != s.contentType {
		s.contentType = string(b)
	}
	return s.contentType
}

// MultiRows are the rows of several statements that were sent in a single packet.
type MultiRows interface {
	Rows
	// NextResult skips the remaining rows of this result and goes on to the next result with
	// columns.
	NextResult() error
}

// Placeholders returns "(?,?,…)" with n question marks.
func Placeholders(n int) string {
	return "(" + strings.Repeat("?,", n-1) + "?)"
}
