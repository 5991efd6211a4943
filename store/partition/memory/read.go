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

// Usage implements partition.Reader.
func (m *Partition) Usage(ctx context.Context, s partition.Span) (u partition.Usage, err error) {
	err = m.view(ctx, OpUsage, func() error {
		if s.Limit < 1 {
			return fmt.Errorf("limit %d", s.Limit)
		}
		u = m.db.usage(s)
		return nil
	})
	return u, err
}

func (db *database) usage(s partition.Span) partition.Usage {
	u, now := partition.Usage{Revision: db.positions[db.name].Revision}, db.instant()
	for i, k := range db.index.from(s.From) {
		if s.To != "" && k >= s.To {
			break
		}
		if e := db.entries[k]; e.Origin == db.name && e.Live(now) {
			u.Keys, u.Bytes = u.Keys+1, u.Bytes+e.Size
		}
		if i+1 == s.Limit {
			u.Last = k
			break
		}
	}
	return u
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
		p = m.db.allPositions()
		return nil
	})
	return p, err
}

// Counter implements partition.Master.
func (m *Partition) Counter(ctx context.Context) (r partition.Revision, err error) {
	err = m.view(ctx, OpCounter, func() error {
		r = m.db.positions[m.db.name].Revision
		return nil
	})
	return r, err
}

func (db *database) allPositions() partition.Positions {
	p := partition.Positions{Now: db.instant(), Origins: maps.Clone(db.positions), VerifiedAt: db.verification.VerifiedAt}
	if db.cluster != nil {
		p.Epoch, p.Ballot = db.cluster.Epoch, db.cluster.Accepted
	}
	return p
}

// Expired implements partition.Master.
func (m *Partition) Expired(ctx context.Context, s partition.ExpirySpan) (keys []partition.ExpiredKey, err error) {
	err = m.view(ctx, OpExpired, func() error {
		if s.Limit < 1 {
			return fmt.Errorf("limit %d", s.Limit)
		}
		keys = m.db.expired(s)
		return nil
	})
	return keys, err
}

func (db *database) expired(s partition.ExpirySpan) (keys []partition.ExpiredKey) {
	now := db.instant()
	for _, e := range db.entries {
		k := partition.ExpiredKey{At: e.ExpiresAt, Key: e.Key}
		if e.Origin == s.Origin && !e.Deleted && !e.Live(now) && (s.Until == 0 || k.At <= s.Until) && k.Compare(s.After) > 0 {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, partition.ExpiredKey.Compare)
	return keys[:min(len(keys), s.Limit)]
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
		s.heads = maps.Clone(m.db.positions)
		if m.db.cluster != nil {
			s.epoch = m.db.cluster.Epoch
		}
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
	epoch    int64
	heads    map[partition.Origin]partition.Position
	rest     []partition.Entry
	closed   bool
}

// Position implements partition.Snapshot.
func (s *snapshot) Position() partition.Position { return s.position }

// Heads implements partition.Snapshot.
func (s *snapshot) Heads() (int64, map[partition.Origin]partition.Position) { return s.epoch, s.heads }

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
