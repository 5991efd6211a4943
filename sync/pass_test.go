package sync

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

func TestPassMakesEmptyClusterWhole(t *testing.T) {
	w := newWorld(t, 1, 3)
	c := w.site()
	r := c.level()
	for _, name := range []string{"p1", "p2"} {
		if p := w.position(name, "p0"); !p.Whole() || p.Revision != partition.Floor(1) {
			t.Errorf("%s is at %+v", name, p)
		}
		if got := c.observed[name].Origins["p0"].Revision; got != partition.Floor(1) {
			t.Errorf("the store was told %d of %s", got, name)
		}
	}
	want := fmt.Sprintf("p0: level at %d\np1: level at %[1]d\np2: level at %[1]d\n", partition.Floor(1))
	if r.String() != want {
		t.Errorf("the report says\n%s", r)
	}
}

func TestPassCopiesWritesAndTombstonesOfAllMasters(t *testing.T) {
	w := newWorld(t, 2, 3)
	for i := range 20 {
		w.write(w.masters[i%2], fmt.Sprint("key", i), strings.Repeat("v", i))
	}
	c := w.site(func(o *Options) { o.BatchEntries = 3; o.CollectEvery = -1 })
	if r := c.level(); r.of("p2").Copied != 20 || r.of("p0").Copied != 10 {
		t.Errorf("copied %d and %d", r.of("p2").Copied, r.of("p0").Copied)
	}
	w.delete("p0", "key0")
	w.write("p0", "key2", "again")
	if r := c.level(); r.of("p2").Copied != 2 {
		t.Errorf("copied %d", r.of("p2").Copied)
	}
	w.checkEqual()
	w.checkPositions()
	if n := c.level().of("p2").Copied; n != 0 {
		t.Errorf("a quiet pass copied %d entries", n)
	}
}

func TestOneBarrierServesAllTargetsAndComesFirst(t *testing.T) {
	w := newWorld(t, 1, 4)
	c := w.site()
	w.write("p0", "a", "1")
	c.level()
	if w.ledger.barriers() != 1 {
		t.Errorf("%d barriers", w.ledger.barriers())
	}
	c.level() // nothing to copy
	if w.ledger.barriers() != 1 {
		t.Errorf("%d barriers after a quiet pass", w.ledger.barriers())
	}
	if err := w.ledger.err(); err != nil {
		t.Error(err)
	}
}

func TestSkippedBarrierIsNoticed(t *testing.T) {
	w := newWorld(t, 1, 2)
	c := w.site()
	c.handles["p0"].lame = true // the planted fault
	at := w.write("p0", "a", "1").Revision
	c.level()
	if w.ledger.err() == nil {
		t.Fatalf("position %d was applied without a barrier, and the test did not see it", at)
	}
}

func TestBarrierThatFailsStopsTheCopy(t *testing.T) {
	w := newWorld(t, 1, 2)
	c := w.site()
	w.write("p0", "a", "1")
	c.handles["p0"].Fail(failOn(partition.ErrUnavailable, memory.OpBarrier))
	if r := c.pass(); r.Level() || r.of("p1").State != Waiting {
		t.Errorf("the report says\n%s", r)
	}
	if p := w.position("p1", "p0"); p.Revision != 0 {
		t.Errorf("copied up to %d", p.Revision)
	}
}

func TestCrashBetweenBatchesIsContinued(t *testing.T) {
	w := newWorld(t, 1, 2)
	for i := range 10 {
		w.write("p0", fmt.Sprint(i), "v")
	}
	c := w.site(func(o *Options) { o.BatchEntries = 3 })
	ctx, crash := context.WithCancel(t.Context())
	var applies atomic.Int32
	c.handles["p1"].Fail(func(op string) error {
		if op == memory.OpApply {
			if applies.Add(1) == 3 {
				crash()
			}
		}
		return nil
	})
	if _, err := c.Pass(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	p := w.position("p1", "p0")
	if want := partition.Floor(1) + 6; p.Revision != want || p.Goal != want+4 || p.SyncedAt != 0 {
		t.Fatalf("after the crash it is at %+v", p)
	}
	next := w.site(func(o *Options) { o.BatchEntries = 3 })
	if r := next.level(); r.of("p1").Copied != 4 {
		t.Errorf("copied %d", r.of("p1").Copied)
	}
	w.checkEqual()
	w.checkPositions()
}

func TestLostAnswerOfApplyIsHarmless(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.write("p0", "a", "1")
	c := w.site()
	c.handles["p1"].Fail(failOn(partition.ErrUnavailable, memory.OpApplied))
	if r := c.pass(); r.Level() || r.of("p1").State != Failed || !errors.Is(r.of("p1").Err, partition.ErrOutcomeUnknown) {
		t.Fatalf("the report says\n%s", r)
	}
	c.handles["p1"].Fail(nil)
	w.write("p0", "b", "2")
	if r := c.level(); r.of("p1").Copied != 1 {
		t.Errorf("copied %d", r.of("p1").Copied)
	}
	w.checkEqual()
}

func TestDeadOriginIsRelayedFromTheMostAdvanced(t *testing.T) {
	w := newWorld(t, 1, 4)
	c := w.site(func(o *Options) { o.CollectEvery = -1 })
	c.level()
	c.configure("p0", "p1")
	w.write("p0", "a", "1")
	c.level()
	c.configure("p0", "p1", "p2")
	w.write("p0", "b", "2")
	c.level()
	c.configure("p0", "p1", "p2", "p3")
	c.fault("p0", partition.ErrUnavailable)
	r := c.level()
	if r.of("p0").State != Unreachable || r.of("p3").Copied != 2 {
		t.Errorf("the report says\n%s", r)
	}
	want := w.position("p2", "p0")
	if got := w.position("p3", "p0"); !got.Whole() || got.Revision != want.Revision || got.SyncedAt != want.SyncedAt {
		t.Errorf("relayed to %+v from %+v", got, want)
	}
	w.checkEqual()
}

// A fill of p1 was interrupted on the way to a revision that only the origin has. A relay that is
// complete at a lower revision must not declare p1 complete: p1 lacks a key that has moved
// beyond the relay's position.
func TestRelayNeverMakesWholeWhatHeadsBeyondIt(t *testing.T) {
	w := newWorld(t, 1, 3)
	c := w.site(func(o *Options) { o.BatchEntries = 1; o.CollectEvery = -1 })
	w.write("p0", "a", "1")
	w.write("p0", "moved", "old")
	c.configure("p0", "p2")
	c.level()
	w.write("p0", "moved", "new")
	c.configure("p0", "p1")
	var applies atomic.Int32
	c.handles["p1"].Fail(func(op string) error {
		if applies.Add(1); op == memory.OpApply && w.position("p1", "p0").Revision > 0 {
			return partition.ErrUnavailable
		}
		return nil
	})
	c.pass()
	if p := w.position("p1", "p0"); p.Revision == 0 || p.Revision == p.Goal {
		t.Fatalf("p1 is at %+v", p)
	}
	c.handles["p1"].Fail(nil)
	c.configure("p0", "p1", "p2")
	c.fault("p0", partition.ErrUnavailable)
	r := c.pass()
	if p := w.position("p1", "p0"); p.SyncedAt != 0 || p.Whole() {
		t.Errorf("p1 counts as whole at %+v", p)
	}
	if r.Level() || r.of("p1").State != Waiting {
		t.Errorf("the report says\n%s", r)
	}
	w.checkPositions()
	c.fault("p0", nil)
	c.level()
	w.checkEqual()
}

// A copy to p2 was interrupted on the way to a revision that only the dead origin has. A target
// of a relay from p2 then has the same goal, and is not complete.
func TestRelayHandsOnWhereItHeads(t *testing.T) {
	w := newWorld(t, 1, 3)
	c := w.site(func(o *Options) { o.BatchEntries = 1; o.CollectEvery = -1 })
	w.write("p0", "moved", "old")
	c.level()
	w.write("p0", "moved", "older")
	w.write("p0", "b", "1")
	w.write("p0", "moved", "new")
	w.write("p0", "c", "1")
	c.configure("p0", "p2")
	var applies atomic.Int32
	c.handles["p2"].Fail(func(op string) error {
		if op == memory.OpApply {
			if applies.Add(1) == 2 {
				return partition.ErrUnavailable
			}
		}
		return nil
	})
	c.pass()
	c.handles["p2"].Fail(nil)
	from := w.position("p2", "p0")
	if from.Revision >= from.Goal {
		t.Fatalf("p2 is at %+v", from)
	}
	c.configure("p0", "p1", "p2")
	c.fault("p0", partition.ErrUnavailable)
	if r := c.pass(); r.Level() {
		t.Errorf("the report says\n%s", r)
	}
	if p := w.position("p1", "p0"); p.Revision != from.Revision || p.Goal != from.Goal {
		t.Errorf("relayed to %+v from %+v", p, from)
	}
	w.checkPositions()
	c.fault("p0", nil)
	c.level()
	w.checkEqual()
}

func TestUnreachableTargetDoesNotHoldOthersBackAndReturns(t *testing.T) {
	w := newWorld(t, 1, 3)
	c := w.site()
	w.write("p0", "a", "1")
	c.handles["p2"].Fail(func(string) error { return partition.ErrUnavailable })
	r := c.pass()
	if !r.Level() || r.of("p1").State != Level || r.of("p2").State != Unreachable {
		t.Errorf("the report says\n%s", r)
	}
	if next := r.of("p2").NextTry; next.IsZero() {
		t.Error("no next try")
	}
	c.handles["p2"].Fail(nil)
	c.level()
	w.checkEqual()
}

func TestRefusedTargetIsNotLevel(t *testing.T) {
	w := newWorld(t, 1, 2)
	c := w.site()
	c.fault("p1", fmt.Errorf("%w: GRANT missing", partition.ErrRefused))
	if r := c.pass(); r.Level() || r.of("p1").String() != "p1: refused: refused: GRANT missing" {
		t.Errorf("the report says\n%s", r)
	}
}

func TestOriginThatLostRevisionsIsLeftAlone(t *testing.T) {
	w := newWorld(t, 1, 3)
	c := w.site()
	w.write("p0", "a", "1")
	w.write("p0", "b", "2")
	c.level()
	before := w.position("p1", "p0")

	w.names = nil // an older backup of p0 is restored
	old := w.bases
	w.add()
	w.bases["p1"], w.bases["p2"], w.names = old["p1"], old["p2"], []string{"p0", "p1", "p2"}
	w.write("p0", "c", "3")
	c = w.site()
	r := c.pass()
	if r.Level() || r.of("p0").State != Behind || r.of("p1").State != Waiting {
		t.Errorf("the report says\n%s", r)
	}
	if p := w.position("p1", "p0"); p != before {
		t.Errorf("p1 moved from %+v to %+v", before, p)
	}
}

func TestProgressOfTheOriginIsNoLoss(t *testing.T) {
	w := newWorld(t, 1, 2)
	c, other := w.site(), w.site()
	c.level()
	var done atomic.Bool
	originRead := make(chan struct{})
	// Between c's readings of the origin and of the target, another process copies a new write: the
	// target seems ahead of the origin.
	c.handles["p0"].read = sync.OnceFunc(func() { close(originRead) })
	c.handles["p1"].Fail(func(op string) error {
		if op == memory.OpPositions && done.CompareAndSwap(false, true) {
			<-originRead
			w.write("p0", "a", "1")
			other.level()
		}
		return nil
	})
	if r := c.pass(); r.of("p0").State == Behind {
		t.Errorf("the report says\n%s", r)
	}
}

func TestPositionMovedBySomebodyElseIsReadAgain(t *testing.T) {
	w := newWorld(t, 1, 2)
	for i := range 4 {
		w.write("p0", fmt.Sprint(i), "v")
	}
	c := w.site(func(o *Options) { o.BatchEntries = 2 })
	var done atomic.Bool
	c.handles["p1"].Fail(func(op string) error {
		if op == memory.OpApply && done.CompareAndSwap(false, true) {
			own := w.full("p0")["k/0"]
			at := partition.Floor(1) + 1
			return w.bases["p1"].Apply(t.Context(), partition.Copy{Origin: "p0", To: at, Goal: at + 3, Entries: []partition.Entry{own}})
		}
		return nil
	})
	c.level()
	w.checkEqual()
	w.checkPositions()
}

func TestEntryTooLargeForATargetIsReported(t *testing.T) {
	w := newWorld(t, 1, 1)
	small := memory.New("p1", memory.MaxValue(10))
	w.bases["p1"], w.names = small, append(w.names, "p1")
	w.write("p0", "a", strings.Repeat("x", 11))
	r := w.site().pass()
	if r.of("p1").State != Failed || !errors.Is(r.of("p1").Err, partition.ErrTooLarge) {
		t.Errorf("the report says\n%s", r)
	}
}

func TestReportLines(t *testing.T) {
	r := TargetReport{TargetStatus: TargetStatus{Name: "partition-3", State: CatchingUp, ToGo: 12000}}
	if got := r.String(); got != "partition-3: catching up, 12,000 entries to go" {
		t.Error(got)
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is written %s", n, got)
		}
	}
}
