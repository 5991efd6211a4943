package store_test

import (
	"testing"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// TestCommittedIsTheLastCommitThatWasAnswered, and 0 once the partition was seen to hold
// less.
func TestCommittedIsTheLastCommitThatWasAnswered(t *testing.T) {
	r := newRig(t, 2, options())
	if got := r.Committed("p0"); got != 0 {
		t.Errorf("%d before the first commit", got)
	}
	r.put(t, "a", "1")
	before, err := r.parts[0].Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e := r.put(t, "b", "1")
	if got := r.Committed("p0"); got != e.Revision {
		t.Errorf("%d, not %d", got, e.Revision)
	}
	r.Observe("p0", before)
	if got := r.Committed("p0"); got != 0 {
		t.Errorf("%d after p0 was seen at %d", got, before.Origins["p0"].Revision)
	}
	r.parts[0].Fail(func(string) error { return partition.ErrOutcomeUnknown })
	_, _ = r.Put(t.Context(), store.Entry{Key: store.User.Key("c")}) // committed or not
	r.parts[0].Fail(nil)
	if got := r.Committed("p0"); got != 0 {
		t.Errorf("%d after an outcome that is unknown", got)
	}
	if got := r.Committed("p1") + r.Committed("nobody"); got != 0 {
		t.Errorf("%d of partitions that take no writes", got)
	}
}
