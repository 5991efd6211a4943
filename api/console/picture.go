package console

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// picture shows the masters above the replicas, with the ways of the copies between them.
type picture struct {
	Width, Height int
	Narrow        bool // for phones
	Boxes         []box
	Ways          []way
	Label         string // in words, for screen readers
}

// box is a partition.
type box struct {
	X, Y  int
	Name  string
	Full  string
	Role  string
	Kind  string
	State string
	Lag   string
	Level level
	Links level // how well the partition follows
}

// way is a path on which changes are copied.
type way struct {
	Path  string // attribute d of an SVG path
	Level level
}

// Sizes of the picture, in pixels.
const (
	boxWidth  = 208
	boxHeight = 92
	gapWide   = 36
	gapHigh   = 56
	margin    = 8
)

// drawPicture places the partitions in rows of at most columns.
func drawPicture(rows []partitionRow, columns int) *picture {
	masters, replicas := mastersFirst(rows)
	p := &picture{Narrow: columns == 1, Height: margin}
	columns = max(1, min(columns, max(len(masters), len(replicas))))
	p.Width = columns*(boxWidth+gapWide) - gapWide + 2*margin
	if columns == 1 {
		p.Width += 2 * gapWide // for the ways beside the boxes
	}
	first := p.place(masters, columns, margin)
	last := p.place(replicas, columns, p.Height)
	for _, from := range first {
		for _, to := range last {
			l := to.Links
			if from.Level == broken {
				l = broken
			}
			p.Ways = append(p.Ways, way{connect(from, to, columns == 1), l})
		}
	}
	for i := 1; i < len(first); i++ { // masters copy from each other
		worse := first[i].Links
		if worse == fine {
			worse = first[i-1].Links
		}
		p.Ways = append(p.Ways, way{connect(first[i-1], first[i], columns == 1), worse})
	}
	p.Height += margin - gapHigh
	p.Label = describe(p.Boxes)
	return p
}

// place adds boxes in centred rows below top, and returns the boxes.
func (p *picture) place(rows []partitionRow, columns, top int) []box {
	from := len(p.Boxes)
	p.Height = max(p.Height, top)
	for i, row := range rows {
		inRow := min(columns, len(rows)-i/columns*columns)
		left := (p.Width - inRow*(boxWidth+gapWide) + gapWide) / 2
		b := box{X: left + i%columns*(boxWidth+gapWide), Y: top + i/columns*(boxHeight+gapHigh), Name: shorten(string(row.Name), 18), Full: string(row.Name),
			Role: row.Role, Kind: row.Kind, State: strings.ReplaceAll(row.State, "_", " "), Lag: row.Lag, Level: row.Level, Links: row.Behind}
		if row.Level == broken {
			b.Links = broken
		}
		p.Boxes = append(p.Boxes, b)
		p.Height = max(p.Height, b.Y+boxHeight+gapHigh)
	}
	return p.Boxes[from:]
}

// connect returns the path from a box to another: a curve, or beside boxes that stand in one column a line.
func connect(from, to box, beside bool) string {
	const half = boxWidth / 2
	switch {
	case beside:
		y, end := from.Y+boxHeight/2, to.Y+boxHeight/2
		return fmt.Sprintf("M%d %dh-10q-8 0-8 8V%dq0 8 8 8h10", from.X, y, end-8)
	case from.Y == to.Y:
		return fmt.Sprintf("M%d %dH%d", from.X+boxWidth, from.Y+boxHeight/2, to.X)
	}
	x, y, endX, endY := from.X+half, from.Y+boxHeight, to.X+half, to.Y
	middle := (y + endY) / 2
	return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x, y, x, middle, endX, middle, endX, endY)
}

// describe tells the picture in words.
func describe(boxes []box) string {
	var parts []string
	for _, b := range boxes {
		parts = append(parts, fmt.Sprintf("%s %s: %s, %s", b.Role, b.Full, b.State, b.Lag))
	}
	return strings.Join(parts, "; ")
}

// shorten cuts a text to n characters.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}
