package report

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// roundsOf returns a round for each figure: a rate and latencies in ms.
func roundsOf(all ...float64) (rounds []Report) {
	for _, v := range all {
		rounds = append(rounds, Report{PerSecond: v, P50: time.Duration(v) * time.Millisecond, P99: time.Duration(v) * time.Millisecond})
	}
	return rounds
}

func TestSpreadIsMedianLowestAndHighest(t *testing.T) {
	for _, c := range []struct {
		rounds []Report
		want   spread
	}{
		{nil, spread{}},
		{roundsOf(7), spread{7, 7, 7}},
		{roundsOf(9, 1, 5), spread{5, 1, 9}},
		{roundsOf(4, 1, 2, 100), spread{3, 1, 100}},
	} {
		if got := SpreadOf(c.rounds, Rate); got != c.want {
			t.Errorf("%v: %v, want %v", c.rounds, got, c.want)
		}
	}
}

func TestRatioComparesRoundWithRound(t *testing.T) {
	p := Point{"get", 64, 100}
	q := ratio{name: "x", ours: "a", other: "b", ourPoint: p, otherPoint: p, metric: Rate, target: 0.5}
	all := []*Measurement{
		{System: "a", Point: p, Rounds: roundsOf(50, 10, 60)},
		{System: "b", Point: p, Rounds: roundsOf(100, 10, 100)}, // the second round was disturbed for both
	}
	got := q.outcome(all)
	if !got.Available || got.Ratio != (spread{0.6, 0.5, 1}) || !got.Met || got.Ours.Median != 50 {
		t.Errorf("%+v", got)
	}
	q.atMost = true
	if got := q.outcome(all); got.Met {
		t.Errorf("0.6 is met as at most 0.5: %+v", got)
	}
	q.metric, q.atMost = p99, false
	if got := q.outcome(all); got.Ratio.Median != 0.6 {
		t.Errorf("by p99: %+v", got)
	}
}

// TestShareOfTheCeilingIsComparedRoundByRound: the ratio over TLS is compared with the ratio without, in each round.
func TestShareOfTheCeilingIsComparedRoundByRound(t *testing.T) {
	var relative ratio
	for _, q := range accessRatios() {
		if q.base != nil && q.ourPoint == GetMany {
			relative = q
		}
	}
	all := []*Measurement{
		{System: OpenRunnel, Point: GetMany, Rounds: roundsOf(50, 5, 50)},
		{System: OpenCeiling, Point: GetMany, Rounds: roundsOf(100, 10, 100)},
		{System: SecureRunnel, Point: GetMany, Rounds: roundsOf(28, 28, 16)},
		{System: SecureCeiling, Point: GetMany, Rounds: roundsOf(64, 64, 64)},
	}
	got := relative.outcome(all)
	if !got.Available || got.Ratio != (spread{0.875, 0.5, 0.875}) || got.Ours.Median != 0.4375 || got.Other.Median != 0.5 || !got.Met {
		t.Errorf("%+v", got)
	}
	for i := range all {
		if o := relative.outcome(append(all[:i:i], all[i+1:]...)); o.Available {
			t.Errorf("without %s: %+v", all[i].System, o)
		}
		failed := *all[i]
		failed.Rounds = append([]Report{{PerSecond: 1, Errors: 1}}, failed.Rounds[1:]...)
		if o := relative.outcome(append([]*Measurement{&failed}, append(all[:i:i], all[i+1:]...)...)); o.Available {
			t.Errorf("with failures of %s: %+v", all[i].System, o)
		}
	}
}

func TestNothingIsInvented(t *testing.T) {
	p := Point{"get", 64, 100}
	q := ratio{name: "x", ours: "a", other: "b", ourPoint: p, otherPoint: p, metric: Rate, target: 0.5}
	failed := roundsOf(100)
	failed[0].Errors = 1
	for name, all := range map[string][]*Measurement{
		"missing": {{System: "a", Point: p, Rounds: roundsOf(50)}},
		"failed":  {{System: "a", Point: p, Rounds: roundsOf(50)}, {System: "b", Point: p, Rounds: failed}},
		"silent":  {{System: "a", Point: p, Rounds: roundsOf(50)}, {System: "b", Point: p, Rounds: roundsOf(0)}},
	} {
		o := q.outcome(all)
		var b bytes.Buffer
		if err := WriteRatios(&b, []outcome{o}); err != nil || o.Available || o.Met || !strings.Contains(b.String(), "not available") {
			t.Errorf("%s: %+v, %q", name, o, b.String())
		}
	}
}

// TestWhatIsLackingIsSaid: a case that a system lacks is not available, with the reason.
func TestWhatIsLackingIsSaid(t *testing.T) {
	reason := (&Record{Missing: map[string]string{"etcd": "no such program", "runnel-mariadb batch-get": "status 404"}}).Reason
	ran := func(p Phase) bool { return p == MainPhase }
	why := map[string]string{}
	for _, o := range Outcomes(nil, ran, false, reason) {
		if o.Available {
			t.Errorf("%s is available", o.Name)
		}
		why[o.Name] = o.Why
	}
	if why["get-mariadb/etcd"] != "no such program" || why["batch-get/get-mariadb"] != "status 404" || why["get-mariadb/plain"] != "not measured" {
		t.Errorf("%v", why)
	}
}

func TestLimitHoldsOursAlone(t *testing.T) {
	q := ratio{name: "x", ours: "a", ourPoint: LagIdle, metric: p50, target: 5, atMost: true}
	for ms, met := range map[float64]bool{4: true, 6: false} {
		o := q.outcome([]*Measurement{{System: "a", Point: LagIdle, Rounds: roundsOf(ms)}})
		var b bytes.Buffer
		if err := WriteRatios(&b, []outcome{o}); err != nil || !o.Available || o.Met != met || !strings.Contains(b.String(), "target ≤ 5:") {
			t.Errorf("%v: %+v, %q", ms, o, b.String())
		}
	}
}
