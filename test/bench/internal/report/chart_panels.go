package report

import (
	"fmt"
	"math"
	"strings"
)

// chartSystems are the systems with HTTP, Runnel first.
var chartSystems = []string{OurMariaDB, OurEmbedded, "ceiling", "redis-webdis", "plain-mariadb", "etcd"}

// drawRates draws a bar for GET and a bar for PUT of each system, and returns the bottom of the panel, or top
// without data.
func (r *Record) drawRates(c *canvas, top float64) float64 {
	most := 0.0
	for _, s := range chartSystems {
		for _, p := range []Point{GetMany, putMany} {
			if m := Find(r.Measured, s, p); m != nil {
				most = max(most, SpreadOf(m.Rounds, Rate).Most)
			}
		}
	}
	if most == 0 {
		return top
	}
	c.text("head", chartMargin, top+12, "Requests a second")
	c.text("note", chartMargin+172, top+12, "64 clients on the same processors, values of 100 bytes")
	c.legend(top+4, []string{"get", "put"}, []string{"GET", "durable PUT"})
	scale := newScale(c, chartMargin+chartLabels, chartWidth-chartMargin-70, most)
	y := top + 30
	scale.grid(y, y+float64(len(chartSystems))*(2*chartRow+10)-6)
	for _, s := range chartSystems {
		class, other := "end ours", ""
		if !strings.HasPrefix(s, "runnel") {
			class, other = "end", " other"
		}
		c.text(class, chartMargin+chartLabels-10, y+chartRow+4, "%s", s)
		for i, p := range []Point{GetMany, putMany} {
			if m := Find(r.Measured, s, p); m != nil {
				scale.bar(p.Case+other, y+float64(i)*chartRow, SpreadOf(m.Rounds, Rate), s+" "+strings.ToUpper(p.Case))
			} else {
				c.text("tick", scale.from+4, y+float64(i)*chartRow+10, "not available")
			}
		}
		y += 2*chartRow + 10
	}
	return y + 12
}

// legend draws the meaning of the colours at the right.
func (c *canvas) legend(y float64, classes, names []string) {
	x := float64(chartWidth - chartMargin)
	for i := len(names) - 1; i >= 0; i-- {
		x -= float64(len(names[i]))*6.6 + 26
		c.rect(classes[i], x, y, 11, 11, "")
		c.text("", x+16, y+10, "%s", names[i])
	}
}

// scale is an axis from 0 to the right.
type scale struct {
	c              *canvas
	from, to, most float64
}

func newScale(c *canvas, from, to, most float64) scale { return scale{c, from, to, most} }

func (s scale) at(v float64) float64 { return s.from + (s.to-s.from)*min(v, s.most)/s.most }

// grid draws lines at round numbers between two heights, with the numbers below.
func (s scale) grid(top, bottom float64) {
	for v, step := 0.0, roundStep(s.most); v <= s.most; v += step {
		s.c.line("grid", s.at(v), top-4, s.at(v), bottom)
		s.c.text("tick middle", s.at(v), bottom+14, "%s", thousands(v))
	}
}

func (s scale) bar(class string, y float64, v spread, title string) {
	s.c.rect(class, s.from, y, s.at(v.Median)-s.from, chartRow-2, fmt.Sprintf("%s: %s", title, v))
	middle := y + (chartRow-2)/2.0
	s.c.line("spread", s.at(v.Lowest), middle, s.at(v.Most), middle)
	s.c.text("", s.at(v.Most)+6, y+10, "%s", thousands(v.Median))
}

// roundStep returns the step between grid lines: 1, 2 or 5 times a power of ten, so that four to nine lines fit.
func roundStep(most float64) float64 {
	step := math.Pow(10, math.Floor(math.Log10(most)))
	for _, f := range []float64{0.1, 0.2, 0.5, 1} {
		if most/(step*f) < 9 {
			return step * f
		}
	}
	return step
}

// thousands writes a rate shortly.
func thousands(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 1000:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v/1000), ".0") + "k"
	}
	return fmt.Sprintf("%.0f", v)
}

// mostOfTarget is the right edge: bars of better figures end there.
const mostOfTarget = 2.0

// drawRatios draws each figure as a part of its target.
func (r *Record) drawRatios(c *canvas, top float64) float64 {
	var aimed []outcome
	for _, o := range r.Ratios {
		if o.Target > 0 {
			aimed = append(aimed, o)
		}
	}
	if len(aimed) == 0 {
		return top
	}
	c.text("head", chartMargin, top+12, "Ratios and their targets")
	c.text("note", chartMargin+218, top+12, "the dashed line is the target; further right is better")
	c.legend(top+4, []string{"met", "missed"}, []string{"met", "missed"})
	const wide = 246
	s := newScale(c, chartMargin+wide, chartWidth-chartMargin-190, mostOfTarget)
	y := top + 32
	bottom := y + float64(len(aimed))*(chartRow+5)
	for _, o := range aimed {
		c.text("end", chartMargin+wide-10, y+10, "%s", o.Name)
		o.draw(s, y)
		y += chartRow + 5
	}
	c.line("aim", s.at(1), top+26, s.at(1), bottom)
	return bottom
}

// draw draws a bar as long as the outcome's part of its target. For an upper limit the length is the target's part
// of the outcome.
func (o outcome) draw(s scale, y float64) {
	if !o.Available {
		s.c.text("tick", s.from+4, y+10, "not available")
		return
	}
	part := func(v float64) float64 {
		if o.AtMost {
			return o.Target / max(v, 1e-9)
		}
		return v / o.Target
	}
	class := "missed"
	if o.Met {
		class = "met"
	}
	s.c.rect(class, s.from, y, s.at(part(o.Ratio.Median))-s.from, chartRow-2, fmt.Sprintf("%s: %s", o.Name, o.Ratio))
	middle := y + (chartRow-2)/2.0
	s.c.line("spread", s.at(part(o.Ratio.Lowest)), middle, s.at(part(o.Ratio.Most)), middle)
	unit := ""
	if o.Absolute {
		unit = " " + o.Metric[strings.LastIndexByte(o.Metric, ' ')+1:]
	}
	s.c.text("", s.to+12, y+10, "%s%s (target %s %s)", figure(o.Ratio.Median), unit, o.sign(), o.target())
}

// drawGrowth draws rates over the number of entries.
func (r *Record) drawGrowth(c *canvas, top float64) float64 {
	sizes := map[string]float64{"1e4": 4, "1e5": 5, "1e6": 6, "1e7": 7}
	most, last := 0.0, 0.0
	for _, kind := range []string{OnMariaDB, Embedded} {
		for name, exponent := range sizes {
			for _, p := range GrowthPoints() {
				if m := Find(r.Measured, "runnel-"+kind+"-"+name, p); m != nil {
					most, last = max(most, SpreadOf(m.Rounds, Rate).Median), max(last, exponent)
				}
			}
		}
	}
	if last == 0 {
		return top
	}
	c.text("head", chartMargin, top+12, "Growth")
	c.text("note", chartMargin+76, top+12, "requests a second with so many entries; 64 clients, values of 100 bytes, 3 partitions")
	g := plot{c, chartMargin + 70, chartWidth - chartMargin - 170, top + 34, top + 214, 4, max(last, 5), most * 1.1}
	g.axes()
	for _, kind := range []string{OnMariaDB, Embedded} {
		for _, p := range GrowthPoints() {
			var points []float64
			for _, name := range []string{"1e4", "1e5", "1e6", "1e7"} {
				if m := Find(r.Measured, "runnel-"+kind+"-"+name, p); m != nil {
					points = append(points, g.x(sizes[name]), g.y(SpreadOf(m.Rounds, Rate).Median))
				}
			}
			g.curve(p.Case+" "+kind, strings.ToUpper(p.Case)+" "+kind, points)
		}
	}
	g.names()
	return top + 240
}
