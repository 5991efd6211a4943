package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// Units of progress.
const (
	unitBytes   = "bytes"
	unitFiles   = "files"
	unitEntries = "entries"
)

// progress is a bar with rate and remaining time on a terminal, and nothing elsewhere. It is safe for concurrent use.
type progress struct{ bar *progressbar.ProgressBar }

// newProgress starts one of total units on standard error; a total of -1 means that it is unknown.
func (p *program) newProgress(what string, total int64, unit string) *progress {
	if !p.isTerminal(p.stderr) {
		return &progress{}
	}
	return &progress{progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(p.stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(unit == unitBytes),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString(unit),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)}
}

// add and finish leave out the bar's errors: they are those of drawing it, and the work goes on without it.

func (g *progress) add(n int64) {
	if g.bar != nil {
		_ = g.bar.Add64(n)
	}
}

func (g *progress) finish() {
	if g.bar != nil {
		_ = g.bar.Finish()
	}
}
