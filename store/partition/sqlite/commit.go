package sqlite

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// An update that assigns the column deleted also deletes and inserts the row of by_live, which is as dear as
// a third of the rest, even if the value stays. So the column is assigned only where the value changes.
const (
	onConflict = ` ON CONFLICT ({key}) DO UPDATE SET origin = excluded.origin, revision = excluded.revision,
		content_type = excluded.content_type, metadata = excluded.metadata,
		modified_at = excluded.modified_at, expires_at = excluded.expires_at, checksum = excluded.checksum,
		size = excluded.size, value = excluded.value`
	setDeleted  = `, deleted = excluded.deleted WHERE TRUE`
	sameDeleted = ` WHERE {p}entries.deleted = excluded.deleted`
	onlyNewer   = ` AND excluded.revision > {p}entries.revision`
)

// upsertTexts are the two statements of an upsert: the second is for a row that the first leaves alone, as
// its value of deleted changes.
type upsertTexts struct{ same, changed string }

// texts are the statements of the hot paths, with names replaced.
type texts struct {
	claims        [guardRules]string
	addGuards     string
	upsert, newer upsertTexts

	fullRows, smallRows, heads [maxKeysLog + 1]string // indexed by the binary logarithm of the number of keys
}

func textsOf(names *strings.Replacer) texts {
	insert := sqlengine.InsertEntries + sqlengine.Placeholders(sqlengine.ColumnCount) + onConflict
	upsert := func(condition string) upsertTexts {
		return upsertTexts{names.Replace(insert + sameDeleted + condition), names.Replace(insert + setDeleted + condition)}
	}
	t := texts{claims: claimsOf(names), addGuards: names.Replace(sqlengine.AddGuards), upsert: upsert(""), newer: upsert(onlyNewer)}
	for i := range t.fullRows {
		t.fullRows[i] = names.Replace(sqlengine.SelectEntriesIn) + sqlengine.Placeholders(1<<i)
		t.smallRows[i] = names.Replace(sqlengine.SelectSmall+"?"+sqlengine.SelectSmallIn) + sqlengine.Placeholders(1<<i)
		t.heads[i] = names.Replace(sqlengine.SelectHeadsIn) + sqlengine.Placeholders(1<<i)
	}
	return t
}

const claimText = `UPDATE {p}positions SET revision = revision + ?1
	WHERE origin = ?2 AND revision >= ?3 AND revision + ?1 < ?4{unguarded} RETURNING revision - ?1 + 1, {guarded}`

// The rules by which a claim regards the number of guards.
const (
	noGuards   = iota // the tables do not hold the number
	readGuards        // the claim reads the number
	demandNone        // the claim demands 0
	guardRules        // number of rules
)

func claimsOf(names *strings.Replacer) (claims [guardRules]string) {
	text := names.Replace(claimText)
	claims[noGuards] = strings.NewReplacer("{unguarded}", "", "{guarded}", "0").Replace(text)
	claims[readGuards] = strings.NewReplacer("{unguarded}", "", "{guarded}", "guarded").Replace(text)
	claims[demandNone] = strings.NewReplacer("{unguarded}", " AND guarded = 0", "{guarded}", "guarded").Replace(text)
	return claims
}

func guardRuleOf(b *sqlengine.Batch) int {
	switch {
	case !b.HasGuards:
		return noGuards
	case b.Unguarded:
		return demandNone
	}
	return readGuards
}

// Commit implements sqlengine.Dialect. The caller's context limits the wait for the file. After that nothing
// waits, and the context is only checked before COMMIT.
func (d *database) Commit(ctx context.Context, b sqlengine.Batch) (partition.Claim, error) {
	if err := d.disk.checkRoom(); err != nil {
		return partition.Claim{}, err
	}
	conn, err := d.Acquire(ctx, sqlengine.Writing)
	if err != nil {
		return partition.Claim{}, err
	}
	defer conn.Release()
	if err := conn.Begin(ctx, fragments.BeginWrite); err != nil {
		return partition.Claim{}, err
	}
	inside, c := context.WithoutCancel(ctx), conn.RawConn.(*rawConn)
	claim, err := d.claim(inside, c, &b)
	if err != nil {
		return partition.Claim{}, err
	}
	entries, err := b.Resolve(claim, d.origin)
	if err != nil {
		return partition.Claim{}, err
	}
	delta, err := b.CountDelta(claim, entries)
	if err == nil {
		err = c.upsertAll(inside, entries, d.texts.upsert)
	}
	if err == nil && delta != 0 {
		_, err = c.Exec(inside, sqlengine.Kept(d.texts.addGuards), delta, string(d.origin))
	}
	if err != nil {
		return partition.Claim{}, err
	}
	return claim, conn.Finish(ctx, d)
}

func (d *database) claim(ctx context.Context, c *rawConn, b *sqlengine.Batch) (partition.Claim, error) {
	var claim partition.Claim
	from, below := b.Claimable()
	rows, err := c.Query(ctx, sqlengine.Kept(d.texts.claims[guardRuleOf(b)]), int64(b.Revisions), string(d.origin), int64(from), int64(below))
	if err != nil {
		return partition.Claim{}, err
	}
	claimed := rows.Next()
	if claimed {
		claim.First, claim.Guards = partition.Revision(rows.Int(0)), rows.Int(1)
	}
	if err := cmp.Or(rows.Err(), rows.Close()); err != nil {
		return partition.Claim{}, err
	}
	if !claimed {
		return partition.Claim{}, b.ClaimError()
	}
	claim.Now = partition.InstantOf(time.Now())
	if claim.Current, err = d.selectKeys(ctx, c, d.fullRows(), b.Read, nil); err != nil {
		return partition.Claim{}, err
	}
	claim.Current, err = d.selectKeys(ctx, c, d.heads(), b.Heads, claim.Current)
	return claim, err
}

// keySelect is a SELECT by keys.
type keySelect struct {
	texts  *[maxKeysLog + 1]string
	values bool  // the columns are EntryColumns, otherwise HeadColumns
	most   int64 // first argument; AnySize: there is none
}

func (d *database) fullRows() keySelect { return keySelect{&d.texts.fullRows, true, sqlengine.AnySize} }
func (d *database) heads() keySelect    { return keySelect{&d.texts.heads, false, sqlengine.AnySize} }

func (d *database) smallRows(most int64) keySelect {
	if most == sqlengine.AnySize {
		return d.fullRows()
	}
	return keySelect{&d.texts.smallRows, true, most}
}

// selectKeys appends the stored entries of keys to entries.
func (d *database) selectKeys(ctx context.Context, c *rawConn, what keySelect, keys []partition.Key, entries []partition.Entry) ([]partition.Entry, error) {
	entries = slices.Grow(entries, len(keys))
	for len(keys) > 0 {
		chunk := keys[:min(len(keys), maxKeysAtOnce)]
		keys = keys[len(chunk):]
		var err error
		if entries, err = c.selectEntries(ctx, what, chunk, entries); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// UpsertNewer implements sqlengine.Dialect.
func (d *database) UpsertNewer(ctx context.Context, c *sqlengine.Conn, entries []partition.Entry) error {
	return c.RawConn.(*rawConn).upsertAll(ctx, entries, d.texts.newer)
}

// upsertAll upserts each entry. Statements of 32 rows were not faster.
func (c *rawConn) upsertAll(ctx context.Context, entries []partition.Entry, texts upsertTexts) error {
	same, err := c.compiled(ctx, sqlengine.Kept(texts.same))
	if err != nil {
		return err
	}
	for i := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		written, err := same.upsert(&entries[i])
		if err == nil && !written {
			err = c.upsertChanged(ctx, &entries[i], texts.changed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// upsertChanged upserts an entry that the first statement has left alone.
func (c *rawConn) upsertChanged(ctx context.Context, e *partition.Entry, text string) error {
	changed, err := c.compiled(ctx, sqlengine.Kept(text))
	if err == nil {
		_, err = changed.upsert(e)
	}
	return err
}

func (st *stmt) upsert(e *partition.Entry) (written bool, err error) {
	err = st.reserve(1 + len(e.Key) + len(e.Origin) + len(e.ContentType) + len(e.Metadata) + len(e.Value))
	if err == nil {
		err = st.bindEntry(e)
	}
	if err != nil {
		return false, err
	}
	defer st.reset()
	_, err = st.step()
	return err == nil && st.changed() > 0, err
}

// bindEntry binds the columns of e as arguments.
func (st *stmt) bindEntry(e *partition.Entry) error {
	deleted := int64(0)
	if e.Deleted {
		deleted = 1
	}
	metadata, expires := st.bindNull, st.bindNull
	if len(e.Metadata) > 0 {
		metadata = func(i int) error { return bindBlob(st, i, e.Metadata) }
	}
	if e.ExpiresAt != 0 {
		expires = func(i int) error { return st.bindInt(i, int64(e.ExpiresAt)) }
	}
	return cmp.Or(
		bindBlob(st, 1, string(e.Key)),
		st.bindText(2, string(e.Origin)),
		st.bindInt(3, int64(e.Revision)),
		st.bindInt(4, deleted),
		bindBlob(st, 5, e.ContentType),
		metadata(6),
		st.bindInt(7, int64(e.ModifiedAt)),
		expires(8),
		st.bindInt(9, int64(e.Checksum)),
		st.bindInt(10, int64(len(e.Value))),
		bindBlob(st, 11, e.Value))
}

// maxKeysLog limits the keys of a SELECT, as a binary logarithm. Powers of two keep the number of
// statements low.
const (
	maxKeysLog    = 8
	maxKeysAtOnce = 1 << maxKeysLog
)

// Get implements sqlengine.Dialect. Lookups never wait, so the context is checked only before them: a watcher
// of the context would cost a tenth of a read.
func (d *database) Get(ctx context.Context, keys []partition.Key, most int64) ([]partition.Entry, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	c, err := d.readers.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer d.readers.Release(c)
	return d.selectKeys(ctx, c, d.smallRows(most), keys, nil)
}
