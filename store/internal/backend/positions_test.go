package backend

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// TestMovedPositionOutlivesAPollThatWasUnderWay: a poll that started before a position was
// moved does not take the position back; a later poll does.
func TestMovedPositionOutlivesAPollThatWasUnderWay(t *testing.T) {
	told := 0
	m := newTestSet(t, func(string, *partition.Positions) { told++ }, memory.New("p1")).Named("p1")
	read := func(asked time.Time, revision partition.Revision) {
		m.observe(&Observation{ReadAt: asked, Positions: partition.Positions{
			Origins: map[partition.Origin]partition.Position{"p0": {Origin: "p0", Revision: revision}, "p9": {Origin: "p9", Revision: revision}}}})
	}
	at := func(o partition.Origin) partition.Revision {
		p, _ := m.Position(o)
		return p.Revision
	}
	m.AdvancePosition(partition.Position{Origin: "p0", Revision: 3})
	if _, known := m.Position("p0"); known {
		t.Error("a position is known of a partition that was never read")
	}
	began := time.Now().Add(-time.Second)
	read(began, 5)
	m.AdvancePosition(partition.Position{Origin: "p0", Revision: 7})
	if at("p0") != 7 || at("p9") != 5 {
		t.Errorf("at %d and %d after the move", at("p0"), at("p9"))
	}
	read(began.Add(time.Millisecond), 6)
	if at("p0") != 7 || at("p9") != 6 {
		t.Errorf("at %d and %d after a poll that began before the move", at("p0"), at("p9"))
	}
	read(time.Now().Add(time.Second), 2) // the position was reset
	if told != 4 {
		t.Errorf("told %d times of 4 changes", told)
	}
	if at("p0") != 2 {
		t.Errorf("at %d after a later poll", at("p0"))
	}
}

// TestClockOfThisHostDecidesNothing: expiry follows the master's clock alone, even if the
// host's clock is an hour off.
func TestClockOfThisHostDecidesNothing(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, 0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			m := newTestSet(t, nil, memory.New("p0", memory.Clock(func() time.Time { return time.Now().Add(off) }))).Named("p0")
			m.SetJoined(nil)
			m.PollPositions(t.Context())
			until := partition.InstantOf(time.Now().Add(off + time.Minute))
			e := partition.Entry{ExpiresAt: until}
			time.Sleep(time.Minute - time.Microsecond)
			if now := m.clock(); !e.Live(now) {
				t.Errorf("with clocks %v apart it is over at %d, before %d", off, now, until)
			}
			time.Sleep(time.Microsecond)
			if now := m.clock(); e.Live(now) {
				t.Errorf("with clocks %v apart it lives at %d, after %d", off, now, until)
			}
		})
	}
}

// TestSettingTheClockOfThisHostDecidesNothing: the time since a poll is measured by the
// monotonic clock, because the host's clock may be set meanwhile.
func TestSettingTheClockOfThisHostDecidesNothing(t *testing.T) {
	m := newTestSet(t, nil, memory.New("p0")).Named("p0")
	m.SetJoined(nil)
	for _, learn := range []func(){
		func() { m.ObserveForeign(partition.Positions{Now: 1}) },
		func() { m.PollPositions(t.Context()) },
	} {
		learn()
		if c := m.observation.Load().clock; !monotonic(c.asked) || !monotonic(c.answered) {
			t.Error("what the host's clock is set to would count until the next poll")
		}
	}
}

// TestStalenessOutlastsClocksThatAreSet: however the clocks of the master's database and of
// this host are set, an answer is never reported fresher than it is. At worst the age is
// unknown until the clock has reached its former value.
func TestStalenessOutlastsClocksThatAreSet(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, -8 * time.Second, -time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			off := -time.Hour // of the database's clock from this host's
			master := memory.New("p0", memory.Clock(func() time.Time { return time.Now().Add(off) }))
			s := newTestSet(t, nil, master, memory.New("p1"))
			m, replica := s.Named("p0"), s.Named("p1")
			m.SetJoined(nil)
			proven := partition.InstantOf(time.Now().Add(off))
			replica.ObserveForeign(partition.Positions{Origins: map[partition.Origin]partition.Position{"p0": {Origin: "p0", SyncedAt: proven}}})
			if d := s.Staleness(replica, "p0"); d >= 0 {
				t.Errorf("%v though the master's clock was never read", d)
			}
			at := time.Now()
			expect := func(what string, most time.Duration) {
				t.Helper()
				age := time.Since(at)
				if d := s.Staleness(replica, "p0"); d >= 0 && (d < age || d > age+most) {
					t.Errorf("step %v, %s: stale by %v, in truth %v", step, what, d, age)
				}
			}
			m.PollPositions(t.Context())
			for range 10 {
				time.Sleep(time.Second)
				m.PollPositions(t.Context())
				expect("before", clockSlack)
			}
			if d := s.Staleness(replica, "p0"); d < 10*time.Second {
				t.Errorf("stale by %v after 10 s", d)
			}
			off += step
			for range 20 {
				time.Sleep(time.Second)
				m.PollPositions(t.Context())
				expect("after", time.Hour+clockSlack)
			}
			time.Sleep(time.Hour + time.Minute)
			m.PollPositions(t.Context())
			fresh := partition.InstantOf(time.Now().Add(off))
			replica.ObserveForeign(partition.Positions{Origins: map[partition.Origin]partition.Position{"p0": {Origin: "p0", SyncedAt: fresh}}})
			time.Sleep(time.Second)
			if d := s.Staleness(replica, "p0"); d < time.Second || d > time.Second+2*clockSlack {
				t.Errorf("step %v: a proof of a second ago is %v old", step, d)
			}
		})
	}
}

// TestStalenessIsUnknownForWhatIsYetToCome: a process that was started after the master's
// clock was set back knows only that clock.
func TestStalenessIsUnknownForWhatIsYetToCome(t *testing.T) {
	c := clockReading{now: partition.InstantOf(time.Now()), asked: time.Now(), answered: time.Now()}
	if d := c.age(c.now.Add(time.Minute)); d >= 0 {
		t.Errorf("an instant yet to come was %v ago", d)
	}
	if d := c.age(c.now.Add(clockSlack / 2)); d != 0 {
		t.Errorf("an instant that is as good as now was %v ago", d)
	}
}

// newTestSet makes a set over partitions that are not connected.
func newTestSet(t *testing.T, onPositions func(string, *partition.Positions), parts ...*memory.Partition) *Set {
	t.Helper()
	s := NewSet(Options{
		Timeout: 5 * time.Second, Poll: time.Second, Readers: 2, MaxValueBytes: 15 << 20,
		Logger: slog.New(slog.DiscardHandler), OnPositions: onPositions,
	})
	for _, p := range parts {
		if _, err := s.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// monotonic reports whether differences to t are independent of the host's clock.
func monotonic(t time.Time) bool { return t != t.Round(0) }
