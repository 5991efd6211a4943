package partition

// The columns of an entry, in the order in which rows are scanned and built.
const (
	headColumns  = `{key}, origin, revision, deleted, content_type, metadata, modified_at, expires_at, checksum, size`
	entryColumns = headColumns + `, value`
	columnCount  = 11
)

// row scans entries. Origins and content types repeat: their strings are shared.
type row struct {
	last     Origin
	lastType string
}

// rows are the rows of a query.
type rows interface {
	Next() bool
	Scan(into ...any) error
	Err() error
	Close() error
	// entry copies the row. Its columns are entryColumns or, without values, headColumns.
	entry(r *row, values bool) Entry
}

// scanEntries appends the entries of rows, and closes rows. Columns are
// entryColumns or, without values, headColumns.
func scanEntries(rows rows, entries []Entry, values bool) ([]Entry, error) {
	defer rows.Close()
	var r row
	for rows.Next() {
		entries = append(entries, rows.entry(&r, values))
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return entries, rows.Close()
}

// args appends the entry's columns as statement arguments.
func (e *Entry) args(args []any) []any {
	var metadata, expires any
	if len(e.Metadata) > 0 {
		metadata = e.Metadata
	}
	if e.ExpiresAt != 0 {
		expires = int64(e.ExpiresAt)
	}
	deleted := int64(0)
	if e.Deleted {
		deleted = 1
	}
	value := e.Value
	if value == nil {
		value = []byte{}
	}
	return append(args, []byte(e.Key), string(e.Origin), int64(e.Revision), deleted, []byte(e.ContentType), metadata,
		int64(e.ModifiedAt), expires, int64(e.Checksum), int64(len(e.Value)), value)
}
