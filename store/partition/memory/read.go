package memory

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
)

// Get implements Reader.
func (m *Partition) Get(ctx context.Context, keys []partition.Key) ([]partition.Entry, error) {
	if err := m.begin(ctx, OpGet); err != nil {
		return nil, err
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	return m.db.get(keys, math.MaxInt64), nil
}

// GetSmall implements Reader.
func (m *Partition) GetSmall(ctx context.Context, keys []partition.Key, most int64) ([]partition.Entry, error) {
	if err := m.begin(ctx, OpGet); err != nil {
		return nil, err
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	return m.db.get(keys, most), nil
}

func (db *database) get(keys []partition.Key, most int64) []partition.Entry {
	var entries []partition.Entry
	seen := make(map[partition.Key]bool, len(keys))
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
func (m *Partition) List(ctx context.Context, s partition.Span) (entries []partition.Entry, more bool, err error) {
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

func (db *database) list(s partition.Span) (entries []partition.Entry, more bool) {
	left := cmp.Or(s.Bytes, partition.DefaultSpanBytes)
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
func (m *Partition) Newest(ctx context.Context, origin partition.Origin, limit int) ([]partition.Entry, error) {
	if err := m.begin(ctx, OpNewest); err != nil {
		return nil, err
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	held := m.db.between(origin, 0, m.db.positions[origin].Revision)
	slices.Reverse(held)
	newest := make([]partition.Entry, 0, min(limit, len(held)))
	for _, e := range held[:min(limit, len(held))] {
		newest = append(newest, head(e))
	}
	return newest, nil
}

// Positions implements Reader.
func (m *Partition) Positions(ctx context.Context) (partition.Positions, error) {
	if err := m.begin(ctx, OpPositions); err != nil {
		return partition.Positions{}, err
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	return partition.Positions{Now: m.db.instant(), Origins: maps.Clone(m.db.positions)}, nil
}

// Snapshot implements Source: a copy of all entries it will give.
func (m *Partition) Snapshot(ctx context.Context, origin partition.Origin, after partition.Revision) (partition.Snapshot, error) {
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
	return &snapshot{m: m, position: p, left: m.db.between(origin, after, p.Revision)}, nil
}

// between lists what is held of origin after a revision and up to another, in
// order of revisions.
func (db *database) between(origin partition.Origin, after, upTo partition.Revision) []partition.Entry {
	var entries []partition.Entry
	for _, e := range db.entries {
		if e.Origin == origin && e.Revision > after && e.Revision <= upTo {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b partition.Entry) int { return cmp.Compare(a.Revision, b.Revision) })
	return entries
}

// memorySnapshot holds stored entries, which are cloned only as they leave.
type snapshot struct {
	m        *Partition
	position partition.Position
	left     []partition.Entry
	closed   bool
}

// Position implements Snapshot.
func (s *snapshot) Position() partition.Position { return s.position }

// Next implements Snapshot.
func (s *snapshot) Next(ctx context.Context, maxEntries int, maxBytes int64) ([]partition.Entry, error) {
	if err := s.m.begin(ctx, OpNext); err != nil {
		return nil, err
	}
	if s.closed {
		return nil, s.m.unavailable(OpNext, "snapshot closed")
	}
	if len(s.left) == 0 {
		return nil, io.EOF
	}
	var entries []partition.Entry
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
func (s *snapshot) Close() error {
	s.closed, s.left = true, nil
	return nil
}

// Expired implements Master.
func (m *Partition) Expired(ctx context.Context, limit int) ([]partition.Key, error) {
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

func (db *database) expired(limit int) []partition.Key {
	now := db.instant()
	var entries []partition.Entry
	for _, e := range db.entries {
		if e.Origin == db.name && !e.Deleted && !e.Live(now) {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b partition.Entry) int { return cmp.Compare(a.ExpiresAt, b.ExpiresAt) })
	var keys []partition.Key
	for _, e := range entries[:min(len(entries), limit)] {
		keys = append(keys, e.Key)
	}
	return keys
}
