package partition

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

const selectExpired = `SELECT {key}, revision FROM {p}entries {by_expiry}
	WHERE expires_at <= {now} AND origin = ? AND deleted = 0 ORDER BY expires_at LIMIT ?`

// Expired implements Master.
func (s *SQL) Expired(ctx context.Context, limit int) (keys []Key, err error) {
	if limit < 1 {
		return nil, s.failed("expired", fmt.Errorf("limit %d", limit))
	}
	err = s.read(ctx, "expired", func(ctx context.Context, c *session) error {
		keys, _, err = s.keys(ctx, c, s.timed(selectExpired), string(s.name), limit)
		return err
	})
	return keys, err
}

// Expired implements Master.
func (m *Memory) Expired(ctx context.Context, limit int) ([]Key, error) {
	if err := m.begin(ctx, OpExpired); err != nil {
		return nil, err
	}
	if limit < 1 {
		return nil, fmt.Errorf("expired on %s: limit %d", m.db.name, limit)
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	return m.db.expired(limit), nil
}

func (db *memoryDB) expired(limit int) []Key {
	now := db.instant()
	var entries []Entry
	for _, e := range db.entries {
		if e.Origin == db.name && !e.Deleted && !e.Live(now) {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.ExpiresAt, b.ExpiresAt) })
	var keys []Key
	for _, e := range entries[:min(len(entries), limit)] {
		keys = append(keys, e.Key)
	}
	return keys
}
