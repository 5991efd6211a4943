package sqlengine

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

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
	selectHeads = `SELECT ` + HeadColumns + ` FROM {p}entries {by_key} WHERE {key} >= ?`
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

// A condition on the end of the span stands between the two.
const (
	selectUsage = `SELECT CAST(COALESCE(SUM(live), 0) AS SIGNED), CAST(COALESCE(SUM(live * size), 0) AS SIGNED), COUNT(*), MAX(name),
		(SELECT revision FROM {p}positions WHERE origin = ?)
	FROM (SELECT {key} AS name, size, CASE WHEN origin = ? AND deleted = 0 AND (expires_at IS NULL OR expires_at > {now}) THEN 1 ELSE 0 END AS live
		FROM {p}entries {by_key} WHERE {key} >= ?`
	selectUsageEnd = ` ORDER BY {key} LIMIT ?) AS part`
)

// Usage implements partition.Reader. The databases answer a single statement from a single view.
func (s *Engine) Usage(ctx context.Context, span partition.Span) (u partition.Usage, err error) {
	if span.Limit < 1 {
		return u, s.wrap("usage", fmt.Errorf("limit %d", span.Limit))
	}
	text, args := selectUsage, []any{string(s.name), string(s.name), []byte(span.From)}
	if span.To != "" {
		text, args = text+` AND {key} < ?`, append(args, []byte(span.To))
	}
	err = s.read(ctx, "usage", func(ctx context.Context, c *Conn) error {
		return c.QueryRow(ctx, s.timed(text+selectUsageEnd), append(args, int64(span.Limit)), func(r Rows) {
			u = partition.Usage{Keys: r.Int(0), Bytes: r.Int(1), Revision: partition.Revision(r.Int(4))}
			if r.Int(2) == int64(span.Limit) {
				u.Last = partition.Key(r.Bytes(3))
			}
		})
	})
	return u, err
}

// The conditions on rows that count, and on the end of the span, stand between the parts.
const (
	selectDigest = `SELECT COUNT(*), CAST(COALESCE(SUM(counted), 0) AS SIGNED), CAST(COALESCE(SUM(counted * crc), 0) AS SIGNED),
		CAST(COALESCE(BIT_XOR(CASE WHEN counted = 1 THEN checksum ELSE 0 END), 0) AS SIGNED), MAX(name)
	FROM (SELECT {key} AS name, checksum, CRC32(`
	digestCounted = `) AS crc, CASE WHEN `
	digestSpan    = ` THEN 1 ELSE 0 END AS counted FROM {p}entries {by_key} WHERE {key} >= ?`
	digestEnd     = ` ORDER BY {key} LIMIT ?) AS part`
	rowCounts     = `(origin = ? AND revision <= ? AND (deleted = 0 OR revision > ?))`
)

// Digest implements partition.Verifier. The databases answer a single statement from a single view.
func (s *Engine) Digest(ctx context.Context, of partition.DigestSpan) (d partition.Digest, err error) {
	span := partition.Span{From: of.From, To: of.To, Limit: of.Limit}
	if s.sql.DigestLine == "" {
		rows, err := s.Rows(ctx, span)
		return partition.DigestRows(of, rows), err
	}
	if of.Limit < 1 {
		return d, s.wrap("digest", fmt.Errorf("limit %d", of.Limit))
	}
	counts, args := []string{"1 = 0"}, []any{}
	for _, b := range of.Bounds {
		counts, args = append(counts, rowCounts), append(args, string(b.Origin), int64(b.Revision), int64(b.Collected))
	}
	text := selectDigest + s.sql.DigestLine + digestCounted + strings.Join(counts, " OR ") + digestSpan
	args = append(args, []byte(of.From))
	if of.To != "" {
		text, args = text+` AND {key} < ?`, append(args, []byte(of.To))
	}
	err = s.read(ctx, "digest", func(ctx context.Context, c *Conn) error {
		return c.QueryRow(ctx, s.statement(text+digestEnd), append(args, int64(of.Limit)), func(r Rows) {
			d = partition.Digest{Rows: r.Int(0), Counted: r.Int(1), Sum: r.Int(2), Mix: uint64(r.Int(3))}
			if d.Rows == int64(of.Limit) {
				d.Last = partition.Key(r.Bytes(4))
			}
		})
	})
	return d, err
}

// Rows implements partition.Verifier.
func (s *Engine) Rows(ctx context.Context, span partition.Span) (rows []partition.Entry, err error) {
	if span.Limit < 1 {
		return nil, s.wrap("rows", fmt.Errorf("limit %d", span.Limit))
	}
	err = s.read(ctx, "rows", func(ctx context.Context, c *Conn) error {
		rows, err = s.headsFrom(ctx, c, selectHeads, span, span.Limit)
		return err
	})
	return rows, err
}

// RowCount implements partition.Verifier.
func (s *Engine) RowCount(ctx context.Context) (n int64, err error) {
	err = s.read(ctx, "row count", func(ctx context.Context, c *Conn) error {
		return c.QueryRow(ctx, s.statement(s.sql.CountRows), nil, func(r Rows) { n = r.Int(0) })
	})
	return n, err
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

const selectExpired = `SELECT {key}, expires_at FROM {p}entries {by_expiry}
	WHERE origin = ? AND expires_at >= ? AND (expires_at > ? OR {key} > ?) AND expires_at <= {now} AND expires_at <= ? AND deleted = 0
	ORDER BY expires_at, {key} LIMIT ?`

// Expired implements partition.Master.
func (s *Engine) Expired(ctx context.Context, of partition.ExpirySpan) (keys []partition.ExpiredKey, err error) {
	if of.Limit < 1 {
		return nil, s.wrap("expired", fmt.Errorf("limit %d", of.Limit))
	}
	after, until := int64(of.After.At), int64(cmp.Or(of.Until, math.MaxInt64))
	args := []any{string(of.Origin), after, after, []byte(of.After.Key), until, int64(of.Limit)}
	err = s.read(ctx, "expired", func(ctx context.Context, c *Conn) error {
		return c.QueryRows(ctx, s.timed(selectExpired), args, func(r Rows) error {
			keys = append(keys, partition.ExpiredKey{At: partition.Instant(r.Int(1)), Key: partition.Key(r.Bytes(0))})
			return nil
		})
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
	originColumns   = positionColumns + `, p.origin, (SELECT epoch FROM {p}cluster WHERE id = 1)`
	ofOrigins       = ` FROM (SELECT 1 AS one) AS c LEFT JOIN {p}positions AS p ON p.origin <> '' ORDER BY p.origin`
	selectPositions = `SELECT ` + originColumns + `, {now}, (SELECT accepted FROM {p}ballots WHERE id = 1), 0` + ofOrigins
	selectVerified  = `SELECT ` + originColumns + `, {now}, (SELECT accepted FROM {p}ballots WHERE id = 1), (SELECT verified_at FROM {p}verification WHERE id = 1)` + ofOrigins
	selectPosition  = `SELECT ` + positionColumns + ` FROM {p}positions WHERE origin = ?`
	insertPosition  = `INSERT INTO {p}positions (origin, ` + positionColumns + `) VALUES (?, ?, ?, ?, ?)`
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
		if err = s.recheckSchema(ctx, c); err == nil {
			p, err = s.positions(ctx, c)
		}
		return err
	})
	return p, err
}

func (s *Engine) positions(ctx context.Context, c *Conn) (partition.Positions, error) {
	p := partition.Positions{Origins: make(map[partition.Origin]partition.Position)}
	text := selectPositions
	if s.schema.Load().HasVerification() {
		text = selectVerified
	}
	err := c.QueryRows(ctx, s.timed(text), nil, func(r Rows) error {
		p.Epoch, p.Now, p.Ballot, p.VerifiedAt = r.Int(5), partition.Instant(r.Int(6)), r.Int(7), partition.Instant(r.Int(8))
		if origin := partition.Origin(r.Bytes(4)); origin != "" {
			p.Origins[origin] = positionOf(r, origin)
		}
		return nil
	})
	return p, err
}

// Counter implements partition.Master.
func (s *Engine) Counter(ctx context.Context) (r partition.Revision, err error) {
	err = s.read(ctx, "counter", func(ctx context.Context, c *Conn) error {
		p, _, err := s.position(ctx, c, s.name, "")
		r = p.Revision
		return err
	})
	return r, err
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

// addPosition fails with ErrPositionMoved if another process has added the row meanwhile.
func (s *Engine) addPosition(ctx context.Context, conn *Conn, p partition.Position) error {
	_, err := conn.Exec(ctx, s.statement(insertPosition), string(p.Origin), int64(p.Revision), int64(p.Goal), int64(p.SyncedAt), int64(p.Collected))
	if errors.Is(s.classify(err), ErrDuplicate) {
		return fmt.Errorf("%w: another process has begun to copy %s", partition.ErrPositionMoved, p.Origin)
	}
	return err
}
