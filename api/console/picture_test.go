package console

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api/wire"
)

// newRows returns masters and replicas with these states, such as "ready".
func newRows(masters, replicas []string) (rows []partitionRow) {
	lag := 0.0
	for i, state := range append(masters, replicas...) {
		p := &wire.PartitionStatus{Name: wire.Text(fmt.Sprint("p", i)), Role: "replica", State: state, Writable: state == "ready", Origins: []wire.OriginStatus{{LagSeconds: &lag}}}
		if i < len(masters) {
			p.Role = "master"
		}
		rows = append(rows, newPartitionRow(p))
	}
	return rows
}

// TestPictureHasRoomForEveryPartition: boxes lie in the picture and do not overlap, and a way leads from every master to every replica.
func TestPictureHasRoomForEveryPartition(t *testing.T) {
	for masters := 1; masters <= 9; masters++ {
		for replicas := 0; replicas <= 9; replicas++ {
			rows := newRows(make([]string, masters), make([]string, replicas))
			for _, columns := range []int{1, 4} {
				p := drawPicture(rows, columns)
				if len(p.Boxes) != masters+replicas || len(p.Ways) != masters*replicas+masters-1 {
					t.Fatalf("%d masters, %d replicas: %d boxes, %d ways", masters, replicas, len(p.Boxes), len(p.Ways))
				}
				for i, a := range p.Boxes {
					if a.X < 0 || a.Y < 0 || a.X+boxWidth > p.Width || a.Y+boxHeight > p.Height {
						t.Errorf("%d masters, %d replicas, %d columns: box %d at %d, %d of %d, %d", masters, replicas, columns, i, a.X, a.Y, p.Width, p.Height)
					}
					for _, b := range p.Boxes[i+1:] {
						if a.X < b.X+boxWidth && b.X < a.X+boxWidth && a.Y < b.Y+boxHeight && b.Y < a.Y+boxHeight {
							t.Errorf("%d masters, %d replicas, %d columns: %s and %s overlap", masters, replicas, columns, a.Name, b.Name)
						}
					}
				}
			}
		}
	}
}

// TestHeadlineNamesTheWorst: failing writes come before partitions that are away.
func TestHeadlineNamesTheWorst(t *testing.T) {
	for _, c := range []struct {
		masters, replicas []string
		level             level
		headline          string
	}{
		{[]string{"ready"}, []string{"ready", "ready"}, fine, "All 3 partitions are ready"},
		{[]string{"ready"}, []string{"ready", "unreachable"}, degraded, "1 of 3 partitions not ready"},
		{[]string{"ready", "unreachable"}, []string{"filling"}, broken, "Writes to p1 fail"},
		{[]string{"read_only"}, nil, broken, "Writes to p0 fail"},
		{nil, nil, unclear, "No partition is known yet"},
	} {
		p := &overviewPage{Rows: newRows(c.masters, c.replicas)}
		p.judge()
		if p.Level != c.level || p.Headline != c.headline {
			t.Errorf("%v %v: %s %q", c.masters, c.replicas, p.Level, p.Headline)
		}
	}
	ways := drawPicture(newRows([]string{"ready", "unreachable"}, []string{"ready"}), 4).Ways // to the replica from both, and between both
	if ways[0].Level != fine || ways[1].Level != broken || ways[2].Level != broken {
		t.Errorf("the ways at a lost master are %v", ways)
	}
}

// TestChartStaysInItsFrame draws lags from nothing to years, with gaps, and never keeps more than an hour.
func TestChartStaysInItsFrame(t *testing.T) {
	now := time.Now()
	for _, most := range []time.Duration{0, time.Millisecond, time.Second, 90 * time.Second, 400 * 24 * time.Hour} {
		h := new(history)
		for i := range 3 * maxSamples {
			lags := map[string]time.Duration{"a": most * time.Duration(i%2)}
			if i%10 == 0 {
				delete(lags, "a")
			}
			h.add(now.Add(time.Duration(i-3*maxSamples)*sampleEvery), lags)
		}
		samples := h.since(now.Add(-chartSpan))
		if len(h.samples) > maxSamples || len(samples) < maxSamples-3 {
			t.Fatalf("%d samples are kept, %d shown", len(h.samples), len(samples))
		}
		c := drawChart(samples, []string{"a", "b"}, now, 340)
		if len(c.Lines[0].Paths) < 30 || len(c.Lines[1].Paths) != 0 || c.Lines[1].Last != "unknown" {
			t.Errorf("%v: %d pieces of a, %d of b", most, len(c.Lines[0].Paths), len(c.Lines[1].Paths))
		}
		for _, point := range strings.Fields(strings.Join(c.Lines[0].Paths, " ")) {
			var x, y int
			if _, err := fmt.Sscanf(point, "%d,%d", &x, &y); err != nil || x < c.Left || x > c.Right || y < c.Top-60 || y > c.Bottom {
				t.Fatalf("%v: the point %s, %v", most, point, err)
			}
		}
	}
}

// TestComparisonAlignsLines compares texts by lines.
func TestComparisonAlignsLines(t *testing.T) {
	for _, c := range []struct{ left, right, want string }{
		{"a\nb\nc", "a\nB\nc", "a=a b!B c=c"},
		{"a\nb", "a\nx\nb", "a=a !x b=b"},
		{"a\nx\nb", "a\nb", "a=a x! b=b"},
		{"a", "b", "a!b"},
		{"", "", "="},
	} {
		rows, _ := compareLines(c.left, c.right)
		var got []string
		for _, r := range rows {
			sign := "="
			if r.Changed {
				sign = "!"
			}
			got = append(got, r.Left+sign+r.Right)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q and %q: %q, want %q", c.left, c.right, got, c.want)
		}
	}
	if _, tooLong := compareLines(strings.Repeat("a\n", maxDiffLines+1), "a"); !tooLong {
		t.Error("a long text is compared")
	}
}

func TestNumbersAreShort(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 1536: "1.50 KiB", 104858: "102 KiB", 5 << 20: "5.00 MiB", 1 << 40: "1.00 TiB"} {
		if got := byteSize(n); got != want {
			t.Errorf("%d bytes: %q", n, got)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1\u202f000", -1234567: "−1\u202f234\u202f567"} {
		if got := digits(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
	for d, want := range map[time.Duration]string{0: "just now", time.Minute: "1 min ago", 90 * time.Minute: "1 h ago", 49 * time.Hour: "2 d ago"} {
		if got := ago(d); got != want {
			t.Errorf("%v: %q", d, got)
		}
	}
}
