package partition

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"
)

const (
	insertEntries = `INSERT INTO {p}entries (` + entryColumns + `) VALUES `
	onConflict    = ` ON CONFLICT ({key}) DO UPDATE SET origin = excluded.origin, revision = excluded.revision,
		deleted = excluded.deleted, content_type = excluded.content_type, metadata = excluded.metadata,
		modified_at = excluded.modified_at, expires_at = excluded.expires_at, checksum = excluded.checksum,
		size = excluded.size, value = excluded.value`
	onlyNewer = ` WHERE excluded.revision > {p}entries.revision`

	selectEntriesIn = `SELECT ` + entryColumns + ` FROM {p}entries WHERE {key} IN `
	selectHeadsIn   = `SELECT ` + headColumns + ` FROM {p}entries WHERE {key} IN `
)

func (d *sqliteDB) statements() {
	d.claimOf = d.names.Replace(claimSQLite)
	for i, n := range rowsAtOnce {
		insert := insertEntries + strings.Repeat(placeholders(columnCount)+", ", n-1) + placeholders(columnCount) + onConflict
		d.upsert[i], d.newer[i] = d.names.Replace(insert), d.names.Replace(insert+onlyNewer)
	}
	d.headsOf, d.wholesOf = d.names.Replace(selectHeadsIn), d.names.Replace(selectEntriesIn)
}

const claimSQLite = `UPDATE {p}positions SET revision = revision + ?1
	WHERE origin = ?2 AND revision >= ?3 AND revision + ?1 < ?4 RETURNING revision - ?1 + 1`

// commit waits for the file with the caller's context; from then on nothing
// waits for anybody, and the context is only looked at before COMMIT.
func (d *sqliteDB) commit(ctx context.Context, b Batch) (Claim, error) {
	c, err := d.writer(ctx)
	if err != nil {
		return Claim{}, err
	}
	defer c.release()
	if err := c.begin(ctx, d.beginWrite()); err != nil {
		return Claim{}, err
	}
	inside := context.WithoutCancel(ctx)
	claim, err := d.claim(inside, c, b)
	if err != nil {
		return Claim{}, err
	}
	var entries []Entry
	if b.Decide != nil {
		entries, err = b.decided(claim, d.origin, maxSQLiteValue)
	} else {
		entries, err = decide(b, claim)
	}
	if err != nil {
		return Claim{}, err
	}
	if err := writeRows(inside, c, entries, &d.upsert); err != nil {
		return Claim{}, err
	}
	return claim, finish(ctx, c, d)
}

func (d *sqliteDB) claim(ctx context.Context, c *session, b Batch) (Claim, error) {
	var claim Claim
	err := c.queryRow(ctx, d.claimOf, []any{int64(b.Revisions), string(d.origin),
		int64(Floor(b.Epoch)), int64(Floor(b.Epoch + 1))}, &claim.First)
	if errors.Is(err, sql.ErrNoRows) {
		return Claim{}, fmt.Errorf("%w: %d", ErrStaleEpoch, b.Epoch)
	}
	if err != nil {
		return Claim{}, err
	}
	claim.Now = InstantOf(time.Now())
	for _, keys := range inChunks(b.Read) {
		if claim.Current, err = d.in(ctx, c, d.wholesOf, keys, claim.Current); err != nil {
			return Claim{}, err
		}
	}
	for _, keys := range inChunks(b.Heads) {
		if claim.Current, err = d.in(ctx, c, d.headsOf, keys, claim.Current); err != nil {
			return Claim{}, err
		}
	}
	return claim, nil
}

func (d *sqliteDB) in(ctx context.Context, c *session, statement string, keys []Key, entries []Entry) ([]Entry, error) {
	size := ceil2(len(keys))
	rows, err := c.query(ctx, statement+placeholders(size), padded(keys, size)...)
	if err != nil {
		return nil, err
	}
	return scanEntries(rows, entries, statement == d.wholesOf)
}

// upsertNewer implements dialect.
func (d *sqliteDB) upsertNewer(ctx context.Context, c *session, entries []Entry) error {
	return writeRows(ctx, c, entries, &d.newer)
}

// rowsAtOnce are the numbers of rows for which statements are kept.
var rowsAtOnce = [...]int{32, 8, 1}

// rowStatements are one statement in the sizes of rowsAtOnce.
type rowStatements [len(rowsAtOnce)]string

func writeRows(ctx context.Context, c *session, entries []Entry, statements *rowStatements) error {
	args := make([]any, 0, min(len(entries), rowsAtOnce[0])*columnCount)
	for i, n := range rowsAtOnce {
		for ; len(entries) >= n; entries = entries[n:] {
			args = args[:0]
			for i := range entries[:n] {
				args = entries[i].args(args)
			}
			if _, err := c.exec(ctx, statements[i], args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxKeysAtOnce bounds the keys of one SELECT.
const maxKeysAtOnce = 256

// inChunks splits keys into pieces for one SELECT each.
func inChunks(keys []Key) [][]Key {
	var chunks [][]Key
	for len(keys) > maxKeysAtOnce {
		chunks, keys = append(chunks, keys[:maxKeysAtOnce]), keys[maxKeysAtOnce:]
	}
	if len(keys) > 0 {
		chunks = append(chunks, keys)
	}
	return chunks
}

// ceil2 is the next power of two: few statements serve all numbers of keys.
func ceil2(n int) int { return 1 << bits.Len(uint(n-1)) }

// padded repeats the last key up to size: IN does not mind.
func padded(keys []Key, size int) []any {
	args := make([]any, size)
	for i := range args {
		args[i] = []byte(keys[min(i, len(keys)-1)])
	}
	return args
}

// get implements dialect. Point reads wait for nobody, so the context is looked
// at before them only: having the driver watch it costs a tenth of a read.
func (d *sqliteDB) get(ctx context.Context, keys []Key) ([]Entry, error) {
	ctx = context.WithoutCancel(ctx)
	entries := make([]Entry, 0, len(keys))
	for _, chunk := range inChunks(keys) {
		size := ceil2(len(chunk))
		st, err := d.selecting(ctx, size)
		if err != nil {
			return nil, err
		}
		rows, err := st.QueryContext(ctx, padded(chunk, size)...)
		if err != nil {
			return nil, err
		}
		if entries, err = scanEntries(rows, entries, true); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// selecting is the kept statement that selects size keys.
func (d *sqliteDB) selecting(ctx context.Context, size int) (*sql.Stmt, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := bits.TrailingZeros(uint(size))
	for len(d.selects) <= i {
		d.selects = append(d.selects, nil)
	}
	if d.selects[i] == nil {
		st, err := d.read.PrepareContext(ctx, d.wholesOf+placeholders(size))
		if err != nil {
			return nil, err
		}
		d.selects[i] = st
	}
	return d.selects[i], nil
}
