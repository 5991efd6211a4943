package verification

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/verify"
)

// Run compares the partitions of a store, writes each wrong row and a summary to the results, and shows a bar on a terminal.
// ErrSilent, with exit status 1: some row was wrong, or a partition was not verified.
func Run(ctx context.Context, out *console.Streams, s *store.Store, o verify.Options) error {
	var parts []partition.Partition
	var left []string
	for _, r := range s.Replicas() {
		if err := errors.Join(r.Err, r.SetBack); err != nil {
			left = append(left, fmt.Sprintf("%s: %v", r.Name(), err))
			continue
		}
		parts = append(parts, r.Partition)
	}
	if len(parts) == 0 {
		return errors.New("no partition can be used")
	}
	p := &printer{out: out}
	o.Found, o.Progress = p.print, p.advance
	report, err := verify.Run(ctx, parts, o)
	p.finish()
	if ctx.Err() != nil {
		return errors.New("interrupted; repeat the command to continue")
	}
	if err != nil {
		return err
	}
	report.Left = append(report.Left, left...)
	if err := p.summarize(&report); err != nil {
		return err
	}
	if !report.IsClean() {
		return &console.ExitError{Code: console.ExitFailed, Err: console.ErrSilent}
	}
	return nil
}

// printer prints findings, and shows the progress.
type printer struct {
	out  *console.Streams
	bar  *console.Progress
	done int64
	err  error // of writing a finding
}

// advance starts the bar with the first estimate of all rows.
func (p *printer) advance(done, total int64) {
	if p.bar == nil {
		p.bar = p.out.NewProgress("verify", total, console.UnitEntries)
	}
	p.bar.Add(done - p.done)
	p.done = done
}

func (p *printer) finish() {
	if p.bar != nil {
		p.bar.Finish()
	}
}

// print writes a line such as "p1: k/a is damaged, revision 7 of p0: repaired from p0".
func (p *printer) print(f verify.Finding) {
	outcome := "not repaired: " + f.Why
	if f.Repaired {
		outcome = "repaired from " + f.From
	} else if f.From != "" {
		outcome = "the copy of " + f.From + " is right, " + outcome
	}
	if f.Kind == verify.Differs && f.From == "" {
		outcome = f.Why
	}
	_, err := fmt.Fprintln(p.out.Out, console.Line(fmt.Sprintf("%s: %s %s, revision %d of %s: %s", f.Partition, f.Key, words[f.Kind], f.Revision, f.Origin, outcome)))
	p.err = errors.Join(p.err, err)
}

var words = map[verify.Kind]string{verify.Damaged: "is damaged", verify.Missing: "is missing", verify.Differs: "differs"}

func (p *printer) summarize(r *verify.Report) error {
	for _, why := range r.Left {
		fmt.Fprintln(p.out.Err, console.Line("not verified: "+why))
	}
	before := ""
	if r.Before > 0 {
		before = fmt.Sprintf(" (and %d before the interruption)", r.Before)
	}
	_, err := fmt.Fprintf(p.out.Out, "%d partitions verified, %d entries compared, %d copies wrong%s, %d repaired\n",
		len(r.Verified), r.Compared, r.Found, before, r.Repaired)
	return errors.Join(p.err, err)
}
