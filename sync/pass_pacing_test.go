package sync

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// flood writes commits at a steady rate, with a wake for each, and measures the lag of
// the targets.
type flood struct {
	c        *site
	interval time.Duration
	each     int // entries of a commit
	keys     int // number of different keys; 0: every entry has a new key
	n        int
	since    map[string][]pending // commits that a target has not got
	worst    map[string]time.Duration
}

type pending struct {
	at       time.Time
	revision partition.Revision
}

func newFlood(c *site, interval time.Duration, each, keys int) *flood {
	return &flood{c: c, interval: interval, each: each, keys: keys,
		since: make(map[string][]pending), worst: make(map[string]time.Duration)}
}

// run writes for a while, and returns the longest lag of any target.
func (f *flood) run(d time.Duration) (worst time.Duration) {
	f.worst = make(map[string]time.Duration)
	for end := time.Now().Add(d); time.Now().Before(end); {
		f.commit()
		time.Sleep(f.interval)
		f.measure()
	}
	for _, lag := range f.worst {
		worst = max(worst, lag)
	}
	return worst
}

func (f *flood) commit() {
	batch := partition.Batch{Epoch: 1, Revisions: f.each}
	for i := range f.each {
		k := f.n
		if f.keys > 0 {
			k %= f.keys
		}
		f.n++
		batch.Write = append(batch.Write, partition.Entry{Key: partition.Key(fmt.Sprint("k/", k)), Revision: partition.Revision(i), Checksum: partition.Checksum(nil)})
	}
	claim, err := f.c.w.bases["p0"].Commit(f.c.w.t.Context(), batch)
	if err != nil {
		f.c.w.t.Fatal(err)
	}
	last := pending{time.Now(), claim.First + partition.Revision(f.each-1)}
	for _, name := range f.c.w.names[1:] {
		f.since[name] = append(f.since[name], last)
	}
	notify(f.c.wake)
}

// measure updates the lag of each target.
func (f *flood) measure() {
	for _, name := range f.c.w.names[1:] {
		at := f.c.w.position(name, "p0").Revision
		missing := f.since[name]
		for len(missing) > 0 && missing[0].revision <= at {
			missing = missing[1:]
		}
		if f.since[name] = missing; len(missing) > 0 {
			f.worst[name] = max(f.worst[name], time.Since(missing[0].at))
		}
	}
}

// cost returns the duration of an Apply: a fixed part, and a part for each entry.
func cost(fixed, each time.Duration) func(int) time.Duration {
	return func(n int) time.Duration { return fixed + time.Duration(n)*each }
}

func (c *site) batches(name string) int64 { return c.Status().of(name).Batches }

// TestFloodLeavesTheMachineToTheMaster: under heavy writes the streams work a third of the time,
// in step with each other.
func TestFloodLeavesTheMachineToTheMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3)
		c := w.site()
		var busy [2]atomic.Int64
		for i, name := range w.names[1:] {
			takes := cost(3*time.Millisecond+time.Duration(i)*time.Millisecond, 10*time.Microsecond)
			c.handles[name].cost = func(n int) time.Duration {
				busy[i].Add(int64(takes(n)))
				return takes(n)
			}
		}
		defer c.running(t)()
		f := newFlood(c, 5*time.Millisecond, 40, 5000)
		f.run(time.Second)
		busy[0].Store(0)
		busy[1].Store(0)
		copies, barriers := c.batches("p1"), w.ledger.barriers()
		lag := f.run(4 * time.Second)
		copies, barriers = c.batches("p1")-copies, w.ledger.barriers()-barriers
		for i, name := range w.names[1:] {
			if share := time.Duration(busy[i].Load()).Seconds() / 4; share > 0.34 {
				t.Errorf("%s was worked on for %.2f of the time", name, share)
			}
		}
		if float64(barriers) > 1.3*float64(copies) {
			t.Errorf("%d barriers for %d copies to each target", barriers, copies)
		}
		if lag > time.Second {
			t.Errorf("a commit was missing for %v", lag)
		}
	})
}

// TestLagIsBoundedAsLongAsTheTargetCanKeepUp: the lag is bounded if a copy takes less time than the
// commits that it carries, however little less.
func TestLagIsBoundedAsLongAsTheTargetCanKeepUp(t *testing.T) {
	for _, each := range []time.Duration{100 * time.Microsecond, 175 * time.Microsecond, 225 * time.Microsecond} {
		t.Run(fmt.Sprint(each), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, 2)
				c := w.site(hourly)
				c.handles["p1"].cost = cost(4*time.Millisecond, each)
				defer c.running(t)()
				f := newFlood(c, 10*time.Millisecond, 40, 8000) // 4,000 entries a second, so that 250 µs are too long
				f.run(3 * time.Second)
				if lag := f.run(6 * time.Second); lag > 3*time.Second {
					t.Errorf("a commit was missing for %v", lag)
				}
			})
		})
	}
}

// TestStreamThatHasFallenBehindDoesNotCoolDown: a target that is slower than the commits is
// busy all the time.
func TestStreamThatHasFallenBehindDoesNotCoolDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site(hourly)
		var busy atomic.Int64
		c.handles["p1"].cost = func(n int) time.Duration {
			d := 4*time.Millisecond + time.Duration(n)*300*time.Microsecond
			busy.Add(int64(d))
			return d
		}
		defer c.running(t)()
		f := newFlood(c, 10*time.Millisecond, 40, 0)
		f.run(6 * time.Second)
		busy.Store(0)
		f.run(20 * time.Second)
		if d := time.Duration(busy.Load()); d < 19*time.Second {
			t.Errorf("it was at work for %v of 20 s", d)
		}
	})
}

// TestCommitsInSuccessionAreCopiedTogether: a client that writes one key after another has the
// machine to itself most of the time, and no commit waits longer than two copies and a short
// cooldown.
func TestCommitsInSuccessionAreCopiedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3)
		c := w.site(hourly)
		for _, name := range w.names[1:] {
			c.handles[name].cost = cost(2*time.Millisecond, 10*time.Microsecond)
		}
		defer c.running(t)()
		f := newFlood(c, time.Millisecond, 1, 0)
		f.run(100 * time.Millisecond)
		before := c.batches("p1")
		if lag := f.run(2 * time.Second); lag > 9*time.Millisecond {
			t.Errorf("a commit was missing for %v", lag)
		}
		if n := c.batches("p1") - before; n > 350 {
			t.Errorf("%d copies beside 2,000 commits", n)
		}
	})
}

// TestSteadyLoadIsCopiedAtOnce: 250 single-entry commits a second are not gathered, and no commit
// waits longer than two copies.
func TestSteadyLoadIsCopiedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site(hourly)
		c.handles["p1"].cost = cost(2*time.Millisecond, 10*time.Microsecond)
		defer c.running(t)()
		f := newFlood(c, 4*time.Millisecond, 1, 0)
		if lag := f.run(2 * time.Second); lag > 5*time.Millisecond {
			t.Errorf("a commit was missing for %v", lag)
		}
	})
}

// flooded returns a site whose only stream cools down after a flood.
func flooded(t *testing.T) (*site, *flood) {
	w := newWorld(t, 1, 2)
	c := w.site(hourly)
	c.handles["p1"].cost = cost(20*time.Millisecond, 10*time.Microsecond)
	return c, newFlood(c, 5*time.Millisecond, 40, 5000)
}

// untilCooldown continues the flood until a good part of a long cooldown lies ahead.
func (f *flood) untilCooldown(t *testing.T) {
	t.Helper()
	f.run(time.Second)
	for range 10_000 {
		f.run(f.interval)
		f.c.Syncer.mu.Lock()
		l := f.c.replicas[1].streams["p0"]
		left := time.Until(l.notBefore)
		resting := !l.busy && left > 3*burstGap
		f.c.Syncer.mu.Unlock()
		if resting {
			return
		}
	}
	t.Fatal("it never rests")
}

func TestCooldownEndsWithTheCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := flooded(t)
		defer c.running(t)()
		f.untilCooldown(t)
		f.commit()
		last := f.since["p1"][len(f.since["p1"])-1].revision
		time.Sleep(burstGap + 100*time.Millisecond) // the copy of the gathered commits takes less
		synctest.Wait()
		if got := c.w.position("p1", "p0").Revision; got != last {
			t.Errorf("p1 is at %d, not %d, long after the last commit", got, last)
		}
	})
}

// TestFirstCommitAfterQuietIsCopiedAtOnce, even during the cooldown that earlier commits have
// caused.
func TestFirstCommitAfterQuietIsCopiedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := flooded(t)
		c.handles["p1"].cost = cost(10*time.Millisecond, 10*time.Microsecond)
		defer c.running(t)()
		f.run(time.Second)
		l := c.replicas[1].streams["p0"]
		for started := false; !started; {
			f.run(f.interval)
			synctest.Wait()
			c.Syncer.mu.Lock()
			started = l.busy && l.missed == 0
			c.Syncer.mu.Unlock()
		}
		time.Sleep(burstGap - f.interval)
		synctest.Wait()
		c.Syncer.mu.Lock()
		rests := !l.busy && time.Now().Before(l.notBefore)
		c.Syncer.mu.Unlock()
		if !rests {
			t.Fatal("it does not rest")
		}
		c.handles["p1"].cost = nil
		f.commit()
		synctest.Wait()
		if got := c.w.position("p1", "p0").Revision; got != f.since["p1"][len(f.since["p1"])-1].revision {
			t.Errorf("p1 is at %d, and not at the only commit for %v", got, burstGap)
		}
	})
}

// TestOneLargeCommitIsFollowedByNoCooldown: nothing suggests that more commits follow.
func TestOneLargeCommitIsFollowedByNoCooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site(hourly)
		c.handles["p1"].cost = cost(3*time.Millisecond, 10*time.Microsecond)
		defer c.running(t)()
		f := newFlood(c, time.Millisecond, 1500, 0)
		time.Sleep(time.Second) // the first pass is over
		f.commit()
		time.Sleep(18*time.Millisecond + time.Microsecond)
		synctest.Wait()
		if got, want := w.position("p1", "p0").Revision, f.since["p1"][0].revision; got != want {
			t.Fatalf("p1 is at %d, not %d", got, want)
		}
		c.handles["p1"].cost = nil
		at := w.write("p0", "next", "v").Revision
		c.woken()
		if got := w.position("p1", "p0").Revision; got != at {
			t.Errorf("p1 is at %d, not at once at %d", got, at)
		}
	})
}

// TestNothingIsReadDuringACooldown: commits that are not copied yet cost the master no reading.
func TestNothingIsReadDuringACooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := flooded(t)
		defer c.running(t)()
		f.untilCooldown(t)
		var reads atomic.Int32
		c.handles["p0"].Fail(func(string) error { reads.Add(1); return nil })
		f.run(2 * burstGap)
		if n := reads.Load(); n > 0 {
			t.Errorf("the master was asked %d times", n)
		}
	})
}

// TestCooldownWithNothingToDoAfterwardsIsOver: the commit of a late wake may already have been copied.
func TestCooldownWithNothingToDoAfterwardsIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := flooded(t)
		defer c.running(t)()
		f.untilCooldown(t)
		time.Sleep(time.Second)
		c.Syncer.mu.Lock()
		now := time.Now()
		s, l := c.Syncer, c.replicas[1].streams["p0"]
		s.lastWake, l.notBefore, l.missed = now, now.Add(time.Millisecond), 1
		c.Syncer.mu.Unlock()
		passes := c.Status().Passes
		c.handles["p0"].Fail(func(string) error { time.Sleep(time.Millisecond); return nil })
		notify(s.streamDone)
		time.Sleep(time.Second)
		if n := c.Status().Passes - passes; n != 1 {
			t.Errorf("%d passes after the rest", n)
		}
	})
}

// TestShortCatchUpsAreNotLogged: a stream that alternates between level and catching up logs this
// once, and logs a catch-up only when the catch-up takes long.
func TestShortCatchUpsAreNotLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		var logged bytes.Buffer
		c := w.site(hourly, func(o *Options) {
			o.Logger, o.BatchEntries = slog.New(slog.NewTextHandler(&logged, nil)), 50
		})
		said := func() (states []string) {
			synctest.Wait()
			for line := range strings.Lines(logged.String()) {
				if _, state, found := strings.Cut(line, "state="); found {
					states = append(states, strings.TrimSpace(state))
				}
			}
			return states
		}
		var takes atomic.Int64
		c.handles["p1"].cost = func(int) time.Duration { return time.Duration(takes.Load()) }
		takes.Store(int64(5 * time.Millisecond))
		defer c.running(t)()
		f := newFlood(c, 10*time.Millisecond, 200, 0)
		caughtUp := 0
		for range 100 {
			f.commit()
			time.Sleep(8 * time.Millisecond)
			if c.Status().of("p1").State == CatchingUp {
				caughtUp++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if got := said(); caughtUp < 10 || len(got) > 3 || got[len(got)-1] != string(Level) {
			t.Errorf("after %d short catch-ups the log says %v", caughtUp, got)
		}
		takes.Store(int64(time.Second))
		f.run(10 * time.Second)
		if got := said(); got[len(got)-1] != string(CatchingUp) {
			t.Errorf("amid a long catch-up the log says %v", got)
		}
	})
}
