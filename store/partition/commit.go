package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Commit implements Master.
func (s *SQL) Commit(ctx context.Context, b Batch) (Claim, error) {
	ctx, done, err := s.begin(ctx, "commit")
	if err != nil {
		return Claim{}, err
	}
	defer done()
	if b.Decide != nil {
		b.Write = nil
	}
	if warnings := s.unsafe(); len(warnings) > 0 {
		err = fmt.Errorf("%w: require_durable is set, and %s", ErrRefused, strings.Join(warnings, "; "))
	} else if err = s.fit(b.Write); err == nil {
		err = b.check()
	}
	if err != nil {
		return Claim{}, s.failed("commit", err)
	}
	b.Write = of(s.name, b.Write)
	b.Heads = without(b.Heads, b.Read)
	return s.commit(ctx, b)
}

// unsafe are the warnings, if they keep commits from being made.
func (s *SQL) unsafe() []string {
	if !s.durable {
		return nil
	}
	return s.Warnings()
}

// check refuses a batch that cannot succeed, before anything is sent.
func (b *Batch) check() error {
	if b.Revisions < 1 {
		return fmt.Errorf("claim of %d revisions", b.Revisions)
	}
	return checkClaimed(b.Write, 0, b.Revisions)
}

// claimable returns the bounds under which the claim succeeds: from ≤ counter and
// counter + Revisions < below.
func (b *Batch) claimable() (from, below Revision) {
	from, below = max(Floor(b.Epoch), b.AtLeast), Floor(b.Epoch+1)
	if b.After != 0 {
		from, below = max(from, b.After), min(below, b.After+Revision(b.Revisions)+1)
	}
	return from, below
}

// unclaimed is why a counter that is elsewhere was left alone.
func (b *Batch) unclaimed() error {
	if b.After != 0 {
		return fmt.Errorf("%w: it is not at %d, or of another epoch than %d", ErrPositionMoved, b.After, b.Epoch)
	}
	return fmt.Errorf("%w: its counter is not of epoch %d, or below %d, which it has reached before", ErrStaleEpoch, b.Epoch, b.AtLeast)
}

func (s *SQL) commit(ctx context.Context, b Batch) (Claim, error) {
	for attempt := 1; ; attempt++ {
		claim, err := s.dialect.commit(ctx, b)
		if err == nil {
			return claim, nil
		}
		var undecided *decideError
		if errors.As(err, &undecided) {
			return Claim{}, undecided.err
		}
		if !s.again(ctx, attempt, err) {
			return Claim{}, s.failed("commit", err)
		}
	}
}

// decideError carries an error of Batch.Decide past all that explains errors.
type decideError struct{ err error }

func (e *decideError) Error() string { return e.err.Error() }

// decided is what the batch writes after its decision.
func (b *Batch) decided(c Claim, origin Origin, maxValueBytes int64) ([]Entry, error) {
	entries, err := b.Decide(c)
	if err != nil {
		return nil, &decideError{err}
	}
	if err := fit(entries, maxValueBytes); err != nil {
		return nil, err
	}
	if err := checkClaimed(entries, c.First, b.Revisions); err != nil {
		return nil, err
	}
	return of(origin, entries), nil
}

// of copies entries as written by origin.
func of(origin Origin, entries []Entry) []Entry {
	entries = slices.Clone(entries)
	for i := range entries {
		entries[i].Origin = origin
	}
	return entries
}

// checkClaimed refuses entries outside the claim, and two of one key or revision.
func checkClaimed(entries []Entry, first Revision, n int) error {
	taken := make([]bool, n)
	keys := make(map[Key]struct{}, len(entries))
	for i := range entries {
		k, offset := entries[i].Key, entries[i].Revision-first
		if offset < 0 || offset >= Revision(n) {
			return fmt.Errorf("revision %d of %q is outside the claim", entries[i].Revision, k)
		}
		if _, twice := keys[k]; twice || taken[offset] {
			return fmt.Errorf("second entry of key %q or revision %d", k, entries[i].Revision)
		}
		keys[k], taken[offset] = struct{}{}, true
	}
	return nil
}

// without lists the keys that are not among others.
func without(keys, others []Key) []Key {
	if len(keys) == 0 || len(others) == 0 {
		return keys
	}
	read := make(map[Key]struct{}, len(others))
	for _, k := range others {
		read[k] = struct{}{}
	}
	var rest []Key
	for _, k := range keys {
		if _, ok := read[k]; !ok {
			rest = append(rest, k)
		}
	}
	return rest
}

// placeholders is "(?,?,…)" with n of them.
func placeholders(n int) string {
	return "(" + strings.Repeat("?,", n-1) + "?)"
}
