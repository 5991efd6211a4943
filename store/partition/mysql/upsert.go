package mysql

import (
	"slices"
	"strings"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// upsert is a statement that writes rows, whatever stands in their places.
type upsert struct {
	whole, plain clause
	one          string // whole, of one row of arguments
}

// clause is what stands before and behind the rows. Plain rows, which most
// are, have no metadata and do not expire: reading the text is a third of what
// a row costs the server, so what is NULL in all is left out.
type clause struct{ head, tail string }

const plainColumns = `{key}, origin, revision, deleted, content_type, modified_at, checksum, size, value`

// The upserts: a row that was found by (origin, revision) and is of another
// key would be overwritten in place of a missing one; NULL makes that an error.
// VALUES() and not an alias, for MariaDB; revision last, as assignments
// run left to right.
const (
	overwrite      = ` ON DUPLICATE KEY UPDATE {columns}, revision = IF({key} = VALUES({key}), VALUES(revision), NULL)`
	overwriteOlder = ` ON DUPLICATE KEY UPDATE {columns}, revision = IF({key} = VALUES({key}), GREATEST(VALUES(revision), revision), NULL)`
)

// newUpsert makes the statements of an upsert, which sets each column but the revision to set, where x
// stands for the column.
func newUpsert(names *strings.Replacer, conflict, set string) upsert {
	var columns []string
	for _, x := range strings.Fields("origin deleted content_type metadata modified_at expires_at checksum size value") {
		columns = append(columns, x+" = "+strings.ReplaceAll(set, "x", x))
	}
	insert, conflict := names.Replace(sqlengine.InsertEntries), names.Replace(strings.Replace(conflict, "{columns}", strings.Join(columns, ", "), 1))
	plain := strings.NewReplacer("VALUES(metadata)", "NULL", "VALUES(expires_at)", "NULL").Replace(conflict)
	return upsert{
		whole: clause{insert, conflict},
		plain: clause{names.Replace(`INSERT INTO {p}entries (` + plainColumns + `) VALUES `), plain},
		one:   insert + sqlengine.Placeholders(sqlengine.ColumnCount) + conflict,
	}
}

// origination says where the rows of a statement have revision and time from.
type origination int

const (
	given   origination = iota // from the entries
	claimed                    // from the session's variables
	told                       // as claimed, and the server tells the time
	guarded                    // as given, and only if the statement before changed one row
)

// then is the origination of the rows after the first.
func (o origination) then() origination {
	switch o {
	case told:
		return claimed
	case guarded:
		return given
	}
	return o
}

// appendUpsert appends the statement that writes a chunk.
func appendUpsert(text []byte, entries []partition.Entry, u *upsert, from origination) []byte {
	c := u.plain
	whole := slices.ContainsFunc(entries, func(e partition.Entry) bool { return !plain(&e) })
	if whole {
		c = u.whole
	}
	text = append(text, c.head...)
	for i := range entries {
		if i > 0 {
			text = append(text, ',')
		}
		text = appendRow(text, &entries[i], from, whole)
		from = from.then()
	}
	return append(text, c.tail...)
}

// appendRow appends "(column,…)" of e.
func appendRow(text []byte, e *partition.Entry, from origination, whole bool) []byte {
	text = append(text, '(')
	text = appendBytes(text, e.Key)
	text = append(text, ',')
	text = appendBytes(text, e.Origin)
	text = append(text, ',')
	text = appendRevision(text, e.Revision, from)
	if e.Deleted {
		text = append(text, ",1,"...)
	} else {
		text = append(text, ",0,"...)
	}
	text = appendBytes(text, e.ContentType)
	if whole {
		text = appendMetadata(append(text, ','), e.Metadata)
	}
	text = appendTime(append(text, ','), e.ModifiedAt, from)
	if whole {
		text = appendExpiry(append(text, ','), e.ExpiresAt)
	}
	text = append(text, ',')
	text = appendInt(text, int64(e.Checksum))
	text = append(text, ',')
	text = appendInt(text, len(e.Value))
	text = append(text, ',')
	text = appendBytes(text, e.Value)
	return append(text, ')')
}

func appendRevision(text []byte, r partition.Revision, from origination) []byte {
	switch from {
	case claimed, told:
		text = append(text, firstVariable+"+"...)
	case guarded:
		text = append(text, "IF(ROW_COUNT()=1,"...)
		text = appendInt(text, r)
		return append(text, ",NULL)"...)
	}
	return appendInt(text, r)
}

func appendTime(text []byte, t partition.Instant, from origination) []byte {
	switch from {
	case claimed:
		return append(text, nowVariable...)
	case told:
		return append(text, "LAST_INSERT_ID("+nowVariable+")"...)
	}
	return appendInt(text, t)
}

func appendMetadata(text, metadata []byte) []byte {
	if len(metadata) == 0 {
		return append(text, "NULL"...)
	}
	return appendBytes(text, metadata)
}

func appendExpiry(text []byte, t partition.Instant) []byte {
	if t == 0 {
		return append(text, "NULL"...)
	}
	return appendInt(text, t)
}
