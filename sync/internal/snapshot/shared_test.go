package snapshot

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// origin returns a partition with n entries of its own, the revision of the first, and a counter of the chunks that are read.
func origin(t *testing.T, n int) (p *memory.Partition, first partition.Revision, chunks *atomic.Int32) {
	t.Helper()
	p = memory.New("p0")
	if _, err := p.Join(t.Context(), partition.Cluster{ID: "c", Epoch: 1, Masters: []string{"p0"}, Slots: make([]uint16, 1024)}); err != nil {
		t.Fatal(err)
	}
	b := partition.Batch{Epoch: 1, Revisions: n}
	for i := range n {
		b.Write = append(b.Write, partition.Entry{Key: partition.Key(fmt.Sprint("k/", i)), Revision: partition.Revision(i), Checksum: partition.Checksum(nil)})
	}
	claim, err := p.Commit(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	chunks = new(atomic.Int32)
	p.Fail(func(op string) error {
		if op == memory.OpNext {
			chunks.Add(1)
		}
		return nil
	})
	return p, claim.First, chunks
}

// readOn reads chunks of an entry up to the end, and returns how many.
func readOn(t *testing.T, s partition.Snapshot) (n int, err error) {
	for ; ; n++ {
		if _, err := s.Next(t.Context(), 1, 1<<20); err != nil {
			return n, err
		}
	}
}

func TestTargetsShareWhatIsReadAndASlowTargetIsDetached(t *testing.T) {
	p, first, chunks := origin(t, 2*windowChunks)
	shared := NewShared(p, "p0", first)
	if !shared.Admit(first+2, 2) || shared.Admit(first+3, 2) || !shared.Admit(first-1, 2) || shared.Admit(first+2, 2) {
		t.Error("targets that are too far apart share, or near ones do not")
	}
	var targets []partition.Snapshot
	for _, at := range []partition.Revision{first - 1, first + 2, first - 1} {
		s, err := shared.Open(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		targets = append(targets, s)
	}
	for i := range windowChunks {
		if _, err := targets[0].Next(t.Context(), 1, 1<<20); err != nil || int(chunks.Load()) != i+1 {
			t.Fatalf("chunk %d: %v; %d were read", i, err, chunks.Load())
		}
	}
	if n, err := readOn(t, targets[1]); n != 2*windowChunks-3 || !errors.Is(err, io.EOF) || chunks.Load() != 2*windowChunks {
		t.Errorf("the second target got %d entries, and %v; %d chunks were read", n, err, chunks.Load())
	}
	if n, err := readOn(t, targets[0]); n != windowChunks || !errors.Is(err, io.EOF) || chunks.Load() != 2*windowChunks {
		t.Errorf("the first target got %d more entries, and %v; %d chunks were read", n, err, chunks.Load())
	}
	if n, err := readOn(t, targets[2]); n != 0 || !errors.Is(err, ErrDetached) {
		t.Errorf("the target behind the window got %d entries, and %v", n, err)
	}
}

func TestFailureDetachesTheRemainingTargets(t *testing.T) {
	p, first, _ := origin(t, 3)
	p.Fail(func(string) error { return partition.ErrUnavailable })
	shared := NewShared(p, "p0", first)
	if _, err := shared.Open(t.Context(), first); !errors.Is(err, partition.ErrUnavailable) {
		t.Errorf("the target that opens gets %v", err)
	}
	p.Fail(nil)
	if _, err := shared.Open(t.Context(), first); !errors.Is(err, ErrDetached) {
		t.Errorf("the next target gets %v", err)
	}
}
