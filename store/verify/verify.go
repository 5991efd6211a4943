package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/store/partition"
)

// Options configure a Run. The zero value of a field means its default.
type Options struct {
	Deep   bool    // read the values too, and compare each row with its checksum
	Repair bool    // repair wrong rows from right copies
	Afresh bool    // begin anew, also if an earlier verification was interrupted
	Rows   int     // rows of a range, default 1000
	Rest   float64 // pause after each range, in units of the time that the range took, default 1; negative: none

	Found    func(Finding)           // called for each wrong row
	Progress func(done, total int64) // called after each range: rows that were compared, and an estimate of all
	Now      func() time.Time        // default time.Now
	Logger   *slog.Logger            // default slog.Default()
}

func (o Options) withDefaults() Options {
	o.Rows = cmp.Or(o.Rows, 1000)
	o.Rest = cmp.Or(o.Rest, 1)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	if o.Found == nil {
		o.Found = func(Finding) {}
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Report is the outcome of a Run.
type Report struct {
	Compared int64    // rows that were compared, also before an interruption
	Found    int64    // wrong rows
	Repaired int64    // wrong rows that were repaired
	Before   int64    // wrong rows that were found before an interruption
	Verified []string // partitions that were verified in full
	Left     []string // partitions that were not: why
	Resumed  bool     // an interrupted verification went on
}

// IsClean reports whether every row was right, and every partition was verified.
func (r *Report) IsClean() bool { return r.Found+r.Before == 0 && len(r.Left) == 0 }

// member is a partition of a run.
type member struct {
	partition.Partition
	left error // why the partition is not compared any more
}

// run is a run over all keys.
type run struct {
	o       Options
	members []*member
	report  Report
	state   partition.Verification
	savedAt time.Time
	total   int64
}

// errTooFew: there is nothing to compare.
var errTooFew = errors.New("no partition can be read")

// Run compares all partitions over all keys. A partition that fails is left out from then on. When ctx ends, Run returns its
// error, and a later Run goes on at the same key.
func Run(ctx context.Context, parts []partition.Partition, o Options) (Report, error) {
	r := &run{o: o.withDefaults()}
	for _, p := range parts {
		r.members = append(r.members, &member{Partition: p})
	}
	bounds, err := r.bounds(ctx)
	if err != nil {
		return r.report, err
	}
	r.resume(ctx)
	if err := r.compareAll(ctx, bounds); err != nil {
		r.save(context.WithoutCancel(ctx), 0)
		return r.report, err
	}
	return r.report, r.finish(ctx)
}

// compareAll compares range after range. Bounds are read again before each range, so that they are recent.
func (r *run) compareAll(ctx context.Context, bounds []partition.Bound) error {
	for {
		began := time.Now()
		next, err := r.compareRange(ctx, r.state.Next, bounds)
		if err != nil || next == "" {
			return err
		}
		r.state.Next = next
		r.o.Progress(r.state.Compared, max(r.total, r.state.Compared))
		r.save(ctx, time.Second)
		if err = rest(ctx, time.Duration(float64(time.Since(began))*r.o.Rest)); err == nil {
			bounds, err = r.bounds(ctx)
		}
		if err != nil {
			return err
		}
	}
}

func rest(ctx context.Context, pause time.Duration) error {
	if pause <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}

// compared returns the partitions that are compared.
func (r *run) compared() []*member {
	return slices.DeleteFunc(slices.Clone(r.members), func(m *member) bool { return m.left != nil })
}

// drop leaves a partition out, unless ctx has ended.
func (r *run) drop(ctx context.Context, m *member, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	m.left = err
	r.o.Logger.Warn("a partition is not verified", "partition", m.Name(), "error", err)
	return nil
}

// resume goes on with an interrupted run if all partitions were part of it.
func (r *run) resume(ctx context.Context) {
	members := r.compared()
	if n, err := members[0].RowCount(ctx); err == nil {
		r.total = n
	}
	r.state = partition.Verification{BeganAt: partition.InstantOf(r.o.Now()), Deep: r.o.Deep}
	if r.o.Afresh {
		return
	}
	var least partition.Verification
	for i, m := range members {
		state, err := m.Verification(ctx)
		if err != nil || state.BeganAt == 0 || state.Deep != r.o.Deep || state.Next == "" {
			return // tables of the schema before hold no state
		}
		if i == 0 || state.Next < least.Next {
			least = state
		}
	}
	r.state, r.report.Resumed, r.report.Before, r.report.Compared = least, true, least.Differences, least.Compared
}

// save stores the state on every partition, unless it was stored less than every ago. A failure costs a later run time, and
// nothing else.
func (r *run) save(ctx context.Context, every time.Duration) {
	if time.Since(r.savedAt) < every {
		return
	}
	for _, m := range r.compared() {
		was, err := m.Verification(ctx)
		if err == nil {
			state := r.state
			state.VerifiedAt = was.VerifiedAt
			err = m.NoteVerification(ctx, state)
		}
		r.warnUnlessRefused(m, err)
	}
	r.savedAt = time.Now()
}

func (r *run) warnUnlessRefused(m *member, err error) {
	if err != nil && !errors.Is(err, partition.ErrRefused) { // tables of the schema before hold no state
		r.o.Logger.Warn("the state of the verification is not stored", "partition", m.Name(), "error", err)
	}
}

// finish records on each partition that it was verified.
func (r *run) finish(ctx context.Context) error {
	done := partition.Verification{VerifiedAt: partition.InstantOf(r.o.Now())}
	for _, m := range r.members {
		if m.left != nil {
			r.report.Left = append(r.report.Left, fmt.Sprintf("%s: %v", m.Name(), m.left))
			continue
		}
		r.report.Verified = append(r.report.Verified, m.Name())
		r.warnUnlessRefused(m, m.NoteVerification(ctx, done))
	}
	return ctx.Err()
}

// errNotWhole: a partition is being filled, or amid a catch-up.
var errNotWhole = errors.New("the partition does not hold everything yet")

// wholeTimeout is how long a partition may be amid a catch-up.
const wholeTimeout = 10 * time.Second

// wholePositions reads the positions of a partition that holds everything up to them.
func wholePositions(ctx context.Context, p partition.Partition) (at partition.Positions, err error) {
	for until := time.Now().Add(wholeTimeout); ; {
		if at, err = p.Positions(ctx); err != nil || isWhole(p, at) && len(at.Origins) > 0 {
			return at, err
		}
		if time.Now().After(until) {
			return at, errNotWhole
		}
		if err := rest(ctx, wholeTimeout/100); err != nil {
			return at, err
		}
	}
}

// bounds returns for each origin the revision that all partitions hold. A partition that is not whole is left out.
func (r *run) bounds(ctx context.Context) ([]partition.Bound, error) {
	var all []partition.Positions
	for _, m := range r.compared() {
		at, err := wholePositions(ctx, m)
		if err != nil {
			if err := r.drop(ctx, m, err); err != nil {
				return nil, err
			}
			continue
		}
		all = append(all, at)
	}
	if len(all) == 0 {
		return nil, errTooFew
	}
	var bounds []partition.Bound
	for origin, first := range all[0].Origins {
		b := partition.Bound{Origin: origin, Revision: first.Revision, Collected: first.Collected}
		for _, at := range all[1:] {
			p := at.Origins[origin]
			b.Revision, b.Collected = min(b.Revision, p.Revision), max(b.Collected, p.Collected)
		}
		bounds = append(bounds, b)
	}
	return bounds, nil
}

// compareRange compares a range of keys, and returns the first key after the range; "": the range was the last. If a partition
// fails, the rest is compared once more.
func (r *run) compareRange(ctx context.Context, from partition.Key, bounds []partition.Bound) (next partition.Key, err error) {
	seen := make(map[partition.Key]bool)
	for {
		members := r.compared()
		if len(members) == 0 {
			return "", fmt.Errorf("%w: %w", errTooFew, r.members[0].left)
		}
		span := partition.DigestSpan{From: from, Limit: r.o.Rows, Bounds: bounds}
		first, err := members[0].Digest(ctx, span)
		if err != nil {
			err = r.drop(ctx, members[0], err)
		} else {
			if first.Last != "" {
				span.To = first.Last + "\x00"
			}
			err = r.compareSpan(ctx, members, span, first, seen)
		}
		if err != nil {
			return "", err
		}
		if len(r.compared()) == len(members) {
			r.state.Compared += first.Rows
			r.report.Compared = r.state.Compared
			return span.To, nil
		}
	}
}

// compareSpan compares the rows of a span with a known digest of the first partition.
func (r *run) compareSpan(ctx context.Context, members []*member, span partition.DigestSpan, first partition.Digest, seen map[partition.Key]bool) error {
	equal, err := r.digestOthers(ctx, members, span, first)
	if err == nil && !equal {
		err = r.compareRows(ctx, span, seen)
	}
	if err == nil && r.o.Deep {
		err = r.readValues(ctx, span, seen)
	}
	return err
}

// digestOthers reports whether the digests of the other partitions are that of the first.
func (r *run) digestOthers(ctx context.Context, members []*member, span partition.DigestSpan, first partition.Digest) (equal bool, err error) {
	span.Limit = 4 * r.o.Rows
	digests, errs := make([]partition.Digest, len(members)), make([]error, len(members))
	var group errgroup.Group
	for i := 1; i < len(members); i++ {
		group.Go(func() error {
			digests[i], errs[i] = members[i].Digest(ctx, span)
			return nil
		})
	}
	_ = group.Wait() // see errs
	equal = true
	for i := 1; i < len(members); i++ {
		if errs[i] != nil {
			if err := r.drop(ctx, members[i], errs[i]); err != nil {
				return false, err
			}
			continue
		}
		equal = equal && digests[i].Last == "" && digests[i].Matches(first)
	}
	return equal, nil
}

// examine looks at a row on all partitions, once in a range.
func (r *run) examine(ctx context.Context, k partition.Key, seen map[partition.Key]bool) error {
	if seen[k] {
		return nil
	}
	seen[k] = true
	var parts []partition.Partition
	for _, m := range r.compared() {
		parts = append(parts, m.Partition)
	}
	findings, err := Row(ctx, parts, k, r.o.Repair)
	if err != nil {
		delete(seen, k)
		err = r.dropFailed(ctx, err)
	}
	for _, f := range findings {
		r.report.Found++
		r.state.Differences++
		if f.Repaired {
			r.report.Repaired++
		}
		r.o.Found(f)
	}
	return err
}

// dropFailed drops the partitions that do not answer any more after a look at a row has failed. If all answer, the error is returned.
func (r *run) dropFailed(ctx context.Context, err error) error {
	failed := false
	for _, m := range r.compared() {
		if _, unread := m.Positions(ctx); unread != nil {
			failed = true
			if err := r.drop(ctx, m, unread); err != nil {
				return err
			}
		}
	}
	if failed {
		return nil
	}
	return err
}
