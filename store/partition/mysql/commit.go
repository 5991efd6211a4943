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

// The session variables that carry a claim from a statement to the next.
const (
	firstVariable = "@runnel_first"
	nowVariable   = "@runnel_now"
	sumVariable   = "@runnel_sum"
)

// claimText leaves NULL in the first variable if no row was claimed. Then all following statements
// fail, because the column revision is NOT NULL and the SQL mode is strict. The clock is read after
// the row lock was granted. No statement begins the transaction, because writing connections do not
// use autocommit.
const (
	claimText = `UPDATE {p}positions SET revision = LAST_INSERT_ID(revision + %[1]d)
	WHERE origin = %[2]s AND revision >= %[3]d AND revision + %[1]d < %[4]d%[5]s;
	SET ` + firstVariable + ` = IF(ROW_COUNT() = 1, LAST_INSERT_ID() - %[1]d + 1, NULL), ` + nowVariable + ` = ` + clock + `%[6]s;`
	// setSum adds the part of the row checksum of the last revision that is known after the claim. The clock stands still
	// within a statement.
	setSum      = `, ` + sumVariable + ` = 9007199254740992 - ` + clock + ` - CAST(LAST_INSERT_ID() AS SIGNED)`
	unguarded   = ` AND guarded = 0`
	selectClaim = `SELECT CAST(` + firstVariable + ` AS SIGNED), CAST(` + nowVariable + ` AS SIGNED), `
	readGuards  = `(SELECT guarded FROM {p}positions WHERE origin = %s);`
	addGuards   = `UPDATE {p}positions SET guarded = guarded + %d WHERE origin = %s;`
)

func (d *database) appendClaim(text []byte, b *sqlengine.Batch) []byte {
	from, below := b.Claimable()
	demand, sum := "", ""
	if b.Unguarded && b.HasGuards {
		demand = unguarded
	}
	if b.RowChecksums {
		sum = setSum
	}
	return fmt.Appendf(text, d.claim, b.Revisions, d.self, int64(from), int64(below), demand, sum)
}

// appendSelectClaim adds the statement that returns the claim.
func (d *database) appendSelectClaim(text []byte, b *sqlengine.Batch) []byte {
	text = append(text, selectClaim...)
	if b.HasGuards {
		return fmt.Appendf(text, d.readGuards, d.self)
	}
	return append(text, "0;"...)
}

// commitAttempt is an attempt of a commit. Its statements gather in the connection's text. They are
// sent when a decision needs their results, when the text grows large, and together with COMMIT: a
// small batch without a decision takes a single round trip.
type commitAttempt struct {
	d           *database
	l           *rawConn
	b           sqlengine.Batch
	claim       partition.Claim
	claimKnown  bool     // the server has sent the claim
	claimFailed bool     // the claim failed
	results     []result // contents of the results of the text
	shared      sqlengine.SharedStrings
}

// result is the content of a result.
type result int

const (
	claimResult result = iota
	headsResult
	fullRowsResult
)

// Commit implements sqlengine.Dialect.
func (d *database) Commit(ctx context.Context, b sqlengine.Batch) (partition.Claim, error) {
	l, err := d.committer.Acquire(ctx)
	if err != nil {
		return partition.Claim{}, err
	}
	defer d.committer.release(l)
	if d.isFastPath(&b) {
		claim, err := d.commitFast(ctx, l, &b)
		if errorNumber(err) != errNull {
			return claim, err
		}
		if l.rollbackOpen(); l.broken {
			return partition.Claim{}, err
		}
	}
	t := &commitAttempt{d: d, l: l, b: b}
	if err := t.addReads(ctx); err != nil {
		return partition.Claim{}, err
	}
	if err := t.addWrites(ctx); err != nil {
		return partition.Claim{}, err
	}
	l.text = append(l.text, "COMMIT"...)
	if err := t.flushCommit(ctx); err != nil {
		return partition.Claim{}, err
	}
	l.inTx = false
	return t.claim, nil
}

// isFastPath reports whether no statement of the batch returns rows. Rows would cost a small batch
// a sixth of its time.
func (d *database) isFastPath(b *sqlengine.Batch) bool {
	return b.Decide == nil && len(b.Read) == 0 && len(b.Heads) == 0 && len(b.Write) > 0 && d.chunkLen(b.Write) == len(b.Write)
}

// commitFast takes the claim from the LAST_INSERT_ID that the server returns for each statement:
// UPDATE sets it to the counter, INSERT to the clock. commitFast fails with errNull if the claim
// fails or a revision belongs to another key; the ordinary commit finds out which.
func (d *database) commitFast(ctx context.Context, l *rawConn, b *sqlengine.Batch) (claim partition.Claim, err error) {
	l.text = d.appendClaim(l.text[:0], b)
	l.text = appendUpsert(l.text, b.Write, &d.upsert, claimSource(b, fromServer))
	l.text = append(l.text, ";COMMIT"...)
	l.inTx = true
	waited := false
	err = l.withKill(ctx, func() error {
		done, err := l.execText(string(l.text))
		if err != nil {
			waited = isInterrupted(err) && l.waitedForClaim()
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
		l.lastInsertID = int64(claim.Now)
	case !waited && !d.Answered(err):
		err = fmt.Errorf("%w: %w", partition.ErrOutcomeUnknown, err)
	}
	return claim, err
}

// waitedForClaim reports whether the interrupted statement still waited for its claim. Any claim
// changes the session's LAST_INSERT_ID. The interruption may still be running, and may stop the
// question too.
func (l *rawConn) waitedForClaim() bool {
	last, err := int64(-1), error(nil)
	for range 3 {
		err = l.runText("SELECT LAST_INSERT_ID()", func(_ int, row []driver.Value) error {
			last = intOf(row[0])
			return nil
		})
		if !isInterrupted(err) {
			break
		}
	}
	return err == nil && last == l.lastInsertID
}

// addReads adds the claim and the SELECTs of the batch.
func (t *commitAttempt) addReads(ctx context.Context) error {
	t.l.text = t.d.appendSelectClaim(t.d.appendClaim(t.l.text[:0], &t.b), &t.b)
	t.results = append(t.results, claimResult)
	if err := t.addSelect(ctx, fullRowsResult, t.d.fullRows, t.b.Read); err != nil {
		return err
	}
	return t.addSelect(ctx, headsResult, t.d.heads, t.b.Heads)
}

func (t *commitAttempt) addSelect(ctx context.Context, r result, statement string, keys []partition.Key) error {
	for chunk := range slices.Chunk(keys, maxKeysInText) {
		t.l.text = append(appendKeys(append(t.l.text, statement...), chunk), ';')
		t.results = append(t.results, r)
		if err := t.flushIfLarge(ctx); err != nil {
			return err
		}
	}
	return nil
}

// addWrites adds the entries of the batch, after the decision if there is one.
func (t *commitAttempt) addWrites(ctx context.Context) error {
	entries, from := t.b.Write, claimSource(&t.b, fromClaim)
	if t.b.Decide != nil {
		from = valueSource{}
		err := t.flush(ctx)
		if err != nil {
			return err
		}
		if entries, err = t.b.Resolve(t.claim, t.d.origin); err != nil {
			return err
		}
	}
	if err := t.addGuards(ctx, entries); err != nil {
		return err
	}
	return t.d.eachChunk(entries, func(chunk []partition.Entry) error {
		t.l.text = appendUpsert(t.l.text, chunk, &t.d.upsert, from)
		t.l.text = append(t.l.text, ';')
		return t.flushIfLarge(ctx)
	}, func(e partition.Entry) error {
		if err := t.flush(ctx); err != nil {
			return err
		}
		if from.from == fromClaim {
			t.b.Stamp(&e, t.claim)
		}
		return t.l.execEntry(ctx, t.d.upsert.one, &e)
	})
}

// addGuards changes the number of guards by the entries of the batch.
func (t *commitAttempt) addGuards(ctx context.Context, entries []partition.Entry) error {
	if !t.claimKnown && slices.ContainsFunc(entries, func(e partition.Entry) bool { return partition.CanGuard(e.Key) }) {
		if err := t.flush(ctx); err != nil { // to learn what the entries replace
			return err
		}
	}
	delta, err := t.b.CountDelta(t.claim, entries)
	if err == nil && delta != 0 {
		t.l.text = fmt.Appendf(t.l.text, t.d.addGuards, delta, t.d.self)
	}
	return err
}

// flushIfLarge sends the gathered statements if their text is large.
func (t *commitAttempt) flushIfLarge(ctx context.Context) error {
	if len(t.l.text) < t.d.chunkBytes() {
		return nil
	}
	return t.flush(ctx)
}

// flush sends the gathered statements and reads their results.
func (t *commitAttempt) flush(ctx context.Context) error {
	if len(t.l.text) == 0 {
		return nil
	}
	t.l.inTx = true
	err := t.l.withKill(ctx, func() error {
		return t.l.runText(string(t.l.text), t.scanRow)
	})
	t.l.text, t.results = t.l.text[:0], t.results[:0]
	if t.claimFailed {
		return t.b.ClaimError()
	}
	return err
}

// flushCommit sends statements that end with COMMIT. Their outcome is known if the server reported
// the error of a statement, or if the claim was not reached; otherwise the outcome is unknown.
func (t *commitAttempt) flushCommit(ctx context.Context) error {
	err := t.flush(ctx)
	if err == nil || t.claimFailed || t.d.Answered(err) || isInterrupted(err) && !t.claimKnown {
		return err
	}
	return fmt.Errorf("%w: %w", partition.ErrOutcomeUnknown, err)
}

// scanRow takes a row of result i of the text.
func (t *commitAttempt) scanRow(i int, row []driver.Value) error {
	if i >= len(t.results) {
		return errors.New("a result that nothing asked for")
	}
	if t.results[i] == claimResult {
		t.claimKnown, t.claimFailed = true, row[0] == nil
		t.claim.First, t.claim.Now = partition.Revision(intOf(row[0])), partition.Instant(intOf(row[1]))
		t.claim.Guards = intOf(row[2])
		t.l.lastInsertID = int64(t.claim.First) + int64(t.b.Revisions) - 1
		return nil
	}
	t.claim.Current = append(t.claim.Current, entryOf(&t.shared, row, t.results[i] == fullRowsResult))
	return nil
}
