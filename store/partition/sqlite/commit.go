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

const (
	onConflict = ` ON CONFLICT ({key}) DO UPDATE SET origin = excluded.origin, revision = excluded.revision,
		deleted = excluded.deleted, content_type = excluded.content_type, metadata = excluded.metadata,
		modified_at = excluded.modified_at, expires_at = excluded.expires_at, checksum = excluded.checksum,
		size = excluded.size, value = excluded.value`
	onlyNewer = ` WHERE excluded.revision > {p}entries.revision`
)

// sqliteTexts are the statements of the hot paths, with the names put in.
type texts struct {
	claim         string
	upsert, newer string

	wholes, smalls, heads [maxKeysLog + 1]string // by the binary logarithm of the number of keys
}

func textsOf(names *strings.Replacer) texts {
	insert := sqlengine.InsertEntries + sqlengine.Placeholders(sqlengine.ColumnCount) + onConflict
	t := texts{claim: names.Replace(claimText), upsert: names.Replace(insert), newer: names.Replace(insert + onlyNewer)}
	for i := range t.wholes {
		t.wholes[i] = names.Replace(sqlengine.SelectEntriesIn) + sqlengine.Placeholders(1<<i)
		t.smalls[i] = names.Replace(sqlengine.SelectSmall+"?"+sqlengine.SelectSmallIn) + sqlengine.Placeholders(1<<i)
		t.heads[i] = names.Replace(sqlengine.SelectHeadsIn) + sqlengine.Placeholders(1<<i)
	}
	return t
}

const claimText = `UPDATE {p}positions SET revision = revision + ?1
	WHERE origin = ?2 AND revision >= ?3 AND revision + ?1 < ?4 RETURNING revision - ?1 + 1`

// Commit implements Dialect. It waits for the file with the caller's context; from then on nothing
// waits for anybody, and the context is only looked at before COMMIT.
func (d *database) Commit(ctx context.Context, b partition.Batch) (partition.Claim, error) {
	conn, err := d.Acquire(ctx, sqlengine.Writing)
	if err != nil {
		return partition.Claim{}, err
	}
	defer conn.Release()
	if err := conn.Begin(ctx, fragments.BeginWrite); err != nil {
		return partition.Claim{}, err
	}
	inside, c := context.WithoutCancel(ctx), conn.RawConn.(*rawConn)
	claim, err := d.claim(inside, c, b)
	if err != nil {
		return partition.Claim{}, err
	}
	entries, err := b.Resolve(claim, d.origin)
	if err != nil {
		return partition.Claim{}, err
	}
	if err := c.write(inside, entries, d.texts.upsert); err != nil {
		return partition.Claim{}, err
	}
	return claim, conn.Finish(ctx, d)
}

func (d *database) claim(ctx context.Context, c *rawConn, b partition.Batch) (partition.Claim, error) {
	var claim partition.Claim
	from, below := b.Claimable()
	rows, err := c.Query(ctx, sqlengine.Kept(d.texts.claim), int64(b.Revisions), string(d.origin), int64(from), int64(below))
	if err != nil {
		return partition.Claim{}, err
	}
	claimed := rows.Next()
	if claimed {
		claim.First = partition.Revision(rows.Int(0))
	}
	if err := cmp.Or(rows.Err(), rows.Close()); err != nil {
		return partition.Claim{}, err
	}
	if !claimed {
		return partition.Claim{}, b.ClaimError()
	}
	claim.Now = partition.InstantOf(time.Now())
	if claim.Current, err = d.in(ctx, c, d.wholes(), b.Read, nil); err != nil {
		return partition.Claim{}, err
	}
	claim.Current, err = d.in(ctx, c, d.heads(), b.Heads, claim.Current)
	return claim, err
}

// keyed is a SELECT of keys.
type keyed struct {
	texts  *[maxKeysLog + 1]string
	values bool  // it reads entryColumns, otherwise headColumns
	most   int64 // its first argument; AnySize if it has none
}

func (d *database) wholes() keyed { return keyed{&d.texts.wholes, true, sqlengine.AnySize} }
func (d *database) heads() keyed  { return keyed{&d.texts.heads, false, sqlengine.AnySize} }

func (d *database) smalls(most int64) keyed {
	if most == sqlengine.AnySize {
		return d.wholes()
	}
	return keyed{&d.texts.smalls, true, most}
}

// in appends what stands for keys to entries.
func (d *database) in(ctx context.Context, c *rawConn, what keyed, keys []partition.Key, entries []partition.Entry) ([]partition.Entry, error) {
	entries = slices.Grow(entries, len(keys))
	for len(keys) > 0 {
		chunk := keys[:min(len(keys), maxKeysAtOnce)]
		keys = keys[len(chunk):]
		var err error
		if entries, err = c.entries(ctx, what, chunk, entries); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// UpsertNewer implements Dialect.
func (d *database) UpsertNewer(ctx context.Context, c *sqlengine.Conn, entries []partition.Entry) error {
	return c.RawConn.(*rawConn).write(ctx, entries, d.texts.newer)
}

// write runs an upsert for each of the entries: with 32 rows a statement it was
// no faster.
func (c *rawConn) write(ctx context.Context, entries []partition.Entry, upsert string) error {
	st, err := c.compiled(ctx, sqlengine.Kept(upsert))
	for i := 0; i < len(entries) && err == nil; i++ {
		if err = ctx.Err(); err == nil {
			err = st.upsert(&entries[i])
		}
	}
	return err
}

func (st *stmt) upsert(e *partition.Entry) error {
	err := st.reserve(1 + len(e.Key) + len(e.Origin) + len(e.ContentType) + len(e.Metadata) + len(e.Value))
	if err == nil {
		err = st.bindEntry(e)
	}
	if err != nil {
		return err
	}
	defer st.reset()
	_, err = st.step()
	return err
}

// bindEntry binds the columns of e as the arguments.
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

// maxKeysLog bounds the keys of one SELECT, as a binary logarithm. Few
// statements serve all numbers of keys: the powers of two.
const (
	maxKeysLog    = 8
	maxKeysAtOnce = 1 << maxKeysLog
)

// Get implements Dialect. Point reads wait for nobody, so the context is looked
// at before them only: having somebody watch it costs a tenth of a read.
func (d *database) Get(ctx context.Context, keys []partition.Key, most int64) ([]partition.Entry, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	c, err := d.readers.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer d.readers.Release(c)
	return d.in(ctx, c, d.smalls(most), keys, nil)
}
