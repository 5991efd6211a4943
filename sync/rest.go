package sync

import (
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// A master that is written flat out keeps the machine for itself: a lane that
// has copied many entries, while further commits came, rests before it copies
// the next, which are more then. Copies that are large and rare cost a fraction
// of small ones: they share the pages and the fsync of the target, and of a key
// that was written several times only the last entry is copied.
//
// What may be late is bounded. An entry waits for the copy under way, one rest
// and its own copy. There is no rest after a copy that took longer than longestCopy:
// such a lane has fallen behind, and copies at full speed until it has caught
// up. There is none after a copy of few entries, nor after a lone commit of
// many. And every rest ends when the commits do.
//
// A client alone that writes one key after the other would have a copy beside each
// of its commits, on the same processors and disks. While commits follow one another
// closely, a lane that was woken again during a copy has a brief rest after it.
const (
	fewEntries  = 16                     // a copy of so many is followed by no rest, …
	manyEntries = 64                     // … one of so many by a full one, in between it grows
	restShare   = 3                      // a full rest is so many times as long as the copy took
	longestRest = 500 * time.Millisecond // … but at most this
	longestCopy = 500 * time.Millisecond
	quiet       = 20 * time.Millisecond // commits have ended when none came for so long

	closely     = 3 * time.Millisecond // a commit follows another closely that came so little before
	closeInARow = 4                    // so many that do are a client, or many, at work
	briefRest   = 4 * time.Millisecond
)

func restAfter(entries int64, took time.Duration) time.Duration {
	if took > longestCopy {
		return 0
	}
	part := max(0, min(entries, manyEntries)-fewEntries)
	return min(took*restShare*time.Duration(part)/(manyEntries-fewEntries), longestRest)
}

// rest is the time after a copy in which no wake starts another.
type rest struct {
	half, end time.Time
	due       bool // a wake has come meanwhile
}

// restNow begins a lane's rest after a copy, if it is to have one, and reports
// whether it does. Syncer.mu is held.
func (s *Syncer) restNow(l *lane, entries int64, took time.Duration) bool {
	now, length := time.Now(), restAfter(entries, took)
	if s.close >= closeInARow && l.again && took <= longestCopy {
		length = max(length, briefRest)
	}
	if length == 0 || !s.flowing || now.Sub(s.lastWake) >= quiet {
		return false
	}
	l.rest = rest{half: now.Add(length / 2), end: now.Add(length), due: l.again}
	return true
}

// resting reports whether the lane is left alone by a woken pass. One that has
// half of its rest behind it goes along with another lane of its origin: one reading
// and one barrier serve both. Syncer.mu is held.
func (s *Syncer) resting(l *lane, now time.Time, company bool) bool {
	end := l.rest.end
	if company {
		end = l.rest.half
	}
	return now.Before(end) && now.Before(s.lastWake.Add(quiet))
}

// restEnds is when a lane that rests and has something to do is to be looked at.
func (s *Syncer) restEnds(l *lane) time.Time {
	if still := s.lastWake.Add(quiet); still.Before(l.rest.end) {
		return still
	}
	return l.rest.end
}

// woke notes a wake and reports whether a pass could do something about it now.
// Otherwise the lanes that are busy or at rest come back to it by themselves.
func (s *Syncer) woke() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	wasQuiet := now.Sub(s.lastWake) >= quiet
	if s.close++; now.Sub(s.lastWake) > closely {
		s.close = 0
	}
	s.lastWake, s.flowing = now, !wasQuiet
	lanes, free := 0, false
	for l := range s.copying(now) {
		lanes++
		if wasQuiet {
			l.rest = rest{}
		}
		switch {
		case l.busy:
			l.again = true
		case s.resting(l, now, false):
			l.rest.due = true
		default:
			free = true
		}
	}
	return free || lanes == 0
}

// copying yields the lanes that a woken pass may use. Syncer.mu is held.
func (s *Syncer) copying(now time.Time) func(func(*lane) bool) {
	return func(yield func(*lane) bool) {
		for _, p := range s.peers {
			if !p.usable(now) {
				continue
			}
			for o, l := range p.lanes {
				if string(o) != p.Name() && l.state != Standby && l.pause.over(now) && !yield(l) {
					return
				}
			}
		}
	}
}

// moving is the origins of which some lane is neither busy nor at rest.
// Syncer.mu is held.
func (s *Syncer) moving(now time.Time) map[partition.Origin]bool {
	moving := make(map[partition.Origin]bool)
	for l := range s.copying(now) {
		if !l.busy && !s.resting(l, now, false) {
			moving[l.origin] = true
		}
	}
	return moving
}
