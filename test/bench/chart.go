package main

import (
	"bytes"
	_ "embed" // for the template
	"fmt"
	"html/template"
	"strings"
)

// The chart is SVG from a template, not from a chart library: none of those that are kept up writes both colour schemes into one
// file, which is what GitHub's two modes need, and bars and lines are little more than what their options would be.
//
//go:embed chart.svg.tmpl
var chartText string

var chartTemplate = template.Must(template.New("chart").Parse(chartText))

// A canvas collects what is drawn. Positions are in pixels from the top left; classes are the template's.
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
	Title      string // shown to whoever points at it
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

// svg draws rates, ratios and growth below each other, as far as they were measured.
func (r *record) svg() ([]byte, error) {
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
