package verification_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/verification"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	"github.com/runnelkv/runnel/store/verify"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newStore returns a store over two level partitions, which hold the keys a, b and c.
func newStore(t *testing.T) (*store.Store, []*memory.Partition) {
	t.Helper()
	parts := []*memory.Partition{memory.New("p0"), memory.New("p1")}
	o := store.Options{Masters: []string{"p0"}, Partitions: []partition.Partition{parts[0], parts[1]}, Logger: slog.New(slog.DiscardHandler)}
	s, err := store.Open(o)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	must(t, s.Connect(t.Context()))
	b := partition.Batch{Epoch: 1, Revisions: 3}
	for i, k := range []partition.Key{"k/a", "k/b", "k/c"} {
		b.Write = append(b.Write, partition.Entry{Key: k, Revision: partition.Revision(i), Value: []byte("v"), Checksum: partition.Checksum([]byte("v"))})
	}
	claim, err := parts[0].Commit(t.Context(), b)
	must(t, err)
	snapshot, err := parts[0].Snapshot(t.Context(), "p0", 0)
	must(t, err)
	entries, err := snapshot.Next(t.Context(), 10, 1<<20)
	must(t, err)
	to := claim.First + 2
	must(t, parts[1].Apply(t.Context(), partition.Copy{Origin: "p0", To: to, Goal: to, SyncedAt: 1, Entries: entries}))
	return s, parts
}

// run returns the output of a verification, and whether it ended with exit status 1.
func run(t *testing.T, s *store.Store, o verify.Options) (out string, failed bool) {
	t.Helper()
	var results, messages strings.Builder
	o.Rest, o.Logger = -1, slog.New(slog.DiscardHandler)
	err := verification.Run(t.Context(), &console.Streams{Out: &results, Err: &messages}, s, o)
	if exit, is := errors.AsType[*console.ExitError](err); is && exit.Code == console.ExitFailed && errors.Is(err, console.ErrSilent) {
		return results.String() + messages.String(), true
	}
	must(t, err)
	return results.String() + messages.String(), false
}

func TestWrongCopiesArePrinted(t *testing.T) {
	s, parts := newStore(t)
	const clean = "2 partitions verified, 3 entries compared, 0 copies wrong, 0 repaired\n"
	if out, failed := run(t, s, verify.Options{Deep: true}); failed || out != clean {
		t.Errorf("failed: %v, printed %q", failed, out)
	}
	got, err := parts[1].Get(t.Context(), []partition.Key{"k/b"})
	must(t, err)
	wrong := got[0]
	wrong.Value = []byte("w")
	parts[1].Damage("k/b", wrong)
	if out, failed := run(t, s, verify.Options{}); failed || out != clean {
		t.Errorf("without values, failed: %v, printed %q", failed, out)
	}
	for _, c := range []struct {
		o     verify.Options
		lines string
	}{
		{verify.Options{Deep: true}, "p1: k/b is damaged, revision 1099511627778 of p0: the copy of p0 is right, not repaired: repairs were not asked for\n" +
			"2 partitions verified, 3 entries compared, 1 copies wrong, 0 repaired\n"},
		{verify.Options{Deep: true, Repair: true}, "p1: k/b is damaged, revision 1099511627778 of p0: repaired from p0\n" +
			"2 partitions verified, 3 entries compared, 1 copies wrong, 1 repaired\n"},
	} {
		if out, failed := run(t, s, c.o); !failed || out != c.lines {
			t.Errorf("failed: %v, printed %q, want %q", failed, out, c.lines)
		}
	}
	if out, failed := run(t, s, verify.Options{Deep: true}); failed || out != clean {
		t.Errorf("after the repair, failed: %v, printed %q", failed, out)
	}
}

func TestPartitionThatIsAwayIsNamed(t *testing.T) {
	s, parts := newStore(t)
	parts[1].Fail(func(string) error { return partition.ErrUnavailable })
	out, failed := run(t, s, verify.Options{})
	if !failed || !strings.Contains(out, "1 partitions verified, 3 entries compared, 0 copies wrong") || !strings.Contains(out, "not verified: p1: ") {
		t.Errorf("failed: %v, printed %q", failed, out)
	}
}

func TestInterruptedVerificationSaysSo(t *testing.T) {
	s, parts := newStore(t)
	ctx, stop := context.WithCancel(t.Context())
	parts[0].Fail(func(op string) error {
		if op == memory.OpDigest {
			stop()
		}
		return nil
	})
	err := verification.Run(ctx, &console.Streams{Out: &strings.Builder{}, Err: &strings.Builder{}}, s, verify.Options{Logger: slog.New(slog.DiscardHandler)})
	if err == nil || err.Error() != "interrupted; repeat the command to continue" {
		t.Errorf("the error is %v", err)
	}
}
