package main

import (
	"fmt"
	"io"
	"time"
)

// A progress tells how far a run is and how long it will still take, judged by how long it was expected to take.
type progress struct {
	w           io.Writer
	began       time.Time
	total, done time.Duration // expected
	told        time.Time
}

// progressEvery is how often it tells, unless something new begins.
const progressEvery = 10 * time.Second

func newProgress(w io.Writer) *progress { return &progress{w: w, began: time.Now()} }

// begin tells that something new begins.
func (p *progress) begin(format string, args ...any) {
	p.told = time.Now()
	fmt.Fprintf(p.w, "%s%s\n", p.left(), fmt.Sprintf(format, args...))
}

// step notes that what was expected to take d is done, and tells so now and then, unless there is nothing to tell.
func (p *progress) step(d time.Duration, format string, args ...any) {
	p.done += d
	if format != "" && time.Since(p.told) >= progressEvery {
		p.begin(format, args...)
	}
}

// left is what stands before a line.
func (p *progress) left() string {
	elapsed := time.Since(p.began)
	if p.total == 0 || p.done == 0 {
		return fmt.Sprintf("[%4s, about %v in all] ", elapsed.Round(time.Second), p.total.Round(time.Minute))
	}
	rest := time.Duration(float64(elapsed) * float64(p.total-p.done) / float64(p.done))
	return fmt.Sprintf("[%4s, about %v left] ", elapsed.Round(time.Second), max(0, rest).Round(10*time.Second))
}
