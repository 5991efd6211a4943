package main

import (
	"fmt"
	"io"
	"time"
)

// progress shows how much of a run is done and the time left, by the expected durations.
type progress struct {
	w           io.Writer
	began       time.Time
	total, done time.Duration // expected
	told        time.Time
}

// progressEvery is the interval of progress lines, except at the begin of a step.
const progressEvery = 10 * time.Second

func newProgress(w io.Writer) *progress { return &progress{w: w, began: time.Now()} }

// begin shows the begin of a step.
func (p *progress) begin(format string, args ...any) {
	p.told = time.Now()
	fmt.Fprintf(p.w, "%s%s\n", p.left(), fmt.Sprintf(format, args...))
}

// step counts work with the expected duration d as done, and shows progress at intervals unless format is empty.
func (p *progress) step(d time.Duration, format string, args ...any) {
	p.done += d
	if format != "" && time.Since(p.told) >= progressEvery {
		p.begin(format, args...)
	}
}

// left formats the prefix of a line.
func (p *progress) left() string {
	elapsed := time.Since(p.began)
	if p.total == 0 || p.done == 0 {
		return fmt.Sprintf("[%4s, about %v in all] ", elapsed.Round(time.Second), p.total.Round(time.Minute))
	}
	rest := time.Duration(float64(elapsed) * float64(p.total-p.done) / float64(p.done))
	return fmt.Sprintf("[%4s, about %v left] ", elapsed.Round(time.Second), max(0, rest).Round(10*time.Second))
}
