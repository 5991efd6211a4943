package console

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/runnelkv/runnel/api/wire"
)

// overviewPage is the data of the first page.
type overviewPage struct {
	live
	wire.Status
	Level        level
	Headline     string
	Detail       string
	Rows         []partitionRow
	Wide, Narrow *picture
	Charts       []*chart // for wide and narrow screens
	Slots        int
}

// level says how well a part is.
type level string

const (
	fine     level = "ok"
	degraded level = "warn"
	broken   level = "bad"
	unclear  level = "unknown"
)

// partitionRow is a partition with its largest lag.
type partitionRow struct {
	*wire.PartitionStatus
	Level  level
	Lag    string
	Slots  int
	Behind level // how well the partition follows
}

// showOverview shows the partitions. Senders without that right get the keys.
func showOverview(v *visit) error {
	if !v.r.Grants.MayMonitor() {
		return v.redirect("keys", nil)
	}
	p := new(overviewPage)
	if err := v.fetch("/v1/status", nil, &p.Status); err != nil {
		return err
	}
	p.fill()
	now := time.Now()
	samples := append(v.past.since(now.Add(-chartSpan)), sample{now, v.lags()})
	for _, width := range []int{920, 340} {
		p.Charts = append(p.Charts, drawChart(samples, p.names(), now, width))
	}
	return v.render(http.StatusOK, "overview", "Overview", p)
}

// fill derives the parts of the page from the status.
func (p *overviewPage) fill() {
	slots := map[string]int{}
	if p.ClusterMap != nil {
		for _, m := range p.ClusterMap.Masters {
			slots[string(m.Name)] = m.Slots
			p.Slots += m.Slots
		}
	}
	for i := range p.Partitions {
		row := newPartitionRow(&p.Partitions[i])
		row.Slots = slots[string(row.Name)]
		p.Rows = append(p.Rows, row)
	}
	p.judge()
	p.Wide, p.Narrow = drawPicture(p.Rows, 4), drawPicture(p.Rows, 1)
}

// judge sums the state up in a headline.
func (p *overviewPage) judge() {
	var away, closed []string
	for _, row := range p.Rows {
		if row.Level != fine {
			away = append(away, string(row.Name))
		}
		if row.Role == "master" && !row.Writable {
			closed = append(closed, string(row.Name))
		}
	}
	switch {
	case len(p.Rows) == 0:
		p.Level, p.Headline = unclear, "No partition is known yet"
	case len(closed) > 0:
		p.Level, p.Headline = broken, "Writes to "+strings.Join(closed, ", ")+" fail"
		p.Detail = "Reads go on while a partition holds the key."
	case len(away) > 0:
		p.Level, p.Headline = degraded, fmt.Sprintf("%d of %d partitions not ready", len(away), len(p.Rows))
		p.Detail = strings.Join(away, ", ") + "; reads and writes go on."
	default:
		p.Level, p.Headline = fine, fmt.Sprintf("All %d partitions are ready", len(p.Rows))
		p.Detail = "Reads and writes work."
	}
}

func (p *overviewPage) names() (names []string) {
	for _, row := range p.Rows {
		names = append(names, string(row.Name))
	}
	return names
}

func newPartitionRow(p *wire.PartitionStatus) partitionRow {
	row := partitionRow{PartitionStatus: p, Level: levelOf(p.State), Behind: fine, Lag: "up to date"}
	var revisions int64
	var seconds float64
	for _, o := range p.Origins {
		if o.LagSeconds == nil {
			row.Behind, row.Lag = unclear, "not filled yet"
			return row
		}
		revisions, seconds = max(revisions, o.LagRevisions), max(seconds, *o.LagSeconds)
	}
	switch {
	case len(p.Origins) == 0:
		row.Behind, row.Lag = unclear, "unknown"
	case seconds >= 10 || row.Level == broken:
		row.Behind = degraded
		fallthrough
	case revisions > 0 || seconds >= 10:
		row.Lag = secondsText(seconds) + " behind"
	}
	return row
}

// levelOf judges the state of a partition.
func levelOf(state string) level {
	switch state {
	case "ready":
		return fine
	case "unreachable", "refused", "failed", "behind":
		return broken
	case "starting", "filling", "catching_up", "read_only":
		return degraded
	}
	return unclear
}

// secondsText describes a lag.
func secondsText(s float64) string {
	switch {
	case s == 0:
		return "0 s"
	case s < 1:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 120:
		return fmt.Sprintf("%.0f s", s)
	}
	return span(time.Duration(s * float64(time.Second)))
}

// runPass makes a pass of the sync process.
func runPass(v *visit, _ url.Values) error {
	if _, err := v.send(http.MethodPost, "/v1/sync", nil, nil, nil); err != nil {
		return err
	}
	return v.redirect("overview", url.Values{"note": {"synced"}})
}

// mastersFirst orders rows for the picture: masters, then replicas.
func mastersFirst(rows []partitionRow) (masters, replicas []partitionRow) {
	for _, row := range rows {
		if row.Role == "master" {
			masters = append(masters, row)
		} else {
			replicas = append(replicas, row)
		}
	}
	return slices.Clip(masters), replicas
}
