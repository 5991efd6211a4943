package report

import (
	"bytes"
	_ "embed" // for the template
	"fmt"
	"html/template"
	"slices"
	"strings"
)

// The chart is SVG from a template in place of a chart library. No maintained library writes both colour schemes
// into one file, as GitHub's two modes require, and the bars and lines take little more code than a library's
// options.
//
//go:embed chart.svg.tmpl
var chartText string

var chartTemplate = template.Must(template.New("chart").Parse(chartText))

// canvas collects the elements of the chart. Positions are in pixels from the top left; classes are the
// template's.
type canvas struct {
	Width, Height float64
	Grid          []line // behind everything
	Rects         []rect
	Lines         []line
	Texts         []label
}

type rect struct {
	Class      string
	X, Y, W, H float64
	Title      string // the tooltip
}

type line struct {
	Class  string
	Points string
}

type label struct {
	Class  string // also says where x is: start, middle or end
	X, Y   float64
	String string
}

func (c *canvas) rect(class string, x, y, w, h float64, title string) {
	c.Rects = append(c.Rects, rect{class, x, y, max(0, w), h, title})
}

// line draws through points, which are x and y in turn.
func (c *canvas) line(class string, points ...float64) {
	var b strings.Builder
	for i := 0; i+1 < len(points); i += 2 {
		fmt.Fprintf(&b, "%.1f,%.1f ", points[i], points[i+1])
	}
	if class == "grid" {
		c.Grid = append(c.Grid, line{class, strings.TrimSpace(b.String())})
		return
	}
	c.Lines = append(c.Lines, line{class, strings.TrimSpace(b.String())})
}

func (c *canvas) text(class string, x, y float64, format string, args ...any) {
	c.Texts = append(c.Texts, label{class, x, y, fmt.Sprintf(format, args...)})
}

const (
	chartWidth  = 960
	chartMargin = 28
	chartLabels = 200 // for the names at the left
	chartRow    = 13
	chartGap    = 46 // between panels
)

// SVG draws rates, ratios and growth below each other, as far as measured.
func (r *Record) SVG() ([]byte, error) {
	c := &canvas{Width: chartWidth, Height: chartMargin}
	for _, panel := range []func(*canvas, float64) float64{r.drawRates, r.drawRatios, r.drawGrowth} {
		if bottom := panel(c, c.Height); bottom > c.Height {
			c.Height = bottom + chartGap
		}
	}
	c.Height += chartMargin - chartGap/2
	c.text("note", chartMargin, c.Height-14, "%s; %d rounds of %.1f s, medians, thin lines from the lowest to the highest; %s",
		r.Machine, r.Rounds, r.Seconds, r.Began.Format("2006-01-02"))
	c.Height += 6
	var b bytes.Buffer
	err := chartTemplate.Execute(&b, c)
	return b.Bytes(), err
}

// plot is a rectangle with axes: x in powers of ten, y from 0.
type plot struct {
	c                        *canvas
	left, right, top, bottom float64
	first, last              float64 // exponents
	most                     float64
}

func (g *plot) x(exponent float64) float64 {
	return g.left + (g.right-g.left)*(exponent-g.first)/(g.last-g.first)
}

func (g *plot) y(v float64) float64 { return g.bottom - (g.bottom-g.top)*v/g.most }

func (g *plot) axes() {
	for v, step := 0.0, roundStep(g.most); v <= g.most; v += step {
		g.c.line("grid", g.left, g.y(v), g.right, g.y(v))
		g.c.text("tick end", g.left-8, g.y(v)+4, "%s", thousands(v))
	}
	for e := g.first; e <= g.last; e++ {
		g.c.text("tick middle", g.x(e), g.bottom+16, "10%c", []rune("⁰¹²³⁴⁵⁶⁷⁸⁹")[int(e)])
	}
}

// curve draws a line with dots and keeps the name for the legend.
func (g *plot) curve(class, name string, points []float64) {
	if len(points) == 0 {
		return
	}
	if len(points) > 2 {
		g.c.line("curve "+class, points...)
	}
	for i := 0; i < len(points); i += 2 {
		g.c.rect(class, points[i]-3, points[i+1]-3, 6, 6, name)
	}
	g.c.text("", g.right+12, points[len(points)-1]+4, "%s", name)
}

// names moves the curves' names, the last texts, apart where they overlap.
func (g *plot) names() {
	var ends []*label
	for i := range g.c.Texts {
		if t := &g.c.Texts[i]; t.X == g.right+12 && t.Y > g.top-10 {
			ends = append(ends, t)
		}
	}
	slices.SortFunc(ends, func(a, b *label) int { return int(a.Y - b.Y) })
	for i := 1; i < len(ends); i++ {
		ends[i].Y = max(ends[i].Y, ends[i-1].Y+14)
	}
}
