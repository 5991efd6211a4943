package mysql

import (
	"slices"
	"strings"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// upsert is a statement that inserts or overwrites rows.
type upsert struct {
	whole, plain clause
	one          string // a whole row as arguments
}

// clause is the text before and after the rows. Most rows are plain: they have no metadata and no
// expiry. Parsing is a third of a row's cost to the server, so a clause for plain rows leaves these
// columns out.
type clause struct{ head, tail string }

const plainColumns = `{key}, origin, revision, deleted, content_type, modified_at, checksum, size, value`

// plain reports whether the columns missing from plainColumns are NULL.
func plain(e *partition.Entry) bool { return len(e.Metadata) == 0 && e.ExpiresAt == 0 }

// If a row with the same origin and revision belongs to another key, the upsert would overwrite
// that row; setting NULL makes this an error. MariaDB supports VALUES() but no alias. The revision
// is last because assignments run from left to right.
const (
	overwrite      = ` ON DUPLICATE KEY UPDATE {columns}, revision = IF({key} = VALUES({key}), VALUES(revision), NULL)`
	overwriteOlder = ` ON DUPLICATE KEY UPDATE {columns}, revision = IF({key} = VALUES({key}), GREATEST(VALUES(revision), revision), NULL)`
)

// newUpsert builds an upsert. It sets each column, except for the revision, to the expression set,
// in which x stands for the column.
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

// origin of the revision and the time of rows.
const (
	fromEntry         = iota // from the entries
	fromClaim                // from the session variables of the claim
	fromServer               // as fromClaim, and LAST_INSERT_ID returns the time
	ifPreviousApplied        // as fromEntry, if the previous statement changed a row
)

// valueSource is the source of the revision, the time and the checksum of rows.
type valueSource struct {
	from int
	last int  // with a claim, the offset of its last revision
	sums bool // the rows have row checksums, whose second part is in the session variable of the claim
}

// claimSource returns the source of the rows of a batch without a decision.
func claimSource(b *sqlengine.Batch, from int) valueSource {
	return valueSource{from, b.Revisions - 1, b.RowChecksums}
}

// afterFirst is the source for the rows after the first.
func (o valueSource) afterFirst() valueSource {
	switch o.from {
	case fromServer:
		o.from = fromClaim
	case ifPreviousApplied:
		o.from = fromEntry
	}
	return o
}

// appendUpsert appends the statement that writes a chunk.
func appendUpsert(text []byte, entries []partition.Entry, u *upsert, from valueSource) []byte {
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
		from = from.afterFirst()
	}
	return append(text, c.tail...)
}

// appendRow appends "(column,…)" of e.
func appendRow(text []byte, e *partition.Entry, from valueSource, whole bool) []byte {
	text = append(text, '(')
	text = appendBytes(text, e.Key)
	text = append(text, ',')
	text = appendBytes(text, e.Origin)
	text = append(text, ',')
	text = appendRevision(text, e.Revision, from.from)
	if e.Deleted {
		text = append(text, ",1,"...)
	} else {
		text = append(text, ",0,"...)
	}
	text = appendBytes(text, e.ContentType)
	if whole {
		if text = append(text, ','); len(e.Metadata) == 0 {
			text = append(text, "NULL"...)
		} else {
			text = appendBytes(text, e.Metadata)
		}
	}
	text = appendTime(append(text, ','), e.ModifiedAt, from.from)
	if whole {
		if text = append(text, ','); e.ExpiresAt == 0 {
			text = append(text, "NULL"...)
		} else {
			text = appendInt(text, e.ExpiresAt)
		}
	}
	text = appendChecksum(append(text, ','), e, from)
	text = append(text, ',')
	text = appendInt(text, len(e.Value))
	text = append(text, ',')
	text = appendBytes(text, e.Value)
	return append(text, ')')
}

// appendChecksum appends the checksum, or the sum of its parts that are known before and after the claim.
func appendChecksum(text []byte, e *partition.Entry, from valueSource) []byte {
	if !from.sums {
		return appendInt(text, int64(e.Checksum))
	}
	return appendInt(append(text, sumVariable+"+"...), int64(e.Checksum)+int64(from.last)-int64(e.Revision))
}

func appendRevision(text []byte, r partition.Revision, from int) []byte {
	switch from {
	case fromClaim, fromServer:
		text = append(text, firstVariable+"+"...)
	case ifPreviousApplied:
		text = append(text, "IF(ROW_COUNT()=1,"...)
		text = appendInt(text, r)
		return append(text, ",NULL)"...)
	}
	return appendInt(text, r)
}

func appendTime(text []byte, t partition.Instant, from int) []byte {
	switch from {
	case fromClaim:
		return append(text, nowVariable...)
	case fromServer:
		return append(text, "LAST_INSERT_ID("+nowVariable+")"...)
	}
	return appendInt(text, t)
}
