package backup_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/runnelkv/runnel/store/backup"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// takeSince writes an incremental backup.
func takeSince(t *testing.T, p partition.Partition, base backup.Summary) ([]byte, backup.Summary) {
	t.Helper()
	return take(t, p, backup.Options{Since: &base})
}

// TestChainRestoresTheLastState: a full backup and two incremental backups, with overwritten and
// deleted keys, end in the rows of the partition.
func TestChainRestoresTheLastState(t *testing.T) {
	onEveryKind(t, func(t *testing.T, create func(string) partition.Partition) {
		p := create("a")
		found(t, p, "a")
		w := newWriter(t, p, 500)
		w.fill(t)
		full, base := take(t, p, backup.Options{})
		chain := [][]byte{full}
		for range 2 {
			for range 10 {
				must(t, w.write(t.Context(), w.rng.IntN(500), 10))
			}
			next, s := takeSince(t, p, base)
			if s.Entries > 100 || s.Entries < 10 {
				t.Errorf("the incremental backup has %d entries", s.Entries)
			}
			chain, base = append(chain, next), s
		}
		unchanged, s := takeSince(t, p, base)
		if s.Entries != 0 {
			t.Errorf("without a change %d entries", s.Entries)
		}
		target := create("b")
		if _, err := restore(t, target, append(chain, unchanged)...); err != nil {
			t.Fatal(err)
		}
		rows, _, _ := rowsOf(t, target)
		want, _, _ := rowsOf(t, p)
		wantRows(t, rows, want)
	})
}

// TestChainsThatDoNotFitAreRefused: nothing is written to the target.
func TestChainsThatDoNotFitAreRefused(t *testing.T) {
	p := memory.New("a")
	found(t, p, "a")
	w := newWriter(t, p, 50)
	w.fill(t)
	full, base := take(t, p, backup.Options{})
	other, _ := take(t, p, backup.Options{})
	must(t, w.write(t.Context(), 0, 10))
	first, next := takeSince(t, p, base)
	must(t, w.write(t.Context(), 20, 10))
	second, _ := takeSince(t, p, next)
	for name, chain := range map[string][][]byte{
		"without its base": {first}, "without the first": {full, second}, "in another order": {full, second, first},
		"of another base": {other, first}, "two full ones": {full, other},
	} {
		target := memory.New("b")
		if _, err := restore(t, target, chain...); !errors.Is(err, backup.ErrBase) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := target.Cluster(t.Context()); !errors.Is(err, partition.ErrNoCluster) {
			t.Errorf("%s: the target was written: %v", name, err)
		}
	}
}

// TestBaseThatDoesNotFitIsRefused: an incremental backup would miss something.
func TestBaseThatDoesNotFitIsRefused(t *testing.T) {
	p := memory.New("a")
	found(t, p, "a")
	w := newWriter(t, p, 50)
	w.fill(t)
	_, base := take(t, p, backup.Options{})
	back := p.Backup()
	last := w.log[len(w.log)-1].Revision
	want := func(what string, expected error) {
		t.Helper()
		if _, err := backup.Write(t.Context(), p, new(bytes.Buffer), backup.Options{Since: &base}); !errors.Is(err, expected) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, w.write(t.Context(), 0, 10))
	newest := w.log[len(w.log)-1].Revision
	_, err := p.Collect(t.Context(), "a", last)
	must(t, err)
	want("tombstones collected up to the base", nil)
	_, err = p.Collect(t.Context(), "a", newest)
	must(t, err)
	want("tombstones collected beyond the base", backup.ErrBase)
	back()
	_, later := take(t, p, backup.Options{})
	later.Origins[0].Revision++
	base = later
	want("a base with more", backup.ErrBase)
	later.Origins[0].Revision--
	later.ClusterID = "other"
	base = later
	want("a base of another cluster", backup.ErrBase)
}

// TestBaseOfAnotherHistoryIsRefused: the partition was set back and written again, so that the
// revisions of the base mean other writes.
func TestBaseOfAnotherHistoryIsRefused(t *testing.T) {
	p := memory.New("a")
	found(t, p, "a")
	w := newWriter(t, p, 50)
	w.fill(t)
	back := p.Backup()
	must(t, w.write(t.Context(), 0, 10))
	_, base := take(t, p, backup.Options{})
	_, base = takeSince(t, p, base) // without entries of its own
	back()
	must(t, w.write(t.Context(), 20, 20))
	_, err := backup.Write(t.Context(), p, new(bytes.Buffer), backup.Options{Since: &base})
	if !errors.Is(err, partition.ErrSetBack) {
		t.Error(err)
	}
}

// TestPartitionAmidACatchUpIsNotBackedUp unless the caller accepts that.
func TestPartitionAmidACatchUpIsNotBackedUp(t *testing.T) {
	for what, c := range map[string]partition.Copy{
		"nothing yet":     {},
		"being filled":    {Origin: "a", To: 5, Goal: 9},
		"catching up":     {Origin: "a", To: 5, Goal: 9, SyncedAt: 3},
		"filled, no goal": {Origin: "a", To: 5, Goal: 5},
	} {
		p := memory.New("b")
		found(t, p, "a")
		if c.Origin != "" {
			must(t, p.Apply(t.Context(), c))
		}
		if _, err := backup.Write(t.Context(), p, new(bytes.Buffer), backup.Options{}); !errors.Is(err, backup.ErrIncomplete) {
			t.Errorf("%s: %v", what, err)
		}
		file, _ := take(t, p, backup.Options{Incomplete: true})
		target := memory.New("c")
		if _, err := restore(t, target, file); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		_, got, _ := rowsOf(t, target)
		_, want, _ := rowsOf(t, p)
		if got.Origins["a"] != want.Origins["a"] {
			t.Errorf("%s: at %+v, not at %+v", what, got, want)
		}
		if _, err := restore(t, memory.New("a"), file); !errors.Is(err, backup.ErrIncomplete) {
			t.Errorf("%s: restored to the master: %v", what, err)
		}
	}
}
