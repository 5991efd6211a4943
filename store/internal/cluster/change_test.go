package cluster

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// newRegister connects a register to handles of its own on partitions.
func newRegister(t *testing.T, parts ...*memory.Partition) (r *Register, handles []*memory.Partition) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	set := backend.NewSet(backend.Options{Timeout: time.Second, Poll: time.Second, Readers: 1, Logger: log})
	for _, p := range parts {
		h := p.Reopen()
		handles = append(handles, h)
		if _, err := set.Add(h); err != nil {
			t.Fatal(err)
		}
	}
	r = New(set, Options{Masters: []string{"p0"}, Timeout: time.Second, Poll: time.Second, Logger: log})
	if err := r.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r, handles
}

// movable returns partitions of a cluster whose map can change.
func movable(t *testing.T, n int) (parts []*memory.Partition) {
	t.Helper()
	for i := range n {
		parts = append(parts, memory.New(fmt.Sprintf("p%d", i)))
	}
	newRegister(t, parts...)
	for _, p := range parts {
		if err := p.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return parts
}

// advance is a change of the map that is always possible.
func advance(c partition.Cluster) (partition.Cluster, error) { return c, nextEpoch(&c) }

// TestFirstChangeKeepsVotersThatCameMeanwhile: the first change of a process that has two partitions configured meets the
// first change of a process with three, after the former has read that there are no voters yet. The ballot of the former is
// the higher one in about half of the tries.
func TestFirstChangeKeepsVotersThatCameMeanwhile(t *testing.T) {
	for range 12 {
		parts := movable(t, 3)
		all, _ := newRegister(t, parts...)
		few, handles := newRegister(t, parts[:2]...)
		meet := sync.OnceValue(func() error {
			_, err := all.change(t.Context(), advance)
			return err
		})
		for _, h := range handles {
			h.Fail(func(op string) error {
				if op == memory.OpPromise {
					return meet()
				}
				return nil
			})
		}
		if _, err := few.change(t.Context(), advance); err != nil {
			t.Fatal(err)
		}
		c, err := parts[0].Cluster(t.Context())
		if err != nil || c.Epoch != firstEpoch+2 || !slices.Equal(c.Voters, []string{"p0", "p1", "p2"}) {
			t.Fatalf("in epoch %d the voters are %v: %v", c.Epoch, c.Voters, err)
		}
	}
}

// TestProcessWithoutThePartitionsAbortsNoMove: a process whose configuration lacks the new master sees a move under way.
func TestProcessWithoutThePartitionsAbortsNoMove(t *testing.T) {
	parts := movable(t, 3)
	at := partition.Floor(firstEpoch)
	for _, p := range parts[1:] {
		if err := p.Apply(t.Context(), partition.Copy{Origin: "p0", To: at, Goal: at, SyncedAt: partition.InstantOf(time.Now())}); err != nil {
			t.Fatal(err)
		}
	}
	all, _ := newRegister(t, parts...)
	few, _ := newRegister(t, parts[0], parts[2])
	met := false
	err := all.Move(t.Context(), MoveRequest{From: "p0", To: "p1"}, func(s MoveStage) {
		if s != MoveLevel {
			return
		}
		few.refresh(t.Context(), few.Map())
		met = few.Map().HasMoveUnderWay()
		if err := few.continueMoves(t.Context(), few.Map()); err == nil {
			t.Error("a process without p1 has continued the move")
		}
	})
	if err != nil || !met {
		t.Errorf("the move was met: %v; the move ended with %v", met, err)
	}
}

// TestDamagedMapOfALaterEpochIsNotUsed: a partition shows a map without slots.
func TestDamagedMapOfALaterEpochIsNotUsed(t *testing.T) {
	parts := movable(t, 2)
	r, _ := newRegister(t, parts...)
	known := r.Map()
	damaged := known.Cluster
	damaged.Epoch, damaged.Slots = damaged.Epoch+1, nil
	if _, err := parts[1].Accept(t.Context(), damaged); err != nil {
		t.Fatal(err)
	}
	r.refresh(t.Context(), known)
	if r.Map() != known {
		t.Errorf("the map is %+v", r.Map())
	}
}
