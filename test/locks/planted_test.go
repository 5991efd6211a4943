package locks

import (
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
)

// planted is a correct record of a lock with a time to live of a second. The master has the clock of the machine. The first holder
// renews, pauses until after the grant to the second holder; the second holder releases; the third holder has a new master.
func planted() []event {
	const ms = int64(time.Millisecond)
	at := func(kind string, client int, fence, sent, answered int64) event {
		return event{Kind: kind, Client: client, Lock: "a", Fence: fence, Sent: sent * ms, Answered: answered * ms, Expires: (answered-1)*1000 + 1e6, TTL: time.Second}
	}
	const next = 2 << epochBits
	return []event{
		at(granted, 1, 10, 0, 20),
		at(written, 1, 10, 30, 40),
		at(renewed, 1, 10, 500, 520),
		at(granted, 2, 11, 100, 1530),
		at(refused, 1, 10, 1700, 1720),
		at(written, 2, 11, 1800, 1810),
		at(released, 2, 11, 1900, 1900),
		at(granted, 3, 12, 1600, 1930),
		at(granted, 4, next, 2000, 2950),
		at(refused, 3, 12, 3000, 3010),
	}
}

// TestChecksFindPlantedFaults changes a single event of a correct record at a time.
func TestChecksFindPlantedFaults(t *testing.T) {
	const ms = int64(time.Millisecond)
	for name, plant := range map[string]func(e []event) []event{
		"a fence that is reused":                       func(e []event) []event { e[3].Fence = 10; return e },
		"fences against the order":                     func(e []event) []event { e[8].Fence = 5; return e },
		"a grant before the expiry":                    func(e []event) []event { e[3].Expires -= 20_000; return e },
		"a grant before the expiry, by another master": func(e []event) []event { e[8].Answered -= 400 * ms; return e },
		"a stale write that is stored":                 func(e []event) []event { e[4].Kind = written; return e },
		"a holder's write that is refused":             func(e []event) []event { e[1].Kind = refused; return e },
		"a grant without the release":                  func(e []event) []event { return append(e[:6:6], e[7:]...) },
	} {
		runnel.WantFaults(t, name, newHistory(plant(planted())).check(), true)
	}
	runnel.WantFaults(t, "a correct record", newHistory(planted()).check(), false)
	// A clock that was set forward excuses an early grant, and a refusal.
	for _, at := range []int{1, 8} {
		e := planted()
		if at == 1 {
			e[at].Kind = refused
		} else {
			e[at].Answered -= 400 * ms
		}
		e = append(e, event{Kind: stepped, Sent: 25 * ms, Answered: 26 * ms, TTL: time.Second}, event{Kind: stepped, Sent: 2500 * ms, Answered: 2501 * ms, TTL: time.Second})
		runnel.WantFaults(t, "a clock that was set forward", newHistory(e).check(), false)
	}
	// A clock that was set back excuses a grant before the expiry by that clock, and no more.
	for by, wants := range map[time.Duration]bool{10 * time.Millisecond: false, 9 * time.Millisecond: true} {
		e := planted()
		e[3].Expires -= 20_000
		e = append(e, event{Kind: stepped, Sent: 1200 * ms, Answered: 1201 * ms, Back: by})
		runnel.WantFaults(t, "a clock that was set back", newHistory(e).check(), wants)
	}
	c := newHistory(planted()).count(510 * ms)
	if c != (counts{grants: 4, renewals: 1, writes: 2, refusals: 2}) {
		t.Errorf("the counts are %+v", c)
	}
	if c = newHistory(planted()).count(400 * ms); c.handedOver != 1 {
		t.Errorf("the counts are %+v", c)
	}
}
