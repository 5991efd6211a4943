package partition

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
)

// Get implements Reader.
func (m *Memory) Get(ctx context.Context, keys []Key) ([]Entry, error) {
	if err := m.begin(ctx, OpGet); err != nil {
		return nil, err
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	return m.db.get(keys, math.MaxInt64), nil
}

// GetSmall implements Reader.
func (m *Memory) GetSmall(ctx context.Context, keys []Key, most int64) ([]Entry, error) {
	if err := m.begin(ctx, OpGet); err != nil {
		return nil, err
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	return m.db.get(keys, most), nil
}

func (db *memoryDB) get(keys []Key, most int64) []Entry {
	var entries []Entry
	seen := make(map[Key]bool, len(keys))
	for _, k := range keys {
		if e, ok := db.entries[k]; ok && !seen[k] && e.Size > most {
			entries = append(entries, head(e))
		} else if ok && !seen[k] {
			entries = append(entries, clone(e))
		}
		seen[k] = true
	}
	return entries
}

// List implements Reader. Its more is exact.
func (m *Memory) List(ctx context.Context, s Span) (entries []Entry, more bool, err error) {
	if err := m.begin(ctx, OpList); err != nil {
		return nil, false, err
	}
	if s.Limit < 1 {
		return nil, false, fmt.Errorf("list on %s: limit %d", m.db.name, s.Limit)
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	entries, more = m.db.list(s)
	return entries, more, nil
}

func (db *memoryDB) list(s Span) (entries []Entry, more bool) {
	left := cmp.Or(s.Bytes, DefaultSpanBytes)
	for _, k := range db.index.from(s.From) {
		if s.To != "" && k >= s.To {
			break
		}
		e := db.entries[k]
		if e.Deleted {
			continue
		}
		if len(entries) == s.Limit || left <= 0 {
			return entries, true
		}
		if s.Values {
			left -= e.Size
			entries = append(entries, clone(e))
		} else {
			entries = append(entries, head(e))
		}
	}
	return entries, false
}

// Newest implements Reader.
func (m *Memory) Newest(ctx context.Context, origin Origin, limit int) ([]Entry, error) {
	if err := m.begin(ctx, OpNewest); err != nil {
		return nil, err
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	held := m.db.between(origin, 0, m.db.positions[origin].Revision)
	slices.Reverse(held)
	newest := make([]Entry, 0, min(limit, len(held)))
	for _, e := range held[:min(limit, len(held))] {
		newest = append(newest, head(e))
	}
	return newest, nil
}

// Positions implements Reader.
func (m *Memory) Positions(ctx context.Context) (Positions, error) {
	if err := m.begin(ctx, OpPositions); err != nil {
		return Positions{}, err
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	return Positions{Now: m.db.instant(), Origins: maps.Clone(m.db.positions)}, nil
}

// Snapshot implements Source: a copy of all entries it will give.
func (m *Memory) Snapshot(ctx context.Context, origin Origin, after Revision) (Snapshot, error) {
	if err := m.begin(ctx, OpSnapshot); err != nil {
		return nil, err
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	p := m.db.positions[origin]
	p.Origin = origin
	if origin == m.db.name {
		p.SyncedAt = m.db.instant()
	}
	return &memorySnapshot{m: m, position: p, left: m.db.between(origin, after, p.Revision)}, nil
}

// between lists what is held of origin after a revision and up to another, in
// order of revisions.
func (db *memoryDB) between(origin Origin, after, upTo Revision) []Entry {
	var entries []Entry
	for _, e := range db.entries {
		if e.Origin == origin && e.Revision > after && e.Revision <= upTo {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Revision, b.Revision) })
	return entries
}

// memorySnapshot holds stored entries, which are cloned only as they leave.
type memorySnapshot struct {
	m        *Memory
	position Position
	left     []Entry
	closed   bool
}

// Position implements Snapshot.
func (s *memorySnapshot) Position() Position { return s.position }

// Next implements Snapshot.
func (s *memorySnapshot) Next(ctx context.Context, maxEntries int, maxBytes int64) ([]Entry, error) {
	if err := s.m.begin(ctx, OpNext); err != nil {
		return nil, err
	}
	if s.closed {
		return nil, s.m.unavailable(OpNext, "snapshot closed")
	}
	if len(s.left) == 0 {
		return nil, io.EOF
	}
	var entries []Entry
	for len(s.left) > 0 && len(entries) < max(maxEntries, 1) {
		e := s.left[0]
		s.left = s.left[1:]
		entries = append(entries, clone(e))
		if maxBytes -= e.Size; maxBytes <= 0 {
			break
		}
	}
	return entries, nil
}

// Close implements Snapshot.
func (s *memorySnapshot) Close() error {
	s.closed, s.left = true, nil
	return nil
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
