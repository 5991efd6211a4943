package partition

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
)

// The session's variables that carry a claim from one statement to the next.
const (
	firstVariable = "@runnel_first"
	nowVariable   = "@runnel_now"
)

// claimMySQL leaves NULL in the first variable when no row was claimed. The
// clock is read after the row lock was granted. All statements after it fail on
// that NULL: the column revision is NOT NULL and the mode is strict.
const claimMySQL = `BEGIN; UPDATE {p}positions SET revision = LAST_INSERT_ID(revision + %[1]d)
	WHERE origin = %[2]s AND revision >= %[3]d AND revision + %[1]d < %[4]d;
	SET ` + firstVariable + ` = IF(ROW_COUNT() = 1, LAST_INSERT_ID() - %[1]d + 1, NULL), ` + nowVariable + ` = ` + mysqlClock + `;
	SELECT CAST(` + firstVariable + ` AS SIGNED), CAST(` + nowVariable + ` AS SIGNED)`

// The upserts: a row that was found by (origin, revision) and is of another
// key would be overwritten in place of a missing one; NULL makes that an error.
// VALUES() and not an alias, for MariaDB; revision last, as assignments
// run left to right.
const (
	sameKey     = ` ON DUPLICATE KEY UPDATE {key} = IF({key} = VALUES({key}), {key}, NULL), `
	upsertMySQL = sameKey + `origin = VALUES(origin), deleted = VALUES(deleted), content_type = VALUES(content_type),
		metadata = VALUES(metadata), modified_at = VALUES(modified_at), expires_at = VALUES(expires_at),
		checksum = VALUES(checksum), size = VALUES(size), value = VALUES(value), revision = VALUES(revision)`
	newerMySQL = sameKey + `origin = IF(VALUES(revision) > revision, VALUES(origin), origin),
		deleted = IF(VALUES(revision) > revision, VALUES(deleted), deleted),
		content_type = IF(VALUES(revision) > revision, VALUES(content_type), content_type),
		metadata = IF(VALUES(revision) > revision, VALUES(metadata), metadata),
		modified_at = IF(VALUES(revision) > revision, VALUES(modified_at), modified_at),
		expires_at = IF(VALUES(revision) > revision, VALUES(expires_at), expires_at),
		checksum = IF(VALUES(revision) > revision, VALUES(checksum), checksum),
		size = IF(VALUES(revision) > revision, VALUES(size), size),
		value = IF(VALUES(revision) > revision, VALUES(value), value),
		revision = IF(VALUES(revision) > revision, VALUES(revision), revision)`
)

func (d *mysqlDB) statements() {
	d.insert, d.claim = d.names.Replace(insertEntries), d.names.Replace(claimMySQL)
	d.upsert, d.newer = d.names.Replace(upsertMySQL), d.names.Replace(newerMySQL)
	d.heads, d.wholes = d.names.Replace(selectHeadsIn), d.names.Replace(selectEntriesIn)
}

// turn is one attempt of a commit. Its statements gather in the link's text
// and travel when a decision needs their results, when they grow large, and
// with COMMIT: a small batch without a decision takes one round trip.
type turn struct {
	d       *mysqlDB
	l       *link
	b       Batch
	claim   Claim
	claimed bool     // the server has told the claim
	stale   bool     // … and it was of another epoch
	results []result // of the statements in the text
}

// result says what a result of the text holds.
type result int

const (
	claimResult result = iota
	headsResult
	wholesResult
)

// commit implements dialect.
func (d *mysqlDB) commit(ctx context.Context, b Batch) (Claim, error) {
	l, err := d.committer.take(ctx)
	if err != nil {
		return Claim{}, err
	}
	defer d.committer.give(l)
	t := &turn{d: d, l: l, b: b}
	if err := t.read(ctx); err != nil {
		return Claim{}, err
	}
	if err := t.write(ctx); err != nil {
		return Claim{}, err
	}
	l.text = append(l.text, "COMMIT"...)
	if err := t.finish(ctx); err != nil {
		return Claim{}, err
	}
	l.inTx = false
	return t.claim, nil
}

// read begins the transaction, claims, and reads what the batch asks for.
func (t *turn) read(ctx context.Context) error {
	origin := appendBytes(nil, t.d.origin)
	t.l.text = fmt.Appendf(t.l.text[:0], t.d.claim, t.b.Revisions, origin, int64(Floor(t.b.Epoch)), int64(Floor(t.b.Epoch+1)))
	t.l.text = append(t.l.text, ';')
	t.results = append(t.results, claimResult)
	if err := t.in(ctx, wholesResult, t.d.wholes, t.b.Read); err != nil {
		return err
	}
	return t.in(ctx, headsResult, t.d.heads, t.b.Heads)
}

func (t *turn) in(ctx context.Context, r result, statement string, keys []Key) error {
	for chunk := range slices.Chunk(keys, maxKeysAtOnce) {
		t.l.text = append(appendKeys(append(t.l.text, statement...), chunk), ';')
		t.results = append(t.results, r)
		if err := t.sendLarge(ctx); err != nil {
			return err
		}
	}
	return nil
}

// write adds what the batch writes, after a decision if it needs one.
func (t *turn) write(ctx context.Context) error {
	entries, relative := t.b.Write, t.b.Decide == nil
	if !relative {
		err := t.send(ctx)
		if err != nil {
			return err
		}
		if entries, err = t.b.decided(t.claim, t.d.origin, t.d.maxValueBytes()); err != nil {
			return err
		}
	}
	return t.d.rows(entries, func(chunk []Entry) error {
		t.l.text = t.d.appendInsert(t.l.text, chunk, t.d.upsert, relative)
		t.l.text = append(t.l.text, ';')
		return t.sendLarge(ctx)
	}, func(e Entry) error {
		if err := t.send(ctx); err != nil {
			return err
		}
		if relative {
			e.Revision, e.ModifiedAt = t.claim.First+e.Revision, t.claim.Now
		}
		return t.d.killable(ctx, t.l, func(ctx context.Context) error {
			return t.l.exec(ctx, t.d.insert+placeholders(columnCount)+t.d.upsert, e.args(nil))
		})
	})
}

// sendLarge sends what has gathered once it is large.
func (t *turn) sendLarge(ctx context.Context) error {
	if len(t.l.text) < t.d.chunkBytes() {
		return nil
	}
	return t.send(ctx)
}

// send runs what has gathered.
func (t *turn) send(ctx context.Context) error {
	if len(t.l.text) == 0 {
		return nil
	}
	t.l.inTx = true
	err := t.d.killable(ctx, t.l, func(ctx context.Context) error {
		return t.l.run(ctx, string(t.l.text), t.scan)
	})
	t.l.text, t.results = t.l.text[:0], t.results[:0]
	if t.stale {
		return fmt.Errorf("%w: %d", ErrStaleEpoch, t.b.Epoch)
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	return err
}

// finish sends the statements that end in COMMIT. Unless the server said that
// one of them failed by itself, or the claim was never reached, their
// outcome is unknown.
func (t *turn) finish(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := t.send(ctx)
	if err == nil || t.stale || t.d.answered(err) || cutShort(err) && !t.claimed {
		return err
	}
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

// scan takes a row of the text's results.
func (t *turn) scan(i int, row []driver.Value) error {
	if i >= len(t.results) {
		return errors.New("a result that nothing asked for")
	}
	if t.results[i] == claimResult {
		t.claimed, t.stale = true, row[0] == nil
		t.claim.First, t.claim.Now = Revision(intOf(row[0])), Instant(intOf(row[1]))
		return nil
	}
	t.claim.Current = append(t.claim.Current, entryOf(row, t.results[i] == wholesResult))
	return nil
}

// entryOf copies a row of entryColumns or headColumns.
func entryOf(row []driver.Value, values bool) Entry {
	e := Entry{
		Key:         Key(bytesOf(row[0])),
		Origin:      Origin(bytesOf(row[1])),
		Revision:    Revision(intOf(row[2])),
		Deleted:     intOf(row[3]) != 0,
		ContentType: string(bytesOf(row[4])),
		Metadata:    slices.Clone(bytesOf(row[5])),
		ModifiedAt:  Instant(intOf(row[6])),
		ExpiresAt:   Instant(intOf(row[7])),
		Checksum:    uint64(intOf(row[8])),
		Size:        intOf(row[9]),
	}
	if values {
		value := bytesOf(row[10])
		e.Value = append(make([]byte, 0, len(value)), value...) // never nil
	}
	return e
}
