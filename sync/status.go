package sync

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// State is the state of a target for an origin, or for all origins.
type State string

const (
	Pending     State = "pending"     // unknown so far
	Level       State = "level"       // holds every change that any reachable partition holds
	Standby     State = "standby"     // lags; another process is copying to it
	Waiting     State = "waiting"     // lacks changes that no reachable partition can give
	CatchingUp  State = "catching_up" // in a multi-step catch-up
	Filling     State = "filling"     // being filled for the first time
	Refilling   State = "refilling"   // missed collected tombstones: being filled again
	Behind      State = "behind"      // has lost writes that replicas hold: nothing of this master is copied
	Failed      State = "failed"      // rejects copies; see the error
	Unreachable State = "unreachable" // does not answer
	Refused     State = "refused"     // cannot serve until an operator acts
)

// worse orders states: a target has the worst state of its origins.
var worse = map[State]int{Level: 0, Pending: 1, Standby: 2, Waiting: 3, CatchingUp: 4, Filling: 5,
	Refilling: 6, Behind: 7, Failed: 8, Unreachable: 9, Refused: 10}

// Totals counts work since the syncer was created.
type Totals struct {
	Entries int64 // applied
	Bytes   int64 // of their values
	Batches int64 // applied, without confirmations of level targets
	Refills int64 // begun
	Errors  int64 // failed copies
}

func (t *Totals) addTotals(o Totals) {
	t.Entries += o.Entries
	t.Bytes += o.Bytes
	t.Batches += o.Batches
	t.Refills += o.Refills
	t.Errors += o.Errors
}

// Status describes a syncer.
type Status struct {
	Holder   string        // the process's name in leases
	Active   bool          // the process holds the lease of at least one target
	Passes   int64         // begun
	LastPass time.Time     // when the last pass began
	NextPass time.Time     // when the schedule starts the next pass; zero: never
	LastTook time.Duration // duration of the last completely ended pass
	Targets  []TargetStatus
}

// TargetStatus describes a partition as a target. Counts begin when the syncer is
// created.
type TargetStatus struct {
	Name      string
	State     State
	Err       error     // the reason for State, if known
	NextTry   time.Time // end of the retry delay; zero: at the next pass
	Standby   bool      // another process holds the lease
	Collected int64     // tombstones removed
	Swept     int64     // expired entries of this master that were replaced by tombstones
	ToGo      int64     // upper bound of the entries to copy: a difference of revisions
	Origins   []OriginStatus
	Totals
}

// OriginStatus describes a target for one origin.
type OriginStatus struct {
	Origin   partition.Origin
	State    State
	Revision partition.Revision // the target's position, as last read
	ToGo     int64              // as in TargetStatus
}

// Report describes every partition at the end of a pass.
type Report struct {
	Began   time.Time
	Took    time.Duration
	Targets []TargetReport // in the order of the configuration
}

// TargetReport is the part of a Report about one partition.
type TargetReport struct {
	TargetStatus
	Copied int64 // entries copied during the pass
}

// Level reports whether at least one partition is reachable, and all reachable ones are level.
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

// Away reports whether a partition was unreachable.
func (r Report) Away() bool {
	return slices.ContainsFunc(r.Targets, func(t TargetReport) bool { return t.State == Unreachable })
}

// String returns a line for each partition.
func (r Report) String() string {
	var b strings.Builder
	for _, t := range r.Targets {
		b.WriteString(t.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// String returns a line such as "partition-1: level at 1099511627999".
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

// at returns the position or, if there are several origins, the position for each.
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
