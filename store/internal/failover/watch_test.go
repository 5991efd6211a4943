package failover

import (
	"strings"
	"testing"
	"time"
)

const after = 30 * time.Second

// watched is a watch of the master m over three voters, one of them m.
type watched struct {
	t   *testing.T
	w   Watch
	now time.Duration
	// reports of m on the two other voters
	reports map[string]int64
}

func newWatched(t *testing.T) *watched {
	return &watched{t: t, now: time.Hour, reports: map[string]int64{"p1": 7, "p2": 7}}
}

// pass lets a time pass second by second. each is called each second; nil: nothing.
func (w *watched) pass(d time.Duration, each func()) {
	for until := w.now + d; w.now < until; {
		w.now += time.Second
		w.w.Begin(w.now, after)
		if each != nil {
			each()
		}
		w.w.CheckLost("m", w.reports, 2)
	}
}

// want checks whether the master is lost; says "": it is.
func (w *watched) want(says string) {
	w.t.Helper()
	err := w.w.CheckLost("m", w.reports, 2)
	if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
		w.t.Errorf("%v, want %q", err, says)
	}
}

func TestMasterIsLostAfterItsTime(t *testing.T) {
	w := newWatched(t)
	w.pass(time.Second, nil)
	w.want("0s of 30s") // since this process has begun to look
	w.pass(after-time.Second, nil)
	w.want("29s of 30s")
	w.pass(time.Second, nil)
	w.want("")
	w.w.NoteReached("m", w.now-5*time.Second)
	w.want("5s of 30s")
	w.pass(after-5*time.Second, nil)
	w.want("")
}

// TestMasterThatAnotherProcessReachesIsNotLost: this process alone is cut off from the master.
func TestMasterThatAnotherProcessReachesIsNotLost(t *testing.T) {
	w := newWatched(t)
	n := 0
	report := func() {
		if n++; time.Duration(n)*time.Second%Interval(after) == 0 {
			w.reports["p2"]++
		}
	}
	w.pass(10*after, func() {
		report()
		w.want([]string{"of 30s", "another process"}[min(1, n/31)])
	})
	w.pass(quiet(after)-time.Second, nil) // the other process has lost it too
	w.want("another process")
	w.pass(time.Second, nil)
	w.want("")
}

// TestReportsAreSeenOnTheVotersThatAnswer: a voter that answers again after a while shows reports of the time between.
func TestReportsAreSeenOnTheVotersThatAnswer(t *testing.T) {
	w := newWatched(t)
	w.pass(after+time.Second, func() {
		if w.now > time.Hour+time.Second {
			delete(w.reports, "p2")
		}
	})
	w.want("1 voters answer, and 2 are needed")
	w.reports["p2"] = 8
	w.want("another process")
	delete(w.reports, "p2")
	w.pass(quiet(after), nil)
	w.reports["p2"] = 8 // and none since
	w.want("")
}

// TestSuspendedTimeDoesNotCount: nobody has tried to reach the master meanwhile.
func TestSuspendedTimeDoesNotCount(t *testing.T) {
	w := newWatched(t)
	w.pass(5*time.Second, func() { w.w.NoteReached("m", w.now) })
	w.now += time.Hour
	w.pass(time.Second, nil)
	w.want("0s of 30s")
	w.pass(after-time.Second, nil)
	w.want("29s of 30s")
	w.pass(time.Second, nil)
	w.want("")
}

func TestCooldownBeginsWhenItIsSeen(t *testing.T) {
	var w Watch
	for _, c := range []struct {
		epoch int64
		now   time.Duration
		want  bool
	}{{5, 100, false}, {5, 109, false}, {5, 110, true}, {9, 111, false}, {9, 121, true}} {
		if got := w.HasCooled(c.epoch, c.now, 10); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
