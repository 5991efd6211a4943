package partition

import (
	"database/sql"
	"fmt"
	"slices"
)

// The columns of an entry, in the order in which rows are scanned and built.
const (
	headColumns  = `{key}, origin, revision, deleted, content_type, metadata, modified_at, expires_at, checksum, size`
	entryColumns = headColumns + `, value`
	columnCount  = 11
)

// What the columns hold at most; a value has its own bound.
const (
	maxKeyBytes         = 1024
	maxOriginBytes      = 64
	maxContentTypeBytes = 1024
	maxMetadataBytes    = 64 << 10
)

// fit refuses entries that do not fit their columns, before anything is sent.
func fit(entries []Entry, maxValueBytes int64) error {
	for i := range entries {
		e := &entries[i]
		if len(e.Key) > maxKeyBytes || len(e.Origin) > maxOriginBytes ||
			len(e.ContentType) > maxContentTypeBytes || len(e.Metadata) > maxMetadataBytes {
			return fmt.Errorf("%w: key, origin, content type or metadata of %.100q", ErrTooLarge, e.Key)
		}
		if int64(len(e.Value)) > maxValueBytes {
			return fmt.Errorf("%w: value of %d bytes, the limit is %d", ErrTooLarge, len(e.Value), maxValueBytes)
		}
	}
	return nil
}

// row is what an entry's columns are scanned into.
type row struct {
	key, contentType, metadata, value sql.RawBytes
	origin                            string
	revision, deleted, modifiedAt     int64
	expiresAt                         sql.NullInt64
	checksum, size                    int64

	last     Origin // origins repeat: the string is shared
	lastType string // so do content types
}

// rows are the rows of a query: those of database/sql, or SQLite's own.
type rows interface {
	Next() bool
	Scan(into ...any) error
	Err() error
	Close() error
}

// scanEntries appends the entries of rows, and closes rows. Columns are
// entryColumns or, without values, headColumns.
func scanEntries(rows rows, entries []Entry, values bool) ([]Entry, error) {
	defer rows.Close()
	var r row
	for rows.Next() {
		e, err := r.scan(rows, values)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return entries, rows.Close()
}

func (r *row) scan(rows rows, values bool) (Entry, error) {
	if own, ok := rows.(*liteRows); ok {
		return r.lite(own.st, values), nil
	}
	into := []any{&r.key, &r.origin, &r.revision, &r.deleted, &r.contentType, &r.metadata,
		&r.modifiedAt, &r.expiresAt, &r.checksum, &r.size, &r.value}
	if !values {
		into = into[:columnCount-1]
	}
	if err := rows.Scan(into...); err != nil {
		return Entry{}, err
	}
	if string(r.last) != r.origin {
		r.last = Origin(r.origin)
	}
	e := Entry{
		Key:         Key(r.key),
		Origin:      r.last,
		Revision:    Revision(r.revision),
		Deleted:     r.deleted != 0,
		ContentType: string(r.contentType),
		Metadata:    slices.Clone([]byte(r.metadata)),
		ModifiedAt:  Instant(r.modifiedAt),
		ExpiresAt:   Instant(r.expiresAt.Int64),
		Checksum:    uint64(r.checksum),
		Size:        r.size,
	}
	if values {
		e.Value = append(make([]byte, 0, len(r.value)), r.value...) // never nil
	}
	return e, nil
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
