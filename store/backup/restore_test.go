package backup_test

import (
	"errors"
	"testing"

	"github.com/runnelkv/runnel/store/backup"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// sample returns a chain of two backups with several blocks and origins, and the rows at its end.
func sample(t *testing.T) (chain [][]byte, rows map[partition.Key]partition.Entry) {
	t.Helper()
	p := memory.New("a")
	found(t, p, "a")
	must(t, p.Apply(t.Context(), partition.Copy{Origin: "former", To: 9, Goal: 9, SyncedAt: 5, Collected: 3}))
	w := newWriter(t, p, 4_200)
	w.fill(t)
	full, base := take(t, p, backup.Options{})
	must(t, w.write(t.Context(), 0, 100))
	next, _ := takeSince(t, p, base)
	rows, _, _ = rowsOf(t, p)
	return [][]byte{full, next}, rows
}

// interrupted restores a chain to a handle that fails at the nth operation of a kind. failed reports whether it did.
func interrupted(t *testing.T, p *memory.Partition, chain [][]byte, op string, n int) (failed bool) {
	t.Helper()
	handle := p.Reopen()
	handle.Fail(func(at string) error {
		if at != op {
			return nil
		}
		if n--; n >= 0 {
			return nil
		}
		return partition.ErrUnavailable
	})
	_, err := restore(t, handle, chain...)
	return err != nil
}

// TestInterruptedRestoreIsUnusableAndContinues interrupts a restore before and after each of its
// transactions.
func TestInterruptedRestoreIsUnusableAndContinues(t *testing.T) {
	chain, want := sample(t)
	for _, name := range []string{"a", "b"} {
		for _, op := range []string{memory.OpJoin, memory.OpApply, memory.OpApplied, memory.OpAccept} {
			for n := 0; ; n++ {
				p := memory.New(name)
				if !interrupted(t, p, chain, op, n) {
					if n == 0 || op == memory.OpApply && n < 5 {
						t.Errorf("%s at %s: only %d times", name, op, n)
					}
					break
				}
				if row, err := p.Cluster(t.Context()); err == nil && row.Epoch != partition.RestoringEpoch {
					t.Errorf("%s after %s %d: %+v", name, op, n, row)
				}
				done, err := restore(t, p, chain...)
				if err != nil {
					t.Fatalf("%s after %s %d: %v", name, op, n, err)
				}
				if done.Continued != (op != memory.OpJoin) {
					t.Errorf("%s after %s %d: %+v", name, op, n, done.Continued)
				}
				rows, _, row := rowsOf(t, p)
				wantRows(t, rows, want)
				if wantEpoch := map[string]int64{"a": -1, "b": 1}[name]; row.Epoch != wantEpoch || len(row.Slots) == 0 {
					t.Errorf("%s after %s %d: %+v", name, op, n, row)
				}
			}
		}
	}
}

// TestInterruptedRestoreContinuesOnlyWithItsOwnBackup: neither another position nor other entries at
// the same position.
func TestInterruptedRestoreContinuesOnlyWithItsOwnBackup(t *testing.T) {
	chain, _ := sample(t)
	twin, _ := sample(t) // the same revisions, with other times and keys
	for name, other := range map[string][][]byte{"an earlier backup": chain[:1], "another history": twin} {
		p := memory.New("b")
		if !interrupted(t, p, chain, memory.OpApply, 2) {
			t.Fatal("not interrupted")
		}
		if _, err := restore(t, p, other...); !errors.Is(err, backup.ErrNotEmpty) {
			t.Errorf("%s: %v", name, err)
		}
		if row, err := p.Cluster(t.Context()); err != nil || row.Epoch != partition.RestoringEpoch {
			t.Errorf("%s: %+v, %v", name, row, err)
		}
	}
}

// TestRestoreTwiceChangesNothing: a restore that has been completed says so.
func TestRestoreTwiceChangesNothing(t *testing.T) {
	chain, want := sample(t)
	p := memory.New("a")
	for i := range 2 {
		done, err := restore(t, p, chain...)
		if err != nil || done.Continued != (i > 0) || !done.IsMaster {
			t.Errorf("%+v, %v", done.Continued, err)
		}
	}
	rows, _, _ := rowsOf(t, p)
	wantRows(t, rows, want)
}

// TestRestoreLeavesDataAlone: the target is not changed.
func TestRestoreLeavesDataAlone(t *testing.T) {
	chain, _ := sample(t)
	joined, live, foreign, remnants, whole := memory.New("b"), memory.New("a"), memory.New("b"), memory.New("b"), memory.New("b")
	if _, err := restore(t, whole, chain...); err != nil {
		t.Fatal(err)
	}
	found(t, joined, "a")
	found(t, live, "a")
	must(t, newWriter(t, live, 5).write(t.Context(), 0, 5))
	_, err := foreign.Join(t.Context(), partition.Cluster{ID: "other", Epoch: 1, Masters: []string{"x"}, Slots: []uint16{0}})
	must(t, err)
	must(t, remnants.Apply(t.Context(), partition.Copy{Origin: "x", To: 3, Goal: 3}))
	for name, p := range map[string]*memory.Partition{"a joined replica": joined, "a live master": live, "another cluster": foreign, "remnants": remnants, "a restored replica": whole} {
		before := p.Reopen()
		at, err := before.Positions(t.Context())
		must(t, err)
		if _, err := restore(t, p, chain...); !errors.Is(err, backup.ErrNotEmpty) {
			t.Errorf("%s: %v", name, err)
		}
		after, err := before.Positions(t.Context())
		if err != nil || len(after.Origins) != len(at.Origins) {
			t.Errorf("%s: %+v became %+v (%v)", name, at, after, err)
		}
	}
}

// TestRestoreYieldsToAProcessThatJoinsMeanwhile: a running process takes the empty database first.
func TestRestoreYieldsToAProcessThatJoinsMeanwhile(t *testing.T) {
	chain, _ := sample(t)
	p := memory.New("b")
	handle := p.Reopen()
	handle.Fail(func(op string) error {
		if op == memory.OpJoin {
			found(t, p, "a")
		}
		return nil
	})
	if _, err := restore(t, handle, chain...); !errors.Is(err, backup.ErrNotEmpty) {
		t.Error(err)
	}
}
