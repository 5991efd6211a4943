package sqlengine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
)

// Get implements partition.Reader.
func (s *Engine) Get(ctx context.Context, keys []partition.Key) ([]partition.Entry, error) {
	return s.get(ctx, keys, AnySize)
}

// GetSmall implements partition.Reader.
func (s *Engine) GetSmall(ctx context.Context, keys []partition.Key, most int64) ([]partition.Entry, error) {
	return s.get(ctx, keys, most)
}

func (s *Engine) get(ctx context.Context, keys []partition.Key, most int64) ([]partition.Entry, error) {
	if s.sql.InProcess {
		return s.getInProcess(ctx, keys, most)
	}
	ctx, done, err := s.begin(ctx, "get")
	if err != nil {
		return nil, err
	}
	defer done()
	entries, err := s.dialect.Get(ctx, keys, most)
	if err != nil && s.dialect.Transient(err) && ctx.Err() == nil {
		entries, err = s.dialect.Get(ctx, keys, most)
	}
	if err != nil {
		return nil, s.wrap("get", err)
	}
	return entries, nil
}

// getInProcess uses no timer: timer and context would cost more than the lookup of a key.
func (s *Engine) getInProcess(ctx context.Context, keys []partition.Key, most int64) ([]partition.Entry, error) {
	err := s.checkUsable(ctx)
	var entries []partition.Entry
	if err == nil {
		entries, err = s.dialect.Get(operation{ctx, s.life}, keys, most)
	}
	if err != nil {
		return nil, s.wrap("get", err)
	}
	return entries, nil
}

// List implements partition.Reader. It reads heads first and then only the values within the budget. A key
// that changes between the two is returned as of the second; a key that is deleted in between is
// left out.
func (s *Engine) List(ctx context.Context, span partition.Span) (entries []partition.Entry, more bool, err error) {
	if span.Limit < 1 {
		return nil, false, s.wrap("list", fmt.Errorf("limit %d", span.Limit))
	}
	err = s.read(ctx, "list", func(ctx context.Context, c *Conn) error {
		entries, more, err = s.listHeads(ctx, c, span)
		return err
	})
	if err != nil || !span.Values || len(entries) == 0 {
		return entries, more, err
	}
	n := countWithin(entries, span.Bytes)
	more = more || n < len(entries)
	entries, err = s.addValues(ctx, entries[:n])
	return entries, more, err
}

const (
	selectHeads = `SELECT ` + HeadColumns + ` FROM {p}entries WHERE {key} >= ?`
	selectLive  = `SELECT ` + HeadColumns + ` FROM {p}entries {by_live} WHERE deleted = 0 AND {key} >= ?`
)

// listHeads reads an entry beyond the limit to find out whether more follow. The first statement
// reads rows including tombstones. If there are any, a second statement reads the remaining rows
// by the index of live entries, so that a long run of tombstones is never read.
func (s *Engine) listHeads(ctx context.Context, c *Conn, span partition.Span) ([]partition.Entry, bool, error) {
	want := span.Limit + 1
	all, err := s.headsFrom(ctx, c, selectHeads, span, want)
	if err != nil {
		return nil, false, err
	}
	full := len(all) == want
	if full {
		span.From = all[len(all)-1].Key + "\x00"
	}
	entries := slices.DeleteFunc(all, func(e partition.Entry) bool { return e.Deleted })
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

func (s *Engine) headsFrom(ctx context.Context, c *Conn, text string, span partition.Span, limit int) ([]partition.Entry, error) {
	args := []any{[]byte(span.From)}
	if span.To != "" {
		text, args = text+` AND {key} < ?`, append(args, []byte(span.To))
	}
	return s.selectHeads(ctx, c, text+` ORDER BY {key} LIMIT ?`, append(args, int64(limit))...)
}

// selectHeads reads rows of HeadColumns.
func (s *Engine) selectHeads(ctx context.Context, c *Conn, text string, args ...any) (entries []partition.Entry, err error) {
	var shared SharedStrings
	err = c.QueryRows(ctx, s.statement(text), args, func(r Rows) error {
		entries = append(entries, r.Entry(&shared, false))
		return nil
	})
	return entries, err
}

// countWithin counts the entries up to the entry with which the sum of values reaches the budget in bytes.
func countWithin(entries []partition.Entry, budget int64) int {
	if budget <= 0 {
		budget = partition.DefaultSpanBytes
	}
	for i := range entries {
		if budget -= entries[i].Size; budget <= 0 {
			return i + 1
		}
	}
	return len(entries)
}

// addValues reads entries again, with values, in the same order.
func (s *Engine) addValues(ctx context.Context, heads []partition.Entry) ([]partition.Entry, error) {
	keys := make([]partition.Key, len(heads))
	for i := range heads {
		keys[i] = heads[i].Key
	}
	found, err := s.Get(ctx, keys)
	if err != nil {
		return nil, err
	}
	byKey := make(map[partition.Key]*partition.Entry, len(found))
	for i := range found {
		byKey[found[i].Key] = &found[i]
	}
	entries := make([]partition.Entry, 0, len(found))
	for _, k := range keys {
		if e := byKey[k]; e != nil && !e.Deleted {
			entries = append(entries, *e)
		}
	}
	return entries, nil
}

// MySQL reads the index backwards only if ORDER BY names the origin too.
const selectNewest = `SELECT ` + HeadColumns + ` FROM {p}entries {by_revision} WHERE origin = ?
	AND revision <= (SELECT revision FROM {p}positions WHERE origin = ?) ORDER BY origin DESC, revision DESC LIMIT ?`

// Newest implements partition.Reader.
func (s *Engine) Newest(ctx context.Context, origin partition.Origin, limit int) (newest []partition.Entry, err error) {
	err = s.read(ctx, "newest", func(ctx context.Context, c *Conn) error {
		newest, err = s.selectHeads(ctx, c, selectNewest, string(origin), string(origin), int64(limit))
		return err
	})
	return newest, err
}

const selectExpired = `SELECT {key}, revision FROM {p}entries {by_expiry}
	WHERE expires_at <= {now} AND origin = ? AND deleted = 0 ORDER BY expires_at LIMIT ?`

// Expired implements partition.Master.
func (s *Engine) Expired(ctx context.Context, limit int) (keys []partition.Key, err error) {
	if limit < 1 {
		return nil, s.wrap("expired", fmt.Errorf("limit %d", limit))
	}
	err = s.read(ctx, "expired", func(ctx context.Context, c *Conn) error {
		keys, _, err = selectKeys(ctx, c, s.timed(selectExpired), string(s.name), limit)
		return err
	})
	return keys, err
}

// selectKeys returns keys and the revision of the last key.
func selectKeys(ctx context.Context, c *Conn, text Statement, args ...any) (keys []partition.Key, last partition.Revision, err error) {
	err = c.QueryRows(ctx, text, args, func(r Rows) error {
		keys, last = append(keys, partition.Key(r.Bytes(0))), partition.Revision(r.Int(1))
		return nil
	})
	return keys, last, err
}

const (
	selectClock     = `SELECT {now}`
	positionColumns = `revision, goal, synced_at, collected`
	selectPositions = `SELECT ` + positionColumns + `, origin, {now}
		FROM (SELECT 1 AS one) AS c LEFT JOIN {p}positions AS p ON p.origin <> '' ORDER BY p.origin`
	selectPosition = `SELECT ` + positionColumns + ` FROM {p}positions WHERE origin = ?`
)

// positionOf reads positionColumns.
func positionOf(r Rows, origin partition.Origin) partition.Position {
	return partition.Position{Origin: origin, Revision: partition.Revision(r.Int(0)), Goal: partition.Revision(r.Int(1)),
		SyncedAt: partition.Instant(r.Int(2)), Collected: partition.Revision(r.Int(3))}
}

// Positions implements partition.Reader. A statement reads the clock before any row, so Now is never later
// than the positions. Without positions the result is one row with only the clock.
func (s *Engine) Positions(ctx context.Context) (p partition.Positions, err error) {
	err = s.read(ctx, "positions", func(ctx context.Context, c *Conn) error {
		p.Origins = make(map[partition.Origin]partition.Position)
		return c.QueryRows(ctx, s.timed(selectPositions), nil, func(r Rows) error {
			p.Now = partition.Instant(r.Int(5))
			if origin := partition.Origin(r.Bytes(4)); origin != "" {
				p.Origins[origin] = positionOf(r, origin)
			}
			return nil
		})
	})
	return p, err
}

// position reads a position; a missing row is the zero Position. lock is a locking fragment.
func (s *Engine) position(ctx context.Context, c *Conn, origin partition.Origin, lock string) (p partition.Position, found bool, err error) {
	p.Origin = origin
	err = c.QueryRow(ctx, s.statement(selectPosition+lock), []any{string(origin)}, func(r Rows) { p = positionOf(r, origin) })
	if errors.Is(err, sql.ErrNoRows) {
		return p, false, nil
	}
	return p, err == nil, err
}
