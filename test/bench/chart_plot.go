package main

import "slices"

// A plot is a rectangle with axes: x of powers of ten, y from 0.
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

// curve draws a line with dots, and remembers its name for the end.
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
