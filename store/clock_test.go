package store

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// TestClockOfThisHostDecidesNothing: an entry lives by its master's clock alone.
// That this host's is an hour off changes nothing.
func TestClockOfThisHostDecidesNothing(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, 0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			m := newMember(partition.NewMemory("p0", partition.MemoryClock(func() time.Time { return time.Now().Add(off) })),
				Options{moved: func() {}}.withDefaults())
			m.isJoined = true
			m.poll(t.Context())
			until := partition.InstantOf(time.Now().Add(off + time.Minute))
			e := Entry{ExpiresAt: until}
			time.Sleep(time.Minute - time.Microsecond)
			if now, _ := m.clock(); !e.Live(now) {
				t.Errorf("with clocks %v apart it is over at %d, before %d", off, now, until)
			}
			time.Sleep(time.Microsecond)
			if now, _ := m.clock(); e.Live(now) {
				t.Errorf("with clocks %v apart it lives at %d, after %d", off, now, until)
			}
		})
	}
}

// TestSettingTheClockOfThisHostDecidesNothing: time that has passed since a poll
// is taken from the monotonic clock, as the host's may be set meanwhile.
func TestSettingTheClockOfThisHostDecidesNothing(t *testing.T) {
	m := newMember(partition.NewMemory("p0"), Options{moved: func() {}}.withDefaults())
	m.isJoined = true
	for _, learn := range []func(){
		func() { m.heard(partition.Positions{Now: 1}) },
		func() { m.poll(t.Context()) },
	} {
		learn()
		if c := m.known.Load().clock; !monotonic(c.asked) || !monotonic(c.answered) {
			t.Error("what the host's clock is set to would count until the next poll")
		}
	}
}

// monotonic reports whether differences to t do not depend on the host's clock.
func monotonic(t time.Time) bool { return t != t.Round(0) }
