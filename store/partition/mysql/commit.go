package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// The session's variables that carry a claim from one statement to the next.
const (
	firstVariable = "@runnel_first"
	nowVariable   = "@runnel_now"
)

// claimMySQL leaves NULL in the first variable when no row was claimed. The
// clock is read after the row lock was granted. All statements after it fail on
// that NULL: the column revision is NOT NULL and the mode is strict. The
// transaction begins by itself, as a writer's link is not in autocommit.
const (
	claimText = `UPDATE {p}positions SET revision = LAST_INSERT_ID(revision + %[1]d)
	WHERE origin = %[2]s AND revision >= %[3]d AND revision + %[1]d < %[4]d;
	SET ` + firstVariable + ` = IF(ROW_COUNT() = 1, LAST_INSERT_ID() - %[1]d + 1, NULL), ` + nowVariable + ` = ` + clock + `;`
	selectClaim = `SELECT CAST(` + firstVariable + ` AS SIGNED), CAST(` + nowVariable + ` AS SIGNED);`
)

func (d *database) appendClaim(text []byte, b *partition.Batch) []byte {
	from, below := b.Claimable()
	return fmt.Appendf(text, d.claim, b.Revisions, d.self, int64(from), int64(below))
}

// turn is one attempt of a commit. Its statements gather in the link's text
// and travel when a decision needs their results, when they grow large, and
// with COMMIT: a small batch without a decision takes one round trip.
type turn struct {
	d       *database
	l       *rawConn
	b       partition.Batch
	claim   partition.Claim
	known   bool     // the server has told the claim
	stale   bool     // … and that there is none
	results []result // of the statements in the text
	shared  sqlengine.SharedStrings
}

// result says what a result of the text holds.
type result int

const (
	claimResult result = iota
	headsResult
	wholesResult
)

// Commit implements Dialect.
func (d *database) Commit(ctx context.Context, b partition.Batch) (partition.Claim, error) {
	l, err := d.committer.Acquire(ctx)
	if err != nil {
		return partition.Claim{}, err
	}
	defer d.committer.release(l)
	if d.brief(&b) {
		claim, err := d.commitBriefly(ctx, l, &b)
		if errorNumber(err) != errNull {
			return claim, err
		}
		if l.rollbackOpen(); l.broken {
			return partition.Claim{}, err
		}
	}
	t := &turn{d: d, l: l, b: b}
	if err := t.read(ctx); err != nil {
		return partition.Claim{}, err
	}
	if err := t.write(ctx); err != nil {
		return partition.Claim{}, err
	}
	l.text = append(l.text, "COMMIT"...)
	if err := t.finish(ctx); err != nil {
		return partition.Claim{}, err
	}
	l.inTx = false
	return t.claim, nil
}

// brief reports whether nothing that a batch does has rows for an answer: they
// would cost a small one a sixth of its time.
func (d *database) brief(b *partition.Batch) bool {
	return b.Decide == nil && len(b.Read) == 0 && len(b.Heads) == 0 && len(b.Write) > 0 && d.chunk(b.Write) == len(b.Write)
}

// commitBriefly learns its claim from what the server says of each statement
// anyhow: of UPDATE the counter and of INSERT the clock, as both set
// LAST_INSERT_ID. It fails with errNull when nothing could be claimed, or a
// revision is another key's: the long way says which.
func (d *database) commitBriefly(ctx context.Context, l *rawConn, b *partition.Batch) (claim partition.Claim, err error) {
	l.text = d.appendClaim(l.text[:0], b)
	l.text = appendUpsert(l.text, b.Write, &d.upsert, told)
	l.text = append(l.text, ";COMMIT"...)
	l.inTx = true
	waited := false
	err = l.within(ctx, func() error {
		done, err := l.send(string(l.text))
		if err != nil {
			waited = cutShort(err) && l.unclaimed()
			return err
		}
		ids := done.AllLastInsertIds() // of UPDATE, SET, INSERT and COMMIT
		if len(ids) != 4 {
			return fmt.Errorf("%d results of 4", len(ids))
		}
		claim = partition.Claim{First: partition.Revision(ids[0]) - partition.Revision(b.Revisions) + 1, Now: partition.Instant(ids[2])}
		return nil
	})
	switch {
	case err == nil:
		l.inTx = false
		l.last = int64(claim.Now)
	case !waited && !d.Answered(err):
		err = fmt.Errorf("%w: %w", partition.ErrOutcomeUnknown, err)
	}
	return claim, err
}

// unclaimed reports whether what was cut short still waited for its claim, by
// the session's LAST_INSERT_ID: any claim sets it. The interruption may go on meanwhile.
func (l *rawConn) unclaimed() bool {
	last, err := int64(-1), error(nil)
	for range 3 {
		err = l.run("SELECT LAST_INSERT_ID()", func(_ int, row []driver.Value) error {
			last = intOf(row[0])
			return nil
		})
		if !cutShort(err) {
			break
		}
	}
	return err == nil && last == l.last
}

// read claims, and reads what the batch asks for.
func (t *turn) read(ctx context.Context) error {
	t.l.text = append(t.d.appendClaim(t.l.text[:0], &t.b), selectClaim...)
	t.results = append(t.results, claimResult)
	if err := t.in(ctx, wholesResult, t.d.wholes, t.b.Read); err != nil {
		return err
	}
	return t.in(ctx, headsResult, t.d.heads, t.b.Heads)
}

func (t *turn) in(ctx context.Context, r result, statement string, keys []partition.Key) error {
	for chunk := range slices.Chunk(keys, maxKeysInText) {
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
	entries, from := t.b.Write, claimed
	if t.b.Decide != nil {
		from = given
		err := t.send(ctx)
		if err != nil {
			return err
		}
		if entries, err = t.b.Resolve(t.claim, t.d.origin); err != nil {
			return err
		}
	}
	return t.d.rows(entries, func(chunk []partition.Entry) error {
		t.l.text = appendUpsert(t.l.text, chunk, &t.d.upsert, from)
		t.l.text = append(t.l.text, ';')
		return t.sendLarge(ctx)
	}, func(e partition.Entry) error {
		if err := t.send(ctx); err != nil {
			return err
		}
		if from == claimed {
			e.Revision, e.ModifiedAt = t.claim.First+e.Revision, t.claim.Now
		}
		return t.l.within(ctx, func() error {
			_, err := t.l.execArgs(t.d.upsert.one, entryArgs(&e))
			return err
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
	err := t.l.within(ctx, func() error {
		return t.l.run(string(t.l.text), t.scan)
	})
	t.l.text, t.results = t.l.text[:0], t.results[:0]
	if t.stale {
		return t.b.ClaimError()
	}
	return err
}

// finish sends the statements that end in COMMIT. Unless the server said that
// one of them failed by itself, or the claim was never reached, their
// outcome is unknown.
func (t *turn) finish(ctx context.Context) error {
	err := t.send(ctx)
	if err == nil || t.stale || t.d.Answered(err) || cutShort(err) && !t.known {
		return err
	}
	return fmt.Errorf("%w: %w", partition.ErrOutcomeUnknown, err)
}

// scan takes a row of the text's results.
func (t *turn) scan(i int, row []driver.Value) error {
	if i >= len(t.results) {
		return errors.New("a result that nothing asked for")
	}
	if t.results[i] == claimResult {
		t.known, t.stale = true, row[0] == nil
		t.claim.First, t.claim.Now = partition.Revision(intOf(row[0])), partition.Instant(intOf(row[1]))
		t.l.last = int64(t.claim.First) + int64(t.b.Revisions) - 1
		return nil
	}
	t.claim.Current = append(t.claim.Current, entryOf(&t.shared, row, t.results[i] == wholesResult))
	return nil
}
