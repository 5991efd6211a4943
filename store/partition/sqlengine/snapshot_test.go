package sqlengine

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

// fewRows ends after left rows.
type fewRows struct {
	Rows
	left int
}

func (r *fewRows) Next() bool                                 { r.left--; return r.left >= 0 }
func (r *fewRows) Err() error                                 { return nil }
func (r *fewRows) Entry(*SharedStrings, bool) partition.Entry { return partition.Entry{Revision: 1} }

// TestSnapshotThatEndsEarlyIsAnError: if a server leaves rows out, the copy must fail.
func TestSnapshotThatEndsEarlyIsAnError(t *testing.T) {
	for last, want := range map[partition.Revision]error{1: nil, 2: partition.ErrUnavailable} {
		s := &Engine{name: "a", timeout: defaultTimeout, life: t.Context()}
		n := &snapshot{s: s, rows: &fewRows{left: 1}, last: last, end: func() {}}
		_, err := n.Next(context.Background(), 10, 1<<20)
		if !errors.Is(err, want) {
			t.Errorf("entries up to 1 of %d: %v, want %v", last, err, want)
		}
		if _, err := n.Next(context.Background(), 10, 1<<20); want == nil && err != io.EOF {
			t.Errorf("after the last: %v", err)
		}
	}
}
