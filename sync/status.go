package sync

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// State is how a target stands with an origin, or with all of them.
type State string

const (
	Pending     State = "pending"     // nothing is known yet
	Level       State = "level"       // holds everything that any reachable partition holds
	Standby     State = "standby"     // lags, and another process is copying to it
	Waiting     State = "waiting"     // lacks what no reachable partition can give
	CatchingUp  State = "catching_up" // is amid a catch-up in several steps
	Filling     State = "filling"     // is being filled for the first time
	Refilling   State = "refilling"   // missed tombstones that are gone: is being filled afresh
	Behind      State = "behind"      // others hold newer revisions of this master: nothing of it is copied
	Failed      State = "failed"      // takes no copies; see the error
	Unreachable State = "unreachable" // does not answer
	Refused     State = "refused"     // cannot serve until an operator acts
)

// worse orders states: a target is in the worst of its origins' states.
var worse = map[State]int{Level: 0, Pending: 1, Standby: 2, Waiting: 3, CatchingUp: 4, Filling: 5,
	Refilling: 6, Behind: 7, Failed: 8, Unreachable: 9, Refused: 10}

// totals counts what a lane has done since the syncer was made.
type totals struct {
	Entries int64 // applied
	Bytes   int64 // of their values
	Batches int64 // applied, confirmations of level targets not counted
	Refills int64 // begun
	Errors  int64 // copies that failed
}

func (t *totals) add(o totals) {
	t.Entries += o.Entries
	t.Bytes += o.Bytes
	t.Batches += o.Batches
	t.Refills += o.Refills
	t.Errors += o.Errors
}

// Status is what a syncer has done and is doing.
type Status struct {
	Holder   string        // its name in leases
	Active   bool          // holds the lease of some target
	Passes   int64         // begun
	LastPass time.Time     // when the last pass began
	NextPass time.Time     // when the schedule's next one after it is due; zero: none is
	LastTook time.Duration // of the last pass of which everything has ended
	Targets  []TargetStatus
}

// TargetStatus is a partition's part of a Status. Counts are since the syncer
// was made.
type TargetStatus struct {
	Name      string
	State     State
	Err       error     // why it is not level, if more is known than the state says
	NextTry   time.Time // when it is tried again; zero: at the next pass
	Standby   bool      // another process has its lease
	Entries   int64     // copied to it
	Bytes     int64     // of their values
	Batches   int64     // applied
	Refills   int64     // begun
	Errors    int64     // copies that failed
	Collected int64     // tombstones removed
	Swept     int64     // expired entries of which it is the master, made tombstones
	ToGo      int64     // entries to go, at most; counted in revisions
	Origins   []OriginStatus
}

// OriginStatus is how a target stands with one origin.
type OriginStatus struct {
	Origin   partition.Origin
	State    State
	Revision partition.Revision // the target's position, as last read
	ToGo     int64
}

// Status returns how things stand now.
func (s *Syncer) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Holder: s.options.Holder, Passes: s.passes, LastPass: s.lastPass, LastTook: s.lastTook}
	if s.passes > 0 {
		st.NextPass = following(s.options.Schedule, s.lastPass)
	}
	for _, p := range s.peers {
		st.Targets = append(st.Targets, p.status())
		st.Active = st.Active || p.lease.isHeld()
	}
	return st
}

// status sums the peer's lanes up. Syncer.mu is held.
func (p *peer) status() TargetStatus {
	t := TargetStatus{Name: p.Name(), State: Level, Collected: p.collected, Swept: p.swept, Standby: p.lease.isStandby()}
	var sum totals
	for o, l := range p.lanes {
		sum.add(l.totals)
		t.ToGo += l.toGo
		t.Origins = append(t.Origins, OriginStatus{o, l.state, p.known.Origins[o].Revision, l.toGo})
		if worse[l.state] > worse[t.State] {
			t.State, t.Err, t.NextTry = l.state, l.err, l.pause.until
		}
	}
	t.Entries, t.Bytes, t.Batches, t.Refills, t.Errors = sum.Entries, sum.Bytes, sum.Batches, sum.Refills, sum.Errors
	slices.SortFunc(t.Origins, func(a, b OriginStatus) int { return cmp.Compare(a.Origin, b.Origin) })
	switch {
	case p.fault != nil:
		t.State, t.Err, t.NextTry = stateOf(p.fault), p.fault, time.Time{}
	case p.err != nil:
		t.State, t.Err, t.NextTry = stateOf(p.err), p.err, p.pause.until
	case !p.read:
		t.State = Pending
	}
	return t
}

// Report is how every partition stood at the end of a pass.
type Report struct {
	Began   time.Time
	Took    time.Duration
	Targets []TargetReport // in the order of the configuration
}

// TargetReport is a partition's part of a Report.
type TargetReport struct {
	TargetStatus
	Copied int64 // entries copied during the pass
}

// Level reports whether every reachable partition is level, and there is one.
func (r Report) Level() bool {
	reachable := 0
	for _, t := range r.Targets {
		if t.State == Unreachable {
			continue
		}
		reachable++
		if t.State != Level {
			return false
		}
	}
	return reachable > 0
}

// Away reports whether some partition could not be reached.
func (r Report) Away() bool {
	return slices.ContainsFunc(r.Targets, func(t TargetReport) bool { return t.State == Unreachable })
}

// String is a line for each partition.
func (r Report) String() string {
	var b strings.Builder
	for _, t := range r.Targets {
		b.WriteString(t.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// String is a line such as "partition-1: level at 1099511627999".
func (t TargetReport) String() string {
	switch t.State {
	case Level:
		return t.Name + ": level" + t.at()
	case CatchingUp, Filling, Refilling:
		what := strings.ReplaceAll(string(t.State), "_", " ")
		return fmt.Sprintf("%s: %s, %s entries to go%s", t.Name, what, grouped(t.ToGo), t.because())
	case Standby:
		return t.Name + ": standby, another process is copying to it"
	default:
		return t.Name + ": " + string(t.State) + t.because()
	}
}

func (t TargetReport) because() string {
	if t.Err == nil {
		return ""
	}
	return ": " + t.Err.Error()
}

// at names the position; of each origin, if there are several.
func (t TargetReport) at() string {
	var at []string
	for _, o := range t.Origins {
		if len(t.Origins) == 1 {
			return " at " + strconv.FormatInt(int64(o.Revision), 10)
		}
		at = append(at, fmt.Sprintf("%s %d", o.Origin, o.Revision))
	}
	if at == nil {
		return ""
	}
	return " at " + strings.Join(at, ", ")
}

// grouped writes n with a comma before every three digits.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
