package partitiontest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

// Join makes p the only master of a cluster of its own.
func Join(tb testing.TB, p partition.Partition) {
	tb.Helper()
	_, err := p.Join(tb.Context(), partition.Cluster{ID: "cluster", Epoch: 1, Masters: []string{p.Name()}, Slots: []uint16{0}})
	if err != nil {
		tb.Fatal(err)
	}
}

// OneWrite is a batch that puts a key into a partition that join joined.
func OneWrite(key partition.Key) partition.Batch {
	return partition.Batch{Epoch: 1, Revisions: 1, Write: []partition.Entry{{Key: key, Checksum: partition.Checksum(nil)}}}
}

// Blind is a batch of n puts of 100 bytes that needs no decision.
func Blind(n, round int) partition.Batch {
	value := make([]byte, 100)
	b := partition.Batch{Epoch: 1, Revisions: n}
	for i := range n {
		b.Write = append(b.Write, partition.Entry{Key: partition.Key(fmt.Sprintf("k/%d", (round*n+i)%100_000)),
			Revision: partition.Revision(i), ContentType: "text/plain", Checksum: partition.Checksum(value), Value: value})
	}
	return b
}

func GetAll(t *testing.T, p partition.Partition, of []partition.Entry) []partition.Entry {
	t.Helper()
	var keys []partition.Key
	for _, e := range of {
		keys = append(keys, e.Key)
	}
	got, err := p.Get(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func WantSame(t *testing.T, what string, got, want []partition.Entry) {
	t.Helper()
	order := func(a, b partition.Entry) int { return strings.Compare(string(a.Key), string(b.Key)) }
	got, want = slices.Clone(got), slices.Clone(want)
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	if len(got) != len(want) {
		t.Fatalf("%s: %d entries, want %d", what, len(got), len(want))
	}
	for i := range got {
		if g, w := fmt.Sprintf("%q", fmt.Sprint(got[i])), fmt.Sprintf("%q", fmt.Sprint(want[i])); g != w {
			t.Errorf("%s: got  %s\nwant %s", what, g, w)
		}
		if !got[i].Intact() {
			t.Errorf("%s: %q is damaged", what, got[i].Key)
		}
	}
}

func RequireError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}
