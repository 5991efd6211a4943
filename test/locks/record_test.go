package locks

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// The kinds of an event.
const (
	granted  = "granted"  // an acquisition that was answered with a fence
	renewed  = "renewed"  // a renewal that was answered
	unknown  = "unknown"  // a renewal that may have set another expiry
	released = "released" // recorded before the request is sent
	written  = "written"  // a write with the fence that was answered as stored
	refused  = "refused"  // a write with the fence that was answered as stale
	stepped  = "stepped"  // the clock of a database was set forward by TTL, or back by Back
)

// event is a line of the record. Sent and Answered are of the machine's clock, in nanoseconds.
type event struct {
	Kind           string
	Client         int
	Lock           string        `json:",omitempty"`
	Fence          int64         `json:",omitempty"`
	Sent, Answered int64         // of a repeated request: the first was sent
	Expires        int64         `json:",omitempty"` // by the clock of the master, in microseconds
	TTL            time.Duration `json:",omitempty"`
	Back           time.Duration `json:",omitempty"`
}

func (e *event) String() string {
	return fmt.Sprintf("client %d %s %s with the fence %d, sent at %d, answered at %d", e.Client, e.Kind, e.Lock, e.Fence, e.Sent/1e6, e.Answered/1e6)
}

// holding is all that is known of a fence.
type holding struct {
	grant    event
	last     event   // of the grant and the renewals, that which was sent last
	unsure   bool    // the outcome of a renewal is unknown: after a step back of the clock, the expiry may be earlier than known
	released int64   // when the release was sent; 0: never
	acks     []event // the grant and the renewals
	writes   []event
}

// never is after every event.
const never = int64(1) << 62

func (h *holding) end() int64 {
	if h.released == 0 {
		return never
	}
	return h.released
}

// history is a sorted record.
type history struct {
	locks  map[string][]*holding // in the order of their fences
	steps  []event
	faults []string
}

// epochBits of a fence number the acquisitions of an epoch: the clock of a single master has set all expiries of an epoch's grants.
const epochBits = 40

// newHistory sorts a record by locks and fences.
func newHistory(events []event) *history {
	h := &history{locks: make(map[string][]*holding)}
	byFence := make(map[string]*holding)
	key := func(e event) string { return fmt.Sprint(e.Lock, " ", e.Fence) }
	for _, e := range events {
		if e.Kind != granted {
			continue
		}
		if other := byFence[key(e)]; other != nil {
			h.fault("one fence for two acquisitions", e, other.grant)
			continue
		}
		x := &holding{grant: e, last: e, acks: []event{e}}
		byFence[key(e)] = x
		h.locks[e.Lock] = append(h.locks[e.Lock], x)
	}
	for _, e := range events {
		x := byFence[key(e)]
		switch {
		case e.Kind == stepped:
			h.steps = append(h.steps, e)
		case x == nil || e.Kind == granted:
		case e.Kind == renewed:
			x.acks = append(x.acks, e)
			if e.Sent > x.last.Sent {
				x.last = e
			}
		case e.Kind == unknown:
			x.unsure = true
		case e.Kind == released:
			x.released = e.Sent
		default:
			x.writes = append(x.writes, e)
		}
	}
	for _, holdings := range h.locks {
		slices.SortFunc(holdings, func(a, b *holding) int { return cmp.Compare(a.grant.Fence, b.grant.Fence) })
	}
	return h
}

func (h *history) fault(what string, events ...event) {
	text := what
	for i := range events {
		text += "\n    " + events[i].String()
	}
	h.faults = append(h.faults, text)
}

// forward is by how much clocks may have been set forward in a time: by so much earlier a lock may have expired.
func (h *history) forward(from, to int64) (sum time.Duration) {
	for _, s := range h.steps {
		if s.Answered >= from && s.Sent <= to {
			sum += s.TTL
		}
	}
	return sum
}

// back is by how much clocks may have been set back in a time. A lock may have expired before that, so that a later grant has a
// moment of the clock before the expiry.
func (h *history) back(from, to int64) (sum time.Duration) {
	for _, s := range h.steps {
		if s.Answered >= from && s.Sent <= to {
			sum += s.Back
		}
	}
	return sum
}

// heldUntil is a moment before which an acknowledged grant or renewal has not expired, as seen from the moment now.
func (h *history) heldUntil(ack event, now int64) int64 {
	return ack.Sent + int64(ack.TTL-h.forward(ack.Sent, now))
}

// check returns the faults of the history.
func (h *history) check() []string {
	for _, holdings := range h.locks {
		for i, x := range holdings {
			for _, later := range holdings[i+1:] {
				h.checkOrder(x, later)
				h.checkExpiry(x, later)
			}
			h.checkWrites(x, holdings[i+1:])
		}
	}
	return h.faults
}

// checkOrder: fences grow in the order of the acquisitions.
func (h *history) checkOrder(x, later *holding) {
	if later.grant.Answered < x.grant.Sent {
		h.fault("an acquisition got a smaller fence than one that was answered before", later.grant, x.grant)
	}
}

// checkExpiry: a later holder was granted the lock after the release or the end of the time to live. That is exact for two grants
// by the clock of the same master, and holds by the clock of the machine for all grants.
func (h *history) checkExpiry(x, later *holding) {
	if x.end() <= later.grant.Answered {
		return
	}
	early := x.last.Expires - (later.grant.Expires - later.grant.TTL.Microseconds()) - h.back(x.last.Sent, later.grant.Answered).Microseconds()
	if early > 0 && !x.unsure && x.grant.Fence>>epochBits == later.grant.Fence>>epochBits {
		h.fault(fmt.Sprintf("granted %d µs before the expiry, by the clock of the master", early), x.last, later.grant)
	}
	if until := h.heldUntil(x.last, later.grant.Answered); later.grant.Answered < until {
		h.fault(fmt.Sprintf("granted %v before the time to live was over", time.Duration(until-later.grant.Answered)), x.last, later.grant)
	}
}

// checkWrites: a write is refused once there is a later holder, and accepted as long as the lock is held.
func (h *history) checkWrites(x *holding, later []*holding) {
	for _, w := range x.writes {
		if w.Kind == refused {
			h.checkRefusal(x, w)
			continue
		}
		for _, l := range later {
			if l.grant.Answered < w.Sent {
				h.fault("a write with a stale fence was stored", w, l.grant)
			}
		}
	}
}

func (h *history) checkRefusal(x *holding, w event) {
	if w.Answered >= x.end() {
		return
	}
	for _, ack := range x.acks {
		if ack.Answered < w.Sent && w.Answered < h.heldUntil(ack, w.Answered) {
			h.fault("a write of the holder was refused", ack, w)
			return
		}
	}
}

// counts are what a history shows.
type counts struct{ grants, renewals, writes, refusals, handedOver int }

// count counts. Handed over is a lock that was granted before the moment and renewed or written to afterwards.
func (h *history) count(promoted int64) (c counts) {
	for _, holdings := range h.locks {
		for _, x := range holdings {
			c.grants++
			c.renewals += len(x.acks) - 1
			survived := promoted > 0 && x.grant.Answered < promoted && x.last.Sent > promoted
			for _, w := range x.writes {
				if w.Kind == refused {
					c.refusals++
					continue
				}
				c.writes++
				survived = survived || promoted > 0 && x.grant.Answered < promoted && w.Sent > promoted
			}
			if survived {
				c.handedOver++
			}
		}
	}
	return c
}
