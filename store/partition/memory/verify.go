package memory

import (
	"context"
	"fmt"

	"github.com/runnelkv/runnel/store/partition"
)

// Digest implements partition.Verifier.
func (m *Partition) Digest(ctx context.Context, s partition.DigestSpan) (d partition.Digest, err error) {
	err = m.view(ctx, OpDigest, func() error {
		rows, err := m.db.rows(partition.Span{From: s.From, To: s.To, Limit: s.Limit})
		d = partition.DigestRows(s, rows)
		return err
	})
	return d, err
}

// Rows implements partition.Verifier.
func (m *Partition) Rows(ctx context.Context, s partition.Span) (rows []partition.Entry, err error) {
	err = m.view(ctx, OpRows, func() error {
		rows, err = m.db.rows(s)
		return err
	})
	return rows, err
}

func (db *database) rows(s partition.Span) (rows []partition.Entry, err error) {
	if s.Limit < 1 {
		return nil, fmt.Errorf("limit %d", s.Limit)
	}
	for _, k := range db.index.from(s.From) {
		if s.To != "" && k >= s.To || len(rows) == s.Limit {
			break
		}
		rows = append(rows, head(db.entries[k]))
	}
	return rows, nil
}

// RowCount implements partition.Verifier.
func (m *Partition) RowCount(ctx context.Context) (n int64, err error) {
	err = m.view(ctx, OpRows, func() error {
		n = int64(len(m.db.entries))
		return nil
	})
	return n, err
}

// Repair implements partition.Verifier.
func (m *Partition) Repair(ctx context.Context, r partition.Repair) error {
	return m.update(ctx, OpRepair, func() error {
		if err := r.Check(); err != nil {
			return err
		}
		var old []partition.Entry
		if r.Damaged != nil {
			if e, ok := m.db.entries[r.Damaged.Key]; ok {
				old = append(old, e)
			}
		}
		if err := r.CheckStored(old, m.db.positions[r.Right.Origin].Revision); err != nil {
			return err
		}
		if _, taken := m.db.entries[r.Right.Key]; taken && r.Adds() {
			return fmt.Errorf("%w: there is a row of %q", partition.ErrPositionMoved, r.Right.Key)
		}
		if r.Damaged != nil {
			m.db.remove(r.Damaged.Origin, func(e partition.Entry) bool { return e.Key == r.Damaged.Key })
		}
		m.db.put(r.Right)
		return nil
	})
}

// Verification implements partition.Verifier.
func (m *Partition) Verification(ctx context.Context) (v partition.Verification, err error) {
	err = m.view(ctx, OpVerified, func() error {
		v = m.db.verification
		return nil
	})
	return v, err
}

// NoteVerification implements partition.Verifier.
func (m *Partition) NoteVerification(ctx context.Context, v partition.Verification) error {
	return m.update(ctx, OpVerify, func() error {
		m.db.verification = v
		return nil
	})
}
