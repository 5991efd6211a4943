package sync

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// running starts Run and returns a function that stops Run.
func (c *site) running(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	synctest.Wait()
	return func() { cancel(); <-done }
}

// hourly leaves all passes to wakes.
func hourly(o *Options) { o.Schedule = cron.Every(time.Hour) }

func (c *site) woken() {
	c.wake <- struct{}{}
	synctest.Wait()
}

func TestRunKeepsStalenessHonestOnAnIdleCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site()
		defer c.running(t)()
		time.Sleep(90 * time.Second)
		synctest.Wait()
		age := time.Since(w.position("p1", "p0").SyncedAt.Time())
		if age > time.Second {
			t.Errorf("p1 is level as of %v ago", age)
		}
		if n := c.Status().Passes; n < 90 || n > 92 {
			t.Errorf("%d passes", n)
		}
	})
}

func TestWakeCopiesAtOnceAndConfirmsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site(hourly)
		defer c.running(t)()
		before := w.position("p1", "p0")
		time.Sleep(time.Second)
		c.woken()
		if p := w.position("p1", "p0"); p != before {
			t.Errorf("a wake without a change moved %+v to %+v", before, p)
		}
		began := time.Now()
		at := w.write("p0", "a", "1").Revision
		c.woken()
		if p := w.position("p1", "p0"); p.Revision != at || !time.Now().Equal(began) {
			t.Errorf("at %+v after %v", p, time.Since(began))
		}
		if got := c.observed["p1"].Origins["p0"].Revision; got != at {
			t.Errorf("the store was told %d", got)
		}
	})
}

func TestLongCopyHoldsNobodyElseBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, 4)
		c := w.site(hourly)
		defer c.running(t)()
		release := make(chan struct{})
		c.handles["p3"].Fail(func(op string) error {
			if op == memory.OpApply {
				<-release
			}
			return nil
		})
		for i := range 3 {
			at := w.write("p0", fmt.Sprint(i), "v").Revision
			c.woken()
			if got := w.position("p2", "p0").Revision; got != at {
				t.Errorf("p2 is at %d, not %d, while p3 is slow", got, at)
			}
			if got := w.position("p3", "p0").Revision; got == at {
				t.Error("p3 is not slow")
			}
		}
		close(release)
		synctest.Wait()
		w.checkEqual() // the commits during the copy were not forgotten
	})
}

func TestPartitionThatHangsHoldsNobodyElseBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3)
		c := w.site()
		hang := make(chan struct{})
		c.handles["p2"].Fail(func(op string) error { <-hang; return nil })
		stop := c.running(t)
		defer stop()
		defer close(hang)
		time.Sleep(surveyTimeout)
		for i := range 3 {
			at := w.write("p0", fmt.Sprint(i), "v").Revision
			c.woken()
			if got := w.position("p1", "p0").Revision; got != at {
				t.Errorf("p1 is at %d, not %d, while p2 hangs", got, at)
			}
		}
	})
}

func TestFailingTargetIsLeftAloneLongerAndLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site()
		var tries atomic.Int32
		c.handles["p1"].Fail(func(op string) error {
			if op == memory.OpApply {
				tries.Add(1)
				return partition.ErrUnavailable
			}
			return nil
		})
		w.write("p0", "a", "1")
		defer c.running(t)()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := tries.Load(); n < 10 || n > 30 {
			t.Errorf("%d tries in 5 minutes", n)
		}
		st := c.Status().of("p1")
		if st.State != Failed || st.ToGo != 1 || time.Until(st.NextTry) <= 0 || time.Until(st.NextTry) > 30*time.Second || st.Errors != int64(tries.Load()) {
			t.Errorf("status %+v", st)
		}
		c.handles["p1"].Fail(nil)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if st := c.Status().of("p1"); st.State != Level || st.ToGo != 0 || st.Err != nil {
			t.Errorf("status %+v", st)
		}
	})
}

func TestFailureIsTriedAgainBetweenRarePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site(hourly)
		for _, op := range []string{memory.OpPositions, memory.OpApply} {
			c.handles["p1"].Fail(failOn(partition.ErrUnavailable, op))
			stop := c.running(t)
			w.write("p0", "a", op)
			c.woken()
			c.handles["p1"].Fail(nil)
			time.Sleep(time.Second)
			synctest.Wait()
			if st := c.Status().of("p1"); st.State != Level {
				t.Errorf("after a failing %s: %+v", op, st)
			}
			w.checkEqual()
			stop()
		}
	})
}

func TestTargetThatTheStoreSeesAgainIsTriedRightAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site()
		c.handles["p1"].Fail(func(string) error { return partition.ErrUnavailable })
		defer c.running(t)()
		time.Sleep(10 * time.Minute) // the retry delay is at its maximum
		for time.Until(c.Status().of("p1").NextTry) < 5*time.Second {
			time.Sleep(time.Second)
		}
		c.fault("p1", partition.ErrUnavailable)
		time.Sleep(time.Second)
		synctest.Wait()
		c.handles["p1"].Fail(nil)
		c.fault("p1", nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if st := c.Status().of("p1"); st.State != Level {
			t.Errorf("status %+v", st)
		}
	})
}

func TestStandbyTakesOverAtOnceAfterShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		first, second := w.site(), w.site()
		stop := first.running(t)
		defer second.running(t)()
		time.Sleep(30 * time.Second)
		if !first.Status().Active || second.Status().Active || !second.Status().of("p1").Standby {
			t.Errorf("first %+v, second %+v", first.Status(), second.Status())
		}
		stop()
		at := w.write("p0", "a", "1").Revision
		time.Sleep(time.Second)
		synctest.Wait()
		if p := w.position("p1", "p0"); p.Revision != at || !second.Status().Active {
			t.Errorf("a second later p1 is at %+v", p)
		}
	})
}

func TestStandbyTakesOverFromTheDeadWhenTheLeaseExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		if _, err := w.bases["p1"].Acquire(t.Context(), "dead", 15*time.Second); err != nil {
			t.Fatal(err)
		}
		c := w.site()
		defer c.running(t)()
		time.Sleep(14 * time.Second)
		synctest.Wait()
		if st := c.Status().of("p1"); st.State != Standby || st.Err != nil {
			t.Errorf("status %+v", st)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if st := c.Status().of("p1"); st.State != Level {
			t.Errorf("status %+v", st)
		}
	})
}

func TestLeaseThatIsLostStopsTheCopyUntilTheNextPass(t *testing.T) {
	w := newWorld(t, 1, 2)
	c := w.site()
	w.write("p0", "a", "1")
	c.handles["p1"].Fail(func(op string) error {
		if op == memory.OpApply { // while the process was paused, another took over
			held, err := w.bases["p1"].Acquire(t.Context(), c.options.Holder, 15*time.Second)
			if err == nil {
				err = w.bases["p1"].Release(t.Context(), held)
			}
			if err == nil {
				_, err = w.bases["p1"].Acquire(t.Context(), "other", 15*time.Second)
			}
			return err
		}
		return nil
	})
	if r := c.pass(); r.Level() || r.of("p1").State != Standby {
		t.Errorf("the report says\n%s", r)
	}
	if p := w.position("p1", "p0"); p.Revision != 0 {
		t.Errorf("p1 is at %+v", p)
	}
}

func TestPassWhileRunningWaitsForTheCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3)
		c := w.site(hourly)
		defer c.running(t)()
		release := make(chan struct{})
		c.handles["p2"].Fail(func(op string) error {
			if op == memory.OpApply {
				<-release
			}
			return nil
		})
		w.write("p0", "a", "1")
		c.woken()
		w.write("p0", "b", "2") // not part of p2's running copy
		go func() {
			time.Sleep(time.Minute)
			close(release)
		}()
		r, err := c.Pass(t.Context())
		if err != nil || !r.Level() {
			t.Errorf("%v\n%s", err, r)
		}
		w.checkEqual()
	})
}

func TestPassEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site(hourly)
		defer c.running(t)()
		release := make(chan struct{})
		defer close(release)
		c.handles["p1"].Fail(func(op string) error {
			if op == memory.OpApply {
				<-release
			}
			return nil
		})
		w.write("p0", "a", "1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Pass(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestTriggerMakesAPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site(hourly)
		defer c.running(t)()
		at := w.write("p0", "a", "1").Revision
		c.Trigger()
		synctest.Wait()
		if p := w.position("p1", "p0"); p.Revision != at {
			t.Errorf("p1 is at %+v", p)
		}
		if err := c.Run(t.Context()); err == nil {
			t.Error("it runs twice")
		}
	})
}

func TestPartitionAddedWhileRunningIsFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site()
		w.write("p0", "a", "1")
		defer c.running(t)()
		w.add()
		c.configure(w.names...)
		time.Sleep(time.Second)
		synctest.Wait()
		if st := c.Status().of("p2"); st.State != Level || st.Entries != 1 {
			t.Errorf("status %+v", st)
		}
		w.checkEqual()
	})
}

func TestClosedWakeIsNoWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site(hourly)
		defer c.running(t)()
		close(c.wake)
		time.Sleep(time.Minute)
		if n := c.Status().Passes; n != 1 {
			t.Errorf("%d passes", n)
		}
	})
}

func TestParseSchedule(t *testing.T) {
	for _, spec := range []string{"@every 1s", "*/5 * * * *", "@hourly"} {
		if _, err := ParseSchedule(spec); err != nil {
			t.Error(err)
		}
	}
	if _, err := ParseSchedule("sometimes"); err == nil {
		t.Error("accepted")
	}
}

func TestDistanceOfATargetThatIsAwayGrowsWithItsOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site()
		defer c.running(t)()
		c.handles["p1"].Fail(func(string) error { return partition.ErrUnavailable })
		for want := int64(1); want <= 3; want++ {
			w.write("p0", "a", "1")
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if st := c.Status().of("p1"); st.State != Unreachable || st.ToGo != want {
				t.Errorf("after %d writes: status %+v", want, st)
			}
		}
	})
}
