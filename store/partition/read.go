package partition

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// Get implements Reader.
func (s *SQL) Get(ctx context.Context, keys []Key) ([]Entry, error) {
	return s.get(ctx, keys, anySize)
}

// GetSmall implements Reader.
func (s *SQL) GetSmall(ctx context.Context, keys []Key, most int64) ([]Entry, error) {
	return s.get(ctx, keys, most)
}

func (s *SQL) get(ctx context.Context, keys []Key, most int64) ([]Entry, error) {
	if s.local {
		return s.getLocal(ctx, keys, most)
	}
	ctx, done, err := s.begin(ctx, "get")
	if err != nil {
		return nil, err
	}
	defer done()
	entries, err := s.dialect.get(ctx, keys, most)
	if err != nil && s.dialect.transient(err) && ctx.Err() == nil {
		entries, err = s.dialect.get(ctx, keys, most)
	}
	if err != nil {
		return nil, s.failed("get", err)
	}
	return entries, nil
}

// getLocal makes no timer: it and its context would cost more than looking up a key.
func (s *SQL) getLocal(ctx context.Context, keys []Key, most int64) ([]Entry, error) {
	err := s.usable(ctx)
	var entries []Entry
	if err == nil {
		entries, err = s.dialect.get(operation{ctx, s.life}, keys, most)
	}
	if err != nil {
		return nil, s.failed("get", err)
	}
	return entries, nil
}

// List implements Reader. It reads heads first and then only the values that
// are within the budget; a key that changes between the two is read as it is
// then, and left out when it was deleted meanwhile.
func (s *SQL) List(ctx context.Context, span Span) (entries []Entry, more bool, err error) {
	if span.Limit < 1 {
		return nil, false, s.failed("list", fmt.Errorf("limit %d", span.Limit))
	}
	err = s.read(ctx, "list", func(ctx context.Context, c *session) error {
		entries, more, err = s.heads(ctx, c, span)
		return err
	})
	if err != nil || !span.Values || len(entries) == 0 {
		return entries, more, err
	}
	n := within(entries, span.Bytes)
	more = more || n < len(entries)
	entries, err = s.valuesOf(ctx, entries[:n])
	return entries, more, err
}

const (
	selectHeads = `SELECT ` + headColumns + ` FROM {p}entries WHERE {key} >= ?`
	selectLive  = `SELECT ` + headColumns + ` FROM {p}entries {by_live} WHERE deleted = 0 AND {key} >= ?`
)

// heads reads one more than the limit, to say whether more follow. It reads rows as
// they stand and, when tombstones are among them, the others by the index that has none: so
// it does not go through all tombstones, and rows without any need no second look.
func (s *SQL) heads(ctx context.Context, c *session, span Span) ([]Entry, bool, error) {
	want := span.Limit + 1
	all, err := s.headsFrom(ctx, c, selectHeads, span, want)
	if err != nil {
		return nil, false, err
	}
	full := len(all) == want
	if full {
		span.From = all[len(all)-1].Key + "\x00"
	}
	entries := slices.DeleteFunc(all, func(e Entry) bool { return e.Deleted })
	if missing := want - len(entries); full && missing > 0 {
		others, err := s.headsFrom(ctx, c, selectLive, span, missing)
		if err != nil {
			return nil, false, err
		}
		entries = append(entries, others...)
	}
	more := len(entries) > span.Limit
	return entries[:min(len(entries), span.Limit)], more, nil
}

func (s *SQL) headsFrom(ctx context.Context, c *session, statement string, span Span, limit int) ([]Entry, error) {
	args := []any{[]byte(span.From)}
	if span.To != "" {
		statement, args = statement+` AND {key} < ?`, append(args, []byte(span.To))
	}
	rows, err := c.query(ctx, s.sql(statement+` ORDER BY {key} LIMIT ?`), append(args, int64(limit))...)
	if err != nil {
		return nil, err
	}
	return scanEntries(rows, nil, false)
}

// within counts the entries up to the one whose value reaches the budget.
func within(entries []Entry, budget int64) int {
	if budget <= 0 {
		budget = DefaultSpanBytes
	}
	for i := range entries {
		if budget -= entries[i].Size; budget <= 0 {
			return i + 1
		}
	}
	return len(entries)
}

// valuesOf reads the entries of heads again, with values, in the same order.
func (s *SQL) valuesOf(ctx context.Context, heads []Entry) ([]Entry, error) {
	keys := make([]Key, len(heads))
	for i := range heads {
		keys[i] = heads[i].Key
	}
	found, err := s.Get(ctx, keys)
	if err != nil {
		return nil, err
	}
	byKey := make(map[Key]*Entry, len(found))
	for i := range found {
		byKey[found[i].Key] = &found[i]
	}
	entries := make([]Entry, 0, len(found))
	for _, k := range keys {
		if e := byKey[k]; e != nil && !e.Deleted {
			entries = append(entries, *e)
		}
	}
	return entries, nil
}

const (
	selectClock     = `SELECT {now}`
	selectPositions = `SELECT {now}, p.origin, p.revision, p.goal, p.synced_at, p.collected
		FROM (SELECT 1 AS one) AS c LEFT JOIN {p}positions AS p ON p.origin <> '' ORDER BY p.origin`
	selectPosition = `SELECT revision, goal, synced_at, collected FROM {p}positions WHERE origin = ?`
)

// MySQL walks the index from its end only where the order names the origin too.
const selectNewest = `SELECT ` + headColumns + ` FROM {p}entries {by_revision} WHERE origin = ?
	AND revision <= (SELECT revision FROM {p}positions WHERE origin = ?) ORDER BY origin DESC, revision DESC LIMIT ?`

// Newest implements Reader.
func (s *SQL) Newest(ctx context.Context, origin Origin, limit int) (newest []Entry, err error) {
	err = s.read(ctx, "newest", func(ctx context.Context, c *session) error {
		rows, err := c.query(ctx, s.sql(selectNewest), string(origin), string(origin), int64(limit))
		if err != nil {
			return err
		}
		newest, err = scanEntries(rows, nil, false)
		return err
	})
	return newest, err
}

// Positions implements Reader. A statement reads its clock before it sees
// any row, so Now is never later than what is told about it.
func (s *SQL) Positions(ctx context.Context) (p Positions, err error) {
	err = s.read(ctx, "positions", func(ctx context.Context, c *session) error {
		rows, err := c.queryOnce(ctx, s.timed(selectPositions))
		if err != nil {
			return err
		}
		p, err = scanPositions(rows)
		return err
	})
	return p, err
}

func scanPositions(rows rows) (Positions, error) {
	defer rows.Close()
	all := Positions{Origins: make(map[Origin]Position)}
	for rows.Next() {
		var origin sql.NullString
		var revision, goal, syncedAt, collected sql.NullInt64
		if err := rows.Scan(&all.Now, &origin, &revision, &goal, &syncedAt, &collected); err != nil {
			return Positions{}, err
		}
		if !origin.Valid {
			continue // no rows: only the clock
		}
		all.Origins[Origin(origin.String)] = Position{Origin: Origin(origin.String),
			Revision: Revision(revision.Int64), Goal: Revision(goal.Int64),
			SyncedAt: Instant(syncedAt.Int64), Collected: Revision(collected.Int64)}
	}
	return all, rows.Err()
}

// timed puts the names and the database's clock into a statement.
func (s *SQL) timed(statement string) string {
	return strings.ReplaceAll(s.sql(statement), "{now}", s.dialect.clock())
}

// position reads one position; a missing row is the zero Position.
func (s *SQL) position(ctx context.Context, c *session, origin Origin, lock string) (p Position, found bool, err error) {
	p.Origin = origin
	err = c.queryRow(ctx, s.sql(selectPosition+lock), []any{string(origin)},
		&p.Revision, &p.Goal, &p.SyncedAt, &p.Collected)
	if err == sql.ErrNoRows {
		return p, false, nil
	}
	return p, err == nil, err
}
