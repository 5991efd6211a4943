package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Kind is the kind of a finding.
type Kind string

const (
	Damaged Kind = "damaged" // the row does not match the checksum
	Missing Kind = "missing" // the partition has passed the row, and does not hold it
	Differs Kind = "differs" // the row matches the checksum, and differs from another that does
)

// Finding is a wrong row of a partition.
type Finding struct {
	Kind      Kind
	Partition string
	Key       partition.Key
	Origin    partition.Origin
	Revision  partition.Revision
	From      string // the partition with the right row; "": there is none
	Repaired  bool
	Why       string // the row was not repaired: the reason
}

// held is the copy of a row on a partition.
type held struct {
	p             partition.Partition
	before, after partition.Positions // before and after the row was read
	row           *partition.Entry    // nil: the partition has no row
	damaged       bool
}

// isWhole reports whether the partition was complete for every origin.
func (h *held) isWhole() bool { return isWhole(h.p, h.before) && isWhole(h.p, h.after) }

func isWhole(p partition.Partition, at partition.Positions) bool {
	for o, position := range at.Origins {
		if position.CatchingUp() || string(o) != p.Name() && !position.Filled() {
			return false
		}
	}
	return true
}

// covers reports whether the copy holds every change that another partition can have held.
func (h *held) covers(o *held) bool {
	for origin, at := range o.after.Origins {
		if h.before.Origins[origin].Revision < at.Revision {
			return false
		}
	}
	return true
}

// same reports whether two rows are equal.
func same(a, b *partition.Entry) bool {
	return a != nil && b != nil && a.SameHead(b) && bytes.Equal(a.Value, b.Value)
}

// look reads a row on all partitions. A damaged row that has not changed since an earlier look keeps the positions of that look:
// the row is no newer, and another partition catches up with these positions even while entries are written.
func look(ctx context.Context, parts []partition.Partition, k partition.Key, earlier []held) ([]held, error) {
	copies := make([]held, len(parts))
	var err error
	for i, p := range parts {
		copies[i].p = p
		if copies[i].before, err = p.Positions(ctx); err != nil {
			return nil, err
		}
	}
	for i := range copies {
		h := &copies[i]
		rows, err := h.p.Get(ctx, []partition.Key{k})
		if err != nil {
			return nil, err
		}
		if len(rows) > 0 {
			h.row = &rows[0]
		}
		if h.after, err = h.p.Positions(ctx); err != nil {
			return nil, err
		}
		h.damaged = h.row != nil && (!h.row.Intact() || h.isWhole() && h.row.Revision > h.after.Origins[h.row.Origin].Revision)
		if h.damaged && earlier != nil && same(h.row, earlier[i].row) {
			h.after = earlier[i].after
		}
	}
	return copies, nil
}

// Patience is how long Row waits for a copy that lags behind a damaged row.
const Patience = 2 * time.Second

const (
	later    = "its copies lag behind, or are ahead"
	noCopy   = "no partition has a right copy"
	conflict = "copies that match their checksums differ"
)

// Row compares a row on all partitions, and repairs wrong copies.
func Row(ctx context.Context, parts []partition.Partition, k partition.Key, repair bool) (findings []Finding, err error) {
	var copies []held
	var repaired []Finding
	for pause, waited := 10*time.Millisecond, time.Duration(0); ; waited, pause = waited+pause, 2*pause {
		if copies, err = look(ctx, parts, k, copies); err != nil {
			return nil, fmt.Errorf("look at %q: %w", k, err)
		}
		r := &row{ctx: ctx, key: k, copies: copies, repairs: repair}
		if findings, err = r.judge(); err != nil || !r.again || waited >= Patience {
			return append(repaired, findings...), err
		}
		for _, f := range findings {
			if f.Repaired { // the next look finds nothing wrong there
				repaired = append(repaired, f)
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// row is a look at a row on all partitions.
type row struct {
	ctx     context.Context
	key     partition.Key
	copies  []held
	repairs bool
	again   bool // another look may find more
}

// judge lists the wrong copies, and repairs them.
func (r *row) judge() (findings []Finding, err error) {
	for i := range r.copies {
		h := &r.copies[i]
		var f *Finding
		if h.damaged {
			f, err = r.judgeDamaged(h)
		} else {
			f, err = r.judgeIntact(h)
		}
		if err != nil {
			return nil, err
		}
		if f != nil {
			findings = append(findings, *f)
		}
	}
	return findings, nil
}

// finding is a finding about the copy h, with the right copy, if one is known.
func (r *row) finding(kind Kind, h, from *held, right *partition.Entry) *Finding {
	f := &Finding{Kind: kind, Partition: h.p.Name(), Key: r.key}
	if h.row != nil {
		f.Origin, f.Revision = h.row.Origin, h.row.Revision
	}
	if right != nil {
		f.Origin, f.Revision, f.From = right.Origin, right.Revision, from.p.Name()
	}
	return f
}

// judgeDamaged looks for a right copy of a damaged row.
func (r *row) judgeDamaged(h *held) (*Finding, error) {
	var from *held
	lag := false
	for i := range r.copies {
		c := &r.copies[i]
		switch {
		case c == h || c.damaged:
		case !c.isWhole() || !c.covers(h):
			lag = true
		case from == nil, from.row == nil, c.row != nil && c.row.Revision > from.row.Revision:
			from = c
		case c.row != nil && c.row.Revision == from.row.Revision && !same(c.row, from.row):
			f := r.finding(Damaged, h, nil, nil)
			f.Why = conflict
			return f, nil
		}
	}
	f := r.finding(Damaged, h, nil, nil)
	if from == nil {
		if f.Why = noCopy; lag {
			f.Why, r.again = later, true
		}
		return f, nil
	}
	right := from.row
	if right == nil {
		twin, err := entryAt(r.ctx, from.p, h.row.Origin, h.row.Revision)
		if err != nil || !isRenamed(h.row, twin) {
			f.Why = noCopy
			return f, err
		}
		right = twin
	}
	f = r.finding(Damaged, h, from, right)
	if right.Revision > h.after.Origins[right.Origin].Revision {
		f.Why, r.again = later, true
		return f, nil
	}
	return f, r.repair(f, h, partition.Repair{Damaged: h.row, Right: *right})
}

// isRenamed reports whether a damaged row differs from a right row in the key alone.
func isRenamed(damaged, right *partition.Entry) bool {
	if right == nil || !right.Intact() || right.Key == damaged.Key {
		return false
	}
	renamed := *damaged
	renamed.Key = right.Key
	return same(&renamed, right)
}

// entryAt returns the row of a partition with a revision of an origin, or nil.
func entryAt(ctx context.Context, p partition.Partition, o partition.Origin, at partition.Revision) (*partition.Entry, error) {
	s, err := p.Snapshot(ctx, o, at-1)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }() // nothing was written
	entries, err := s.Next(ctx, 1, 1)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil || entries[0].Revision != at {
		return nil, err
	}
	return &entries[0], nil
}

// judgeIntact compares a copy that is not damaged with the newest right row.
func (r *row) judgeIntact(h *held) (*Finding, error) {
	if !h.isWhole() {
		return nil, nil
	}
	var from *held
	for i := range r.copies {
		c := &r.copies[i]
		switch {
		case c.damaged || c.row == nil:
		case h.row != nil && c.row.Revision == h.row.Revision && !same(c.row, h.row):
			f := r.finding(Differs, h, nil, nil)
			f.Why = conflict
			return f, nil
		case from == nil || c.row.Revision > from.row.Revision:
			from = c
		}
	}
	if from == nil || h.before.Origins[from.row.Origin].Revision < from.row.Revision {
		return nil, nil // the partition has not passed the newest row
	}
	switch right := from.row; {
	case h.row == nil && right.Deleted && right.Revision <= h.after.Origins[right.Origin].Collected:
		return nil, nil
	case h.row == nil:
		return r.judgeMissing(h, from)
	case h.row.Revision < right.Revision:
		f := r.finding(Differs, h, from, right)
		f.Why = conflict
		return f, nil
	}
	return nil, nil
}

// judgeMissing restores a row that a partition lacks. The key may be damaged there, or deleted: by a tombstone that was collected, and
// that the partition with the row has not passed.
func (r *row) judgeMissing(h, from *held) (*Finding, error) {
	f := r.finding(Missing, h, from, from.row)
	twin, err := entryAt(r.ctx, h.p, from.row.Origin, from.row.Revision)
	if err != nil {
		return nil, err
	}
	if twin != nil && !twin.Intact() {
		f.Kind = Damaged
		return f, r.repair(f, h, partition.Repair{Damaged: twin, Right: *from.row})
	}
	for origin, at := range h.after.Origins {
		if !from.isWhole() || from.before.Origins[origin].Revision < at.Collected {
			f.Why = "the key may have been deleted, by a tombstone that was collected"
			return f, nil
		}
	}
	return f, r.repair(f, h, partition.Repair{Right: *from.row})
}

// repair repairs a copy, if repairs are wanted.
func (r *row) repair(f *Finding, h *held, repair partition.Repair) error {
	if !r.repairs {
		f.Why = "repairs were not asked for"
		return nil
	}
	err := h.p.Repair(r.ctx, repair)
	switch {
	case err == nil:
		f.Repaired = true
	case errors.Is(err, partition.ErrPositionMoved):
		f.Why, r.again = later, true
	case errors.Is(err, partition.ErrUnavailable):
		return err
	default:
		f.Why = err.Error()
	}
	return nil
}
