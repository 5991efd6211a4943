package partitiontest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// must stops the check on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError fails the check unless err is want.
func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error is %v, want %v", err, want)
	}
}

// unless returns err, but nil for the error that may come.
func unless(err, mayCome error) error {
	if errors.Is(err, mayCome) {
		return nil
	}
	return err
}

// together runs functions concurrently and fails the check for each error.
func together(t *testing.T, functions ...func() error) {
	t.Helper()
	var group sync.WaitGroup
	for _, f := range functions {
		group.Go(func() {
			if err := f(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// eventually calls done until the result is true, for at most ten seconds.
func eventually(ctx context.Context, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return errors.New("the awaited state did not come")
		case <-tick.C:
		}
	}
	return nil
}

// seeded returns a random source and logs its seed.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// put returns an entry to be written.
func put(key, value string) partition.Entry {
	return partition.Entry{
		Key:         partition.Key(key),
		ContentType: "text/plain",
		Size:        int64(len(value)),
		Checksum:    partition.Checksum([]byte(value)),
		Value:       []byte(value),
	}
}

// deletion returns a tombstone to be written.
func deletion(key string) partition.Entry {
	return partition.Entry{Key: partition.Key(key), Deleted: true, Checksum: partition.Checksum(nil)}
}

// at returns e as a copied entry of an origin.
func at(e partition.Entry, origin partition.Origin, r partition.Revision) partition.Entry {
	e.Origin, e.Revision, e.ModifiedAt = origin, r, partition.Instant(r)
	return e
}

// batch returns a batch without a decision that writes entries in their order.
func batch(entries ...partition.Entry) partition.Batch {
	entries = slices.Clone(entries)
	for i := range entries {
		entries[i].Revision = partition.Revision(i)
	}
	return partition.Batch{Epoch: epoch, Revisions: max(len(entries), 1), Write: entries}
}

func commit(t *testing.T, p partition.Partition, entries ...partition.Entry) partition.Claim {
	t.Helper()
	claim, err := p.Commit(t.Context(), batch(entries...))
	must(t, err)
	return claim
}

// stamped returns entries as they read after a commit with a claim.
func stamped(origin partition.Origin, c partition.Claim, entries ...partition.Entry) []partition.Entry {
	entries = slices.Clone(entries)
	for i := range entries {
		entries[i].Origin, entries[i].ModifiedAt = origin, c.Now
		entries[i].Revision = c.First + partition.Revision(i)
	}
	return entries
}

// headOf returns e without its value.
func headOf(e partition.Entry) partition.Entry {
	e.Value = nil
	return e
}

func get(t *testing.T, p partition.Partition, keys ...partition.Key) []partition.Entry {
	t.Helper()
	entries, err := p.Get(t.Context(), keys)
	must(t, err)
	return byKey(entries)
}

func byKey(entries []partition.Entry) []partition.Entry {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b partition.Entry) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return entries
}

// position returns p's position for origin.
func position(t *testing.T, p partition.Partition, origin partition.Origin) partition.Position {
	t.Helper()
	positions, err := p.Positions(t.Context())
	must(t, err)
	return positions.Origins[origin]
}

func now(t *testing.T, p partition.Partition) partition.Instant {
	t.Helper()
	positions, err := p.Positions(t.Context())
	must(t, err)
	return positions.Now
}

func snapshot(t *testing.T, p partition.Partition, origin partition.Origin, after partition.Revision) partition.Snapshot {
	t.Helper()
	s, err := p.Snapshot(t.Context(), origin, after)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// held returns all entries of origin in p, in the order of revisions.
func held(t *testing.T, p partition.Partition, origin partition.Origin) []partition.Entry {
	t.Helper()
	s, err := p.Snapshot(t.Context(), origin, 0)
	must(t, err)
	defer s.Close()
	entries, err := drain(t.Context(), s, 100)
	must(t, err)
	return entries
}

// drain reads a snapshot to its end, at most maxEntries per call.
func drain(ctx context.Context, s partition.Snapshot, maxEntries int) ([]partition.Entry, error) {
	var all []partition.Entry
	for {
		entries, err := s.Next(ctx, maxEntries, 64<<20)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 || len(entries) > maxEntries {
			return nil, fmt.Errorf("a call of Next gave %d entries of at most %d", len(entries), maxEntries)
		}
		all = append(all, entries...)
	}
}

// wantEntries fails the check unless got equals want, in order and byte by byte.
func wantEntries(t *testing.T, got, want []partition.Entry) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("got %d entries, want %d\n got %s\nwant %s", len(got), len(want), text(got), text(want))
		return
	}
	for i := range got {
		if !equal(got[i], want[i]) {
			t.Errorf("entry %d\n got %s\nwant %s", i, text(got[i:i+1]), text(want[i:i+1]))
		}
	}
}

func equal(a, b partition.Entry) bool {
	return a.Key == b.Key && a.Origin == b.Origin && a.Revision == b.Revision &&
		a.Deleted == b.Deleted && a.ContentType == b.ContentType &&
		bytes.Equal(a.Metadata, b.Metadata) && (a.Metadata == nil) == (b.Metadata == nil) &&
		a.ModifiedAt == b.ModifiedAt && a.ExpiresAt == b.ExpiresAt &&
		a.Size == b.Size && a.Checksum == b.Checksum && bytes.Equal(a.Value, b.Value)
}

// text shows the first entries in short form.
func text(entries []partition.Entry) string {
	var b strings.Builder
	for _, e := range entries[:min(len(entries), 8)] {
		fmt.Fprintf(&b, "{%.40q %s %d deleted=%t %q meta=%q modified=%d expires=%d size=%d sum=%x %.20q} ", e.Key, e.Origin,
			e.Revision, e.Deleted, e.ContentType, e.Metadata, e.ModifiedAt, e.ExpiresAt, e.Size, e.Checksum, e.Value)
	}
	return b.String()
}
