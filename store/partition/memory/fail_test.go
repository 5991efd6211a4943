package memory_test

import (
	"errors"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
)

func TestMemoryFailsWhereTheHookSays(t *testing.T) {
	for _, c := range []struct {
		op     string
		want   error
		stands int
	}{
		{memory.OpCommit, partition.ErrUnavailable, 0},
		{memory.OpCommitted, partition.ErrOutcomeUnknown, 1},
	} {
		m := memory.New("a")
		partitiontest.Join(t, m)
		m.Fail(func(op string) error {
			if op == c.op {
				return partition.ErrUnavailable
			}
			return nil
		})
		if _, err := m.Commit(t.Context(), partitiontest.OneWrite("k/a")); !errors.Is(err, c.want) {
			t.Errorf("failed at %s, Commit answers %v, want %v", c.op, err, c.want)
		}
		entries, err := m.Get(t.Context(), []partition.Key{"k/a"})
		if err != nil || len(entries) != c.stands {
			t.Errorf("failed at %s, %d entries stand (%v), want %d", c.op, len(entries), err, c.stands)
		}
		if _, err := m.Reopen().Commit(t.Context(), partitiontest.OneWrite("k/b")); err != nil {
			t.Errorf("another handle fails too: %v", err)
		}
		m.Fail(nil)
		if _, err := m.Commit(t.Context(), partitiontest.OneWrite("k/c")); err != nil {
			t.Errorf("without the hook Commit fails: %v", err)
		}
	}
}

func TestMemoryPlantsDamage(t *testing.T) {
	m := memory.New("a")
	m.Plant(partition.Entry{Key: "k/a", Origin: "a", Revision: 1, Value: []byte("damaged")})
	entries, err := m.Get(t.Context(), []partition.Key{"k/a"})
	if err != nil || len(entries) != 1 || entries[0].Intact() {
		t.Errorf("planted damage reads as %v (%v)", entries, err)
	}
}
