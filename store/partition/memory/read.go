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

// Get implements partition.Reader.
func (m *Partition) Get(ctx context.Context, keys []partition.Key) ([]partition.Entry, error) {
	return m.GetSmall(ctx, keys, math.MaxInt64)
}

// GetSmall implements partition.Reader.
func (m *Partition) GetSmall(ctx context.Context, keys []partition.Key, most int64) (entries []partition.Entry, err error) {
	err = m.view(ctx, OpGet, func() error {
		entries = m.db.get(keys, most)
		return nil
	})
	return entries, err
}

// get returns values of at most most bytes.
func (db *database) get(keys []partition.Key, most int64) (entries []partition.Entry) {
	seen := make(map[partition.Key]bool, len(keys))
	for _, k := range keys {
		if e, ok := db.entries[k]; ok && !seen[k] {
			entries = append(entries, copyOf(e, e.Size <= most))
		}
		seen[k] = true
	}
	return entries
}

func copyOf(e partition.Entry, value bool) partition.Entry {
	if value {
		return clone(e)
	}
	return head(e)
}

// List implements partition.Reader. Its more is exact.
func (m *Partition) List(ctx context.Context, s partition.Span) (entries []partition.Entry, more bool, err error) {
	err = m.view(ctx, OpList, func() error {
		if s.Limit < 1 {
			return fmt.Errorf("limit %d", s.Limit)
		}
		entries, more = m.db.list(s)
		return nil
	})
	return entries, more, err
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
		entries = append(entries, copyOf(e, s.Values))
		if s.Values {
			left -= e.Size
		}
	}
	return entries, false
}

// Newest implements partition.Reader.
func (m *Partition) Newest(ctx context.Context, origin partition.Origin, limit int) (newest []partition.Entry, err error) {
	err = m.view(ctx, OpNewest, func() error {
		entries := m.db.between(origin, 0, m.db.positions[origin].Revision)
		slices.Reverse(entries)
		for _, e := range entries[:min(limit, len(entries))] {
			newest = append(newest, head(e))
		}
		return nil
	})
	return newest, err
}

// Positions implements partition.Reader.
func (m *Partition) Positions(ctx context.Context) (p partition.Positions, err error) {
	err = m.view(ctx, OpPositions, func() error {
		p = partition.Positions{Now: m.db.instant(), Origins: maps.Clone(m.db.positions)}
		return nil
	})
	return p, err
}

// Expired implements partition.Master.
func (m *Partition) Expired(ctx context.Context, limit int) (keys []partition.Key, err error) {
	err = m.view(ctx, OpExpired, func() error {
		if limit < 1 {
			return fmt.Errorf("limit %d", limit)
		}
		keys = m.db.expired(limit)
		return nil
	})
	return keys, err
}

func (db *database) expired(limit int) (keys []partition.Key) {
	now := db.instant()
	var entries []partition.Entry
	for _, e := range db.entries {
		if e.Origin == db.name && !e.Deleted && !e.Live(now) {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b partition.Entry) int { return cmp.Compare(a.ExpiresAt, b.ExpiresAt) })
	for _, e := range entries[:min(len(entries), limit)] {
		keys = append(keys, e.Key)
	}
	return keys
}

// Snapshot implements partition.Source.
func (m *Partition) Snapshot(ctx context.Context, origin partition.Origin, after partition.Revision) (partition.Snapshot, error) {
	s := &snapshot{m: m}
	err := m.view(ctx, OpSnapshot, func() error {
		p := m.db.positions[origin]
		p.Origin = origin
		if origin == m.db.name {
			p.SyncedAt = m.db.instant()
		}
		s.position, s.rest = p, m.db.between(origin, after, p.Revision)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// between lists the entries of origin with after < revision ≤ upTo, in the order of revisions.
func (db *database) between(origin partition.Origin, after, upTo partition.Revision) (entries []partition.Entry) {
	for _, e := range db.entries {
		if e.Origin == origin && e.Revision > after && e.Revision <= upTo {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b partition.Entry) int { return cmp.Compare(a.Revision, b.Revision) })
	return entries
}

// snapshot holds stored entries; Next clones them.
type snapshot struct {
	m        *Partition
	position partition.Position
	rest     []partition.Entry
	closed   bool
}

// Position implements partition.Snapshot.
func (s *snapshot) Position() partition.Position { return s.position }

// Next implements partition.Snapshot.
func (s *snapshot) Next(ctx context.Context, maxEntries int, maxBytes int64) (entries []partition.Entry, err error) {
	if err := s.m.begin(ctx, OpNext); err != nil {
		return nil, err
	}
	if s.closed {
		return nil, s.m.unavailable(OpNext, "snapshot closed")
	}
	if len(s.rest) == 0 {
		return nil, io.EOF
	}
	for len(s.rest) > 0 && len(entries) < max(maxEntries, 1) {
		e := s.rest[0]
		s.rest = s.rest[1:]
		entries = append(entries, clone(e))
		if maxBytes -= e.Size; maxBytes <= 0 {
			break
		}
	}
	return entries, nil
}

// Close implements partition.Snapshot.
func (s *snapshot) Close() error {
	s.closed, s.rest = true, nil
	return nil
}
