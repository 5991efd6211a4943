package partitiontest

import (
	"fmt"
	"maps"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

var reportChecks = []check{
	{"ReportsOfEachMasterAreCounted", checkReportsCounted},
	{"ReportsThatRaceAllCount", checkReportsRace},
	{"ReportsNeedBallots", checkReportsNeedBallots},
}

func wantReports(t *testing.T, p partition.Partition, want map[string]int64) {
	t.Helper()
	got, err := p.Reports(t.Context())
	must(t, err)
	if !maps.Equal(got, want) {
		t.Errorf("the reports are %v, want %v", got, want)
	}
}

func checkReportsCounted(t *testing.T, s suite) {
	n := s.node(t, beta)
	must(t, n.Finish(t.Context()))
	wantReports(t, n, nil)
	must(t, n.Report(t.Context(), nil))
	must(t, n.Report(t.Context(), []string{beta, alpha}))
	must(t, n.Report(t.Context(), []string{alpha, "Alpha", "a'\"\\%_ä"}))
	want := map[string]int64{alpha: 2, beta: 1, "Alpha": 1, "a'\"\\%_ä": 1}
	wantReports(t, n, want)
	must(t, n.Close())
	p := n.open(t)
	wantReports(t, p, want)
	if err := p.Report(t.Context(), make([]string, partition.MaxReported+1)); err == nil {
		t.Error("a report of too many masters succeeded")
	}
	wantReports(t, p, want)
	if at, err := p.Positions(t.Context()); err != nil || len(at.Origins) != 0 {
		t.Errorf("reports are positions: %v, %v", at, err)
	}
}

func checkReportsRace(t *testing.T, s suite) {
	const each = 5
	n := s.node(t, beta)
	must(t, n.Finish(t.Context()))
	var race []func() error
	for i := range 4 {
		p := n.open(t)
		race = append(race, func() error {
			for range each {
				if err := p.Report(t.Context(), []string{alpha, fmt.Sprint(i), beta}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	together(t, race...)
	wantReports(t, n, map[string]int64{alpha: 4 * each, beta: 4 * each, "0": each, "1": each, "2": each, "3": each})
}

func checkReportsNeedBallots(t *testing.T, s suite) {
	n := s.node(t, beta)
	n.db.PlantSchema(t, BeforeBallots())
	n.Partition = n.open(t)
	wantError(t, n.Report(t.Context(), []string{alpha}), partition.ErrRefused)
	_, err := n.Reports(t.Context())
	wantError(t, err, partition.ErrRefused)
	migrate(t, n)
	must(t, n.Finish(t.Context()))
	wantReports(t, n, nil)
}
