package console

import (
	"cmp"
	"time"

	"github.com/schollz/progressbar/v3"
)

// Units of progress.
const (
	UnitBytes   = "bytes"
	UnitFiles   = "files"
	UnitEntries = "entries"
)

// Progress is a bar with rate and remaining time on a terminal, and nothing elsewhere. It is safe for concurrent use.
type Progress struct{ bar *progressbar.ProgressBar }

// NewProgress starts a bar of total units on standard error; a total of -1 is unknown.
func (s *Streams) NewProgress(what string, total int64, unit string) *Progress {
	if !s.IsTerminal(s.Err) {
		return &Progress{}
	}
	return &Progress{progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(cmp.Or(s.bars, s.Err)),
		progressbar.OptionSetDescription(Line(what)),
		progressbar.OptionShowBytes(unit == UnitBytes),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString(unit),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)}
}

// Add counts n more units. Errors of drawing are ignored.
func (g *Progress) Add(n int64) {
	if g.bar != nil {
		_ = g.bar.Add64(n)
	}
}

// Finish removes the bar. Errors of drawing are ignored.
func (g *Progress) Finish() {
	if g.bar != nil {
		_ = g.bar.Finish()
	}
}
