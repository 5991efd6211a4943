package sqlengine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
)

// Apply implements partition.Target.
func (s *Engine) Apply(ctx context.Context, c partition.Copy) error {
	err := s.checkUsable(ctx)
	if err == nil {
		err = cmp.Or(s.checkWritable(), c.Check())
	}
	if err == nil {
		err = s.checkSizes(c.Entries)
	}
	if err != nil {
		return s.wrap("apply", err)
	}
	c.Entries = sortByKey(c.Entries)
	if done, err := s.applyFast(ctx, c); done {
		return s.wrap("apply", err)
	}
	err = s.transact(ctx, "apply", func(ctx context.Context, conn *Conn) error {
		if err := s.checkFence(ctx, conn, c.Fence); err != nil {
			return err
		}
		if err := s.movePosition(ctx, conn, c); err != nil {
			return err
		}
		if err := s.raiseGoals(ctx, conn, c.Goals); err != nil {
			return err
		}
		return s.dialect.UpsertNewer(ctx, conn, c.Entries)
	})
	if errors.Is(err, ErrDuplicate) {
		err = cmp.Or(s.findForeignRow(ctx, c), err)
	}
	return err
}

const selectBeyond = `SELECT {key}, revision FROM {p}entries {by_revision} WHERE origin = ? AND revision > ? AND revision <= ? ORDER BY revision LIMIT 1000`

// findForeignRow returns an error that names a row with the revision of an entry of c and another
// key. Only a change of the table by a third party can have made such a row: an origin has no rows beyond
// its position. Nil: there is none.
func (s *Engine) findForeignRow(ctx context.Context, c partition.Copy) error {
	wants := make(map[partition.Revision]partition.Key, len(c.Entries))
	for i := range c.Entries {
		wants[c.Entries[i].Revision] = c.Entries[i].Key
	}
	return s.read(ctx, "apply", func(ctx context.Context, conn *Conn) error {
		return conn.QueryRows(ctx, s.statement(selectBeyond), []any{string(c.Origin), int64(c.From), int64(c.To)}, func(r Rows) error {
			k, revision := partition.Key(r.Bytes(0)), partition.Revision(r.Int(1))
			if want, wanted := wants[revision]; wanted && want != k {
				return fmt.Errorf("%w: the row of key %q has the revision %d of %s, which is that of key %q: the table was changed or is damaged. "+
					"Nothing was overwritten. Give the partition an empty database, and it is filled afresh", partition.ErrRefused, k, revision, c.Origin, want)
			}
			return nil
		})
	})
}

// sortedFrom is the number of entries from which sortByKey sorts.
const sortedFrom = 250

// sortByKey sorts a copy of many entries by key. Many new rows cost a database a fifth less in
// this order than in the order of revisions, which hits most indexes at random.
func sortByKey(entries []partition.Entry) []partition.Entry {
	if len(entries) < sortedFrom {
		return entries
	}
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b partition.Entry) int { return cmp.Compare(a.Key, b.Key) })
	return entries
}

func (s *Engine) applyFast(ctx context.Context, c partition.Copy) (done bool, err error) {
	quick, has := s.dialect.(FastApplier)
	if !has {
		return false, nil
	}
	ctx, end, err := s.begin(ctx, "apply")
	if err != nil {
		return true, err
	}
	defer end()
	return quick.ApplyFast(ctx, c)
}

const selectFence = `SELECT fence FROM {p}lease WHERE id = 1`

// checkFence locks the lease, so that no process takes the lease over before the commit.
func (s *Engine) checkFence(ctx context.Context, conn *Conn, fence int64) error {
	if fence == 0 {
		return nil
	}
	var current int64
	if err := conn.QueryRow(ctx, s.statement(selectFence+s.sql.LockShared), nil, func(r Rows) { current = r.Int(0) }); err != nil {
		return err
	}
	if current != fence {
		return fmt.Errorf("%w: fence %d, now %d", partition.ErrLeaseLost, fence, current)
	}
	return nil
}

const (
	selectEpoch  = `SELECT epoch FROM {p}cluster WHERE id = 1`
	selectBallot = `SELECT c.epoch, b.accepted FROM {p}cluster AS c JOIN {p}ballots AS b ON b.id = c.id WHERE c.id = 1`
)

// checkMap locks the cluster row, so that no other map is accepted before the commit.
func (s *Engine) checkMap(ctx context.Context, conn *Conn, c *partition.Copy) error {
	if c.Epoch == 0 && c.Ballot == 0 {
		return nil
	}
	text := selectEpoch
	if c.Ballot > 0 {
		text = selectBallot
	}
	var epoch, ballot int64
	err := conn.QueryRow(ctx, s.statement(text+s.sql.LockShared), nil, func(r Rows) {
		if epoch = r.Int(0); c.Ballot > 0 {
			ballot = r.Int(1)
		}
	})
	if err != nil {
		return err
	}
	return c.CheckMap(epoch, ballot)
}

const updatePosition = `UPDATE {p}positions SET revision = ?, goal = ?, synced_at = ?, collected = ? WHERE origin = ?`

// movePosition changes the position from c.From to c.To and locks its row. If two transactions find
// no row, the INSERT of the second fails with ErrPositionMoved.
func (s *Engine) movePosition(ctx context.Context, conn *Conn, c partition.Copy) error {
	p, found, err := s.position(ctx, conn, c.Origin, s.sql.LockExclusive)
	if err != nil {
		return err
	}
	if p.Revision != c.From {
		return fmt.Errorf("%w: %s at %d, not at %d", partition.ErrPositionMoved, c.Origin, p.Revision, c.From)
	}
	if err := s.checkMap(ctx, conn, &c); err != nil {
		return err
	}
	p = p.Follow(c)
	if found {
		_, err = conn.Exec(ctx, s.statement(updatePosition), int64(p.Revision), int64(p.Goal), int64(p.SyncedAt), int64(p.Collected), string(p.Origin))
		return err
	}
	return s.addPosition(ctx, conn, p)
}

const (
	raiseGoal  = `UPDATE {p}positions SET goal = ? WHERE origin = ? AND goal < ?`
	insertGoal = ` INTO {p}positions (origin, revision, goal, synced_at, collected) VALUES (?, 0, ?, 0, 0)`
)

// raiseGoals locks the rows in the order of their origins.
func (s *Engine) raiseGoals(ctx context.Context, conn *Conn, goals map[partition.Origin]partition.Revision) error {
	for _, o := range slices.Sorted(maps.Keys(goals)) {
		if o == s.name {
			continue
		}
		n, err := conn.Exec(ctx, s.statement(raiseGoal), int64(goals[o]), string(o), int64(goals[o]))
		if err == nil && n == 0 { // the goal is higher, or there is no row
			_, err = conn.Exec(ctx, s.statement(s.sql.InsertIgnore+insertGoal), string(o), int64(goals[o]))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const deleteRow = `{delete_by_key} WHERE {key} = ?`

// Repair implements partition.Verifier. The row is locked, so that no writer changes it before the commit.
func (s *Engine) Repair(ctx context.Context, r partition.Repair) error {
	if err := r.Check(); err != nil {
		return s.wrap("repair", err)
	}
	return s.transact(ctx, "repair", func(ctx context.Context, c *Conn) error {
		at, _, err := s.position(ctx, c, r.Right.Origin, "")
		if err != nil {
			return err
		}
		var old []partition.Entry
		if r.Damaged != nil {
			old, err = s.lockRow(ctx, c, r.Damaged.Key)
		}
		if err == nil {
			err = r.CheckStored(old, at.Revision)
		}
		if err == nil && r.Adds() {
			var taken []partition.Entry
			if taken, err = s.lockRow(ctx, c, r.Right.Key); len(taken) > 0 {
				err = fmt.Errorf("%w: there is a row of %q", partition.ErrPositionMoved, r.Right.Key)
			}
		}
		if err == nil && r.Damaged != nil {
			_, err = c.Exec(ctx, s.statement(deleteRow), []byte(r.Damaged.Key))
		}
		if err != nil {
			return err
		}
		return s.dialect.UpsertNewer(ctx, c, []partition.Entry{r.Right})
	})
}

// lockRow reads a row with its value, and locks it.
func (s *Engine) lockRow(ctx context.Context, c *Conn, k partition.Key) (rows []partition.Entry, err error) {
	var shared SharedStrings
	err = c.QueryRows(ctx, s.statement(SelectEntriesIn+"(?)"+s.sql.LockExclusive), []any{[]byte(k)}, func(r Rows) error {
		rows = append(rows, r.Entry(&shared, true))
		return nil
	})
	return rows, err
}

const (
	selectVerification = `SELECT verified_at, began_at, deep, next_key, compared, differences FROM {p}verification WHERE id = 1`
	updateVerification = `UPDATE {p}verification SET verified_at = ?, began_at = ?, deep = ?, next_key = ?, compared = ?, differences = ? WHERE id = 1`
)

// Verification implements partition.Verifier.
func (s *Engine) Verification(ctx context.Context) (v partition.Verification, err error) {
	err = s.read(ctx, "verification", func(ctx context.Context, c *Conn) error {
		if err := s.schema.Load().CheckVerification(); err != nil {
			return err
		}
		return c.QueryRow(ctx, s.statement(selectVerification), nil, func(r Rows) {
			v = partition.Verification{VerifiedAt: partition.Instant(r.Int(0)), BeganAt: partition.Instant(r.Int(1)), Deep: r.Int(2) != 0,
				Next: partition.Key(r.Bytes(3)), Compared: r.Int(4), Differences: r.Int(5)}
		})
	})
	return v, err
}

// NoteVerification implements partition.Verifier.
func (s *Engine) NoteVerification(ctx context.Context, v partition.Verification) error {
	deep := int64(0)
	if v.Deep {
		deep = 1
	}
	return s.transact(ctx, "note verification", func(ctx context.Context, c *Conn) error {
		if err := s.schema.Load().CheckVerification(); err != nil {
			return err
		}
		_, err := c.Exec(ctx, s.statement(updateVerification), int64(v.VerifiedAt), int64(v.BeganAt), deep, []byte(v.Next), v.Compared, v.Differences)
		return err
	})
}
