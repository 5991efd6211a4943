package console

import (
	"fmt"
	"strings"
	"time"
)

// chart shows the lag of the partitions in the last hour.
type chart struct {
	Width, Height  int
	Narrow         bool // for phones
	Left, Right    int  // of the lines
	Top, Bottom    int
	Lines          []line
	Levels, Clocks []mark
	Label          string // in words, for screen readers
}

// line is a partition.
type line struct {
	Number int // of its colour
	Name   string
	Paths  []string // points of SVG polylines, with gaps between them where the lag is unknown
	Last   string
	Most   string
}

// mark is a label of an axis.
type mark struct {
	X, Y int
	Text string
}

// maxLines bounds the lines of a chart, as there are colours to tell apart.
const maxLines = 6

// steps are the upper ends of the axis of the lag.
var steps = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
	10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour, 365 * 24 * time.Hour}

// drawChart draws the samples of the hour before now.
func drawChart(samples []sample, names []string, now time.Time, width int) *chart {
	c := &chart{Width: width, Narrow: width < 400, Height: 200, Left: 52, Right: width - 8, Top: 12, Bottom: 172}
	var most time.Duration
	for _, s := range samples {
		for _, lag := range s.lags {
			most = max(most, lag)
		}
	}
	top := steps[len(steps)-1]
	for _, step := range steps {
		if step >= most {
			top = step
			break
		}
	}
	for _, part := range []int{0, 1, 2} {
		c.Levels = append(c.Levels, mark{c.Left - 8, c.y(top*time.Duration(part)/2, top), secondsText((top * time.Duration(part) / 2).Seconds())})
	}
	for _, minutes := range []int{60, 30, 0} {
		text := fmt.Sprintf("%d min ago", minutes)
		if minutes == 0 {
			text = "now"
		}
		c.Clocks = append(c.Clocks, mark{c.x(now.Add(-time.Duration(minutes)*time.Minute), now), c.Bottom + 20, text})
	}
	for i, name := range names[:min(len(names), maxLines)] {
		c.Lines = append(c.Lines, c.trace(samples, name, i, now, top))
	}
	c.Label = c.summary(len(samples))
	return c
}

// trace draws the line of a partition.
func (c *chart) trace(samples []sample, name string, number int, now time.Time, top time.Duration) line {
	l := line{Number: number, Name: name, Last: "unknown", Most: "unknown"}
	var points []string
	var most time.Duration
	end := func() {
		if len(points) == 1 {
			points = append(points, points[0]) // draws a point
		}
		if len(points) > 0 {
			l.Paths = append(l.Paths, strings.Join(points, " "))
		}
		points = nil
	}
	for _, s := range samples {
		lag, known := s.lags[name]
		if !known {
			end()
			l.Last = "unknown"
			continue
		}
		most = max(most, lag)
		points = append(points, fmt.Sprintf("%d,%d", c.x(s.at, now), c.y(lag, top)))
		l.Last, l.Most = secondsText(lag.Seconds()), secondsText(most.Seconds())
	}
	end()
	return l
}

func (c *chart) x(at, now time.Time) int {
	return c.Right - int(float64(c.Right-c.Left)*now.Sub(at).Seconds()/chartSpan.Seconds())
}

func (c *chart) y(lag, top time.Duration) int {
	return c.Bottom - int(float64(c.Bottom-c.Top)*lag.Seconds()/top.Seconds())
}

// summary tells the chart in words.
func (c *chart) summary(samples int) string {
	if samples == 0 {
		return "No samples yet"
	}
	parts := make([]string, len(c.Lines))
	for i, l := range c.Lines {
		parts[i] = fmt.Sprintf("%s: now %s, at most %s", l.Name, l.Last, l.Most)
	}
	return "Lag in the last hour: " + strings.Join(parts, "; ")
}
