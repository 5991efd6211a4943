package store

import (
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
	m := newBackend(memory.New("p1"), Options{}.withDefaults(), hooks{onPositions: func() { told++ }, onReplicaPosition: func(Origin, Revision) {}})
	read := func(asked time.Time, revision Revision) {
		m.observe(&observedPositions{readAt: asked, Positions: partition.Positions{
			Origins: map[Origin]partition.Position{"p0": {Origin: "p0", Revision: revision}, "p9": {Origin: "p9", Revision: revision}}}})
	}
	at := func(o Origin) Revision {
		p, _ := m.position(o)
		return p.Revision
	}
	m.advancePosition(partition.Position{Origin: "p0", Revision: 3})
	if _, known := m.position("p0"); known {
		t.Error("a position is known of a partition that was never read")
	}
	began := time.Now().Add(-time.Second)
	read(began, 5)
	m.advancePosition(partition.Position{Origin: "p0", Revision: 7})
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
			m := newBackend(memory.New("p0", memory.Clock(func() time.Time { return time.Now().Add(off) })),
				Options{}.withDefaults(), hooks{onPositions: func() {}, onReplicaPosition: func(Origin, Revision) {}})
			m.isJoined = true
			m.pollPositions(t.Context())
			until := partition.InstantOf(time.Now().Add(off + time.Minute))
			e := Entry{ExpiresAt: until}
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
	m := newBackend(memory.New("p0"), Options{}.withDefaults(), hooks{onPositions: func() {}, onReplicaPosition: func(Origin, Revision) {}})
	m.isJoined = true
	for _, learn := range []func(){
		func() { m.observeForeign(partition.Positions{Now: 1}) },
		func() { m.pollPositions(t.Context()) },
	} {
		learn()
		if c := m.observed.Load().clock; !monotonic(c.asked) || !monotonic(c.answered) {
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
			s, err := Open(Options{Partitions: []partition.Partition{master, memory.New("p1")}})
			if err != nil {
				t.Fatal(err)
			}
			m, replica := s.backend("p0"), s.backend("p1")
			m.isJoined = true
			proven := partition.InstantOf(time.Now().Add(off))
			replica.observeForeign(partition.Positions{Origins: map[Origin]partition.Position{"p0": {Origin: "p0", SyncedAt: proven}}})
			if d := s.staleness(replica, "p0"); d >= 0 {
				t.Errorf("%v though the master's clock was never read", d)
			}
			at := time.Now()
			expect := func(what string, most time.Duration) {
				t.Helper()
				age := time.Since(at)
				if d := s.staleness(replica, "p0"); d >= 0 && (d < age || d > age+most) {
					t.Errorf("step %v, %s: stale by %v, in truth %v", step, what, d, age)
				}
			}
			m.pollPositions(t.Context())
			for range 10 {
				time.Sleep(time.Second)
				m.pollPositions(t.Context())
				expect("before", clockSlack)
			}
			if d := s.staleness(replica, "p0"); d < 10*time.Second {
				t.Errorf("stale by %v after 10 s", d)
			}
			off += step
			for range 20 {
				time.Sleep(time.Second)
				m.pollPositions(t.Context())
				expect("after", time.Hour+clockSlack)
			}
			time.Sleep(time.Hour + time.Minute)
			m.pollPositions(t.Context())
			fresh := partition.InstantOf(time.Now().Add(off))
			replica.observeForeign(partition.Positions{Origins: map[Origin]partition.Position{"p0": {Origin: "p0", SyncedAt: fresh}}})
			time.Sleep(time.Second)
			if d := s.staleness(replica, "p0"); d < time.Second || d > time.Second+2*clockSlack {
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

// monotonic reports whether differences to t are independent of the host's clock.
func monotonic(t time.Time) bool { return t != t.Round(0) }
