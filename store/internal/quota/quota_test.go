package quota_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/internal/quota"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// writer writes on a master as a committer does: a commit at a time.
type writer struct {
	*memory.Partition
	stored func() // called before a commit is counted; may be nil
	mu     sync.Mutex
	draft  *quota.Draft
}

func newWriter(t *testing.T, b *quota.Book, name string) *writer {
	t.Helper()
	p := memory.New(name)
	if _, err := p.Join(t.Context(), partition.Cluster{ID: "c", Epoch: 1, Masters: []string{name}, Slots: make([]uint16, 1024)}); err != nil {
		t.Fatal(err)
	}
	return &writer{Partition: p, draft: b.NewDraft(name)}
}

func (w *writer) write(ctx context.Context, e partition.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.Size, e.Checksum = int64(len(e.Value)), partition.Checksum(e.Value)
	w.draft.Begin()
	_, err := w.Commit(ctx, partition.Batch{Epoch: 1, Revisions: 1, Read: []partition.Key{e.Key}, Decide: func(c partition.Claim) ([]partition.Entry, error) {
		w.draft.Restart()
		e.Revision, e.ModifiedAt = c.First, c.Now
		var old *partition.Entry
		if len(c.Current) > 0 {
			old = &c.Current[0]
		}
		w.draft.Add(quota.NewChange(old, &e, c.Now))
		return []partition.Entry{e}, w.draft.Admit()
	}})
	if err != nil {
		w.draft.Cancel(err)
		return err
	}
	if w.stored != nil {
		w.stored()
	}
	w.draft.Commit()
	return nil
}

func (w *writer) put(ctx context.Context, name, value string) error {
	return w.write(ctx, partition.Entry{Key: partition.Key("k/" + name), Value: []byte(value)})
}

func (w *writer) delete(ctx context.Context, name string) error {
	return w.write(ctx, partition.Entry{Key: partition.Key("k/" + name), Deleted: true})
}

// use is the actual use of all keys of users on the masters.
func use(t *testing.T, masters ...*writer) (a quota.Amount) {
	t.Helper()
	for _, w := range masters {
		u, err := w.Usage(t.Context(), partition.Span{From: "k/", To: "k0", Limit: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		a.Keys, a.Bytes = a.Keys+u.Keys, a.Bytes+u.Bytes
	}
	return a
}

func measure(t *testing.T, b *quota.Book, masters ...*writer) {
	t.Helper()
	all := make([]quota.Master, len(masters))
	for i, w := range masters {
		all[i] = w
	}
	if err := b.Measure(t.Context(), all, 5*time.Second); err != nil {
		t.Fatal(err)
	}
}

// TestRacingWritersKeepWithinTheQuota writes, overwrites and deletes on two masters while the use is
// measured again and again. No moment exceeds a limit, and at the end the known use is exact without
// another measurement.
func TestRacingWritersKeepWithinTheQuota(t *testing.T) {
	const limit = 4000
	b := quota.NewBook()
	b.Set("k/", []quota.Quota{{MaxBytes: limit}, {Prefix: "1", MaxKeys: 50}})
	masters := []*writer{newWriter(t, b, "a"), newWriter(t, b, "b")}
	measure(t, b, masters...)
	ctx, stop := context.WithCancel(t.Context())
	var writers, measuring sync.WaitGroup
	refused := make([]int, 8)
	for i := range refused {
		w := masters[i%2]
		random := rand.New(rand.NewPCG(uint64(i), 1))
		writers.Go(func() {
			for range 1500 {
				name, value := fmt.Sprint(random.IntN(400)), make([]byte, random.IntN(60))
				var err error
				if random.IntN(4) == 0 {
					err = w.delete(t.Context(), name)
				} else {
					err = w.put(t.Context(), name, string(value))
				}
				if _, exceeded := errors.AsType[*quota.Error](err); exceeded {
					refused[i]++
				} else if err != nil {
					t.Error(err)
				}
			}
		})
	}
	measuring.Go(func() {
		for ctx.Err() == nil {
			measure(t, b, masters...)
			if got := use(t, masters[0]); got.Bytes > limit {
				t.Errorf("%+v of a master alone are in use", got)
			}
		}
	})
	writers.Wait()
	stop()
	measuring.Wait()
	got, want := b.Status(), use(t, masters...)
	if got[0].Used != want {
		t.Errorf("the known use is %+v, the actual use %+v", got[0].Used, want)
	}
	if want.Bytes > limit || got[1].Used.Keys > 50 || refused[0] == 0 {
		t.Errorf("%+v and %+v are in use; %v writes were refused", want, got[1].Used, refused)
	}
}

// TestChangesBesideAStatementCountOnce writes at every point of a measurement in steps: before and
// after the view of a statement, to keys that were read and to keys that were not.
func TestChangesBesideAStatementCountOnce(t *testing.T) {
	for _, change := range []func(w *writer, i int) error{
		func(w *writer, i int) error { return w.put(t.Context(), fmt.Sprintf("%04d+", i*50%450), "12345") },
		func(w *writer, i int) error { return w.put(t.Context(), fmt.Sprintf("%04d", i*50%450), "12345") },
		func(w *writer, i int) error { return w.delete(t.Context(), fmt.Sprintf("%04d", i*50%450)) },
	} {
		b := quota.NewBook()
		b.Set("k/", []quota.Quota{{MaxKeys: 10_000}})
		w := newWriter(t, b, "a")
		for i := range 450 {
			if err := w.put(t.Context(), fmt.Sprintf("%04d", i), "123"); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		write := func() {
			if err := change(w, n); err != nil {
				t.Error(err)
			}
			n++
		}
		beside := besides{writer: w, during: write}
		if err := b.Measure(t.Context(), []quota.Master{beside}, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if got, want := b.Status()[0].Used, use(t, w); got != want || n < 4 {
			t.Errorf("after %d changes the known use is %+v, the actual use %+v", n, got, want)
		}
	}
}

// TestLateCountsCountOnce: a whole measurement reads a commit before the commit is counted.
func TestLateCountsCountOnce(t *testing.T) {
	b := quota.NewBook()
	b.Set("k/", []quota.Quota{{MaxKeys: 10}})
	w := newWriter(t, b, "a")
	w.stored = func() { measure(t, b, w) }
	for i := range 5 {
		if err := w.put(t.Context(), fmt.Sprint(i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := b.Status()[0].Used, use(t, w); got != want {
		t.Errorf("the known use is %+v, the actual use %+v", got, want)
	}
}

// TestCommitsReserveTheirGrowth: of two commits at the same time, the second has the room that the
// first leaves, and a deletion gives room to its own commit alone until it is stored.
func TestCommitsReserveTheirGrowth(t *testing.T) {
	b := quota.NewBook()
	b.Set("k/", []quota.Quota{{MaxKeys: 2}})
	first, second := b.NewDraft("a"), b.NewDraft("b")
	reserve := func(d *quota.Draft, n int) bool {
		for range n {
			d.Need("k/x", 1)
		}
		return d.Reserve()
	}
	first.Begin()
	second.Begin()
	if !reserve(first, 1) || reserve(second, 2) || !reserve(second, 1) || reserve(first, 1) {
		t.Error("two commits share room for two keys")
	}
	first.Cancel(partition.ErrUnavailable)
	if second.Begin(); !reserve(second, 1) {
		t.Error("a failed commit keeps its room")
	}
	change := quota.Change{Key: "k/y", Growth: quota.Amount{Keys: -1, Bytes: -1}}
	first.Begin()
	first.Add(change)
	if err := first.Admit(); err != nil || reserve(second, 1) || !reserve(first, 1) {
		t.Errorf("a deletion that is not stored gives room to others, or none to its own commit: %v", err)
	}
}

// besides calls during before and after each statement of a measurement.
type besides struct {
	*writer
	during func()
}

func (w besides) Usage(ctx context.Context, s partition.Span) (partition.Usage, error) {
	s.Limit = min(s.Limit, 100)
	w.during()
	u, err := w.writer.Usage(ctx, s)
	w.during()
	return u, err
}

// TestAnUnknownUseRefusesNothing: before the first measurement only the growth counts.
func TestAnUnknownUseRefusesNothing(t *testing.T) {
	b := quota.NewBook()
	w := newWriter(t, b, "a")
	for i := range 10 {
		if err := w.put(t.Context(), fmt.Sprint(i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	b.Set("k/", []quota.Quota{{MaxKeys: 10}})
	if err := w.put(t.Context(), "10", "v"); err != nil {
		t.Errorf("the use is unknown: %v", err)
	}
	w.Fail(func(string) error { return partition.ErrUnavailable })
	if err := b.Measure(t.Context(), []quota.Master{w}, time.Second); !errors.Is(err, partition.ErrUnavailable) || !b.Status()[0].MeasuredAt.IsZero() {
		t.Errorf("a failed measurement: %v", err)
	}
	w.Fail(nil)
	measure(t, b, w)
	want := quota.Error{Unit: "keys", Limit: 10, Used: 11, Growth: 1}
	if e, ok := errors.AsType[*quota.Error](w.put(t.Context(), "11", "v")); !ok || *e != want {
		t.Errorf("the use is over the limit: %+v", e)
	}
	for _, name := range []string{"1", "2"} {
		if err := w.delete(t.Context(), name); err != nil {
			t.Errorf("a deletion: %v", err)
		}
	}
	if err := w.put(t.Context(), "12", "v"); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	b.Set("k/", []quota.Quota{{MaxKeys: 11}}) // the use stays known
	if err := w.put(t.Context(), "13", "v"); err != nil {
		t.Errorf("the quota has grown: %v", err)
	}
	if err := w.put(t.Context(), "14", "v"); err == nil {
		t.Error("a new limit forgets the use")
	}
}

// TestAnUnknownOutcomeIsMeasured: a commit without an answer counts after the measurement that
// follows.
func TestAnUnknownOutcomeIsMeasured(t *testing.T) {
	b := quota.NewBook()
	b.Set("k/", []quota.Quota{{MaxKeys: 10}})
	<-b.Due()
	w := newWriter(t, b, "a")
	measure(t, b, w)
	w.Fail(func(op string) error {
		if op == memory.OpCommitted {
			return errors.New("cut off")
		}
		return nil
	})
	if err := w.put(t.Context(), "1", "v"); !errors.Is(err, partition.ErrOutcomeUnknown) {
		t.Fatal(err)
	}
	w.Fail(nil)
	select {
	case <-b.Due():
	default:
		t.Error("no measurement is due")
	}
	measure(t, b, w)
	if got := b.Status()[0].Used; got != (quota.Amount{Keys: 1, Bytes: 1}) {
		t.Errorf("in use are %+v", got)
	}
}
