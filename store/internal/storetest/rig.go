package storetest

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// Rig is a running store on the memory partitions Parts.
type Rig struct {
	*store.Store
	Parts []*memory.Partition
}

// Options are those of a store for a test: frequent polls, and no log.
func Options() store.Options {
	return store.Options{
		Poll:    5 * time.Millisecond,
		Timeout: 2 * time.Second,
		Logger:  slog.New(slog.DiscardHandler),
	}
}

// New starts a store over n partitions p0, p1, …; masters names the masters, by default p0.
func New(t *testing.T, n int, o store.Options, masters ...string) *Rig {
	t.Helper()
	r := &Rig{}
	for i := range n {
		r.Parts = append(r.Parts, memory.New(fmt.Sprintf("p%d", i)))
	}
	r.Start(t, o, masters...)
	return r
}

// Start starts a store over the partitions. It ends with the test.
func (r *Rig) Start(t *testing.T, o store.Options, masters ...string) {
	t.Helper()
	o.Masters = masters
	for _, p := range r.Parts {
		o.Partitions = append(o.Partitions, p)
	}
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Store = s
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	Eventually(t, "a writable master", func() bool {
		for _, p := range s.Status().Partitions {
			if p.Writable {
				return true
			}
		}
		return false
	})
}

// Eventually waits for a condition, with a deadline.
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("no %s within 10 s", what)
		case <-tick.C:
		}
	}
}

// MustPut writes a key of the user.
func (r *Rig) MustPut(t *testing.T, name, value string) store.Entry {
	t.Helper()
	w, err := r.Put(t.Context(), store.Entry{Key: store.User.Key(name), Value: []byte(value)})
	if err != nil {
		t.Fatalf("Put(%s): %v", name, err)
	}
	return w.Entry
}

// Level copies everything from each master to the rest of the partitions.
func (r *Rig) Level(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	time.Sleep(time.Millisecond) // in a bubble's time: observations are ordered by the time of their reading
	for _, o := range r.Origins() {
		var source *memory.Partition
		for _, p := range r.Parts {
			if p.Name() == string(o) {
				source = p
			}
		}
		for _, p := range r.Parts {
			if p != source {
				CopyAll(t, ctx, source, p, o)
			}
			at, err := p.Positions(ctx)
			if err != nil {
				t.Fatal(err)
			}
			r.Observe(p.Name(), at)
		}
	}
}

// CopyAll copies everything of an origin that a target lacks.
func CopyAll(t *testing.T, ctx context.Context, source, target *memory.Partition, o store.Origin) {
	t.Helper()
	at, err := target.Positions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	from := at.Origins[o].Revision
	snap, err := source.Snapshot(ctx, o, from)
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	head := snap.Position()
	c := partition.Copy{Origin: o, From: from, To: head.Revision, Goal: head.Revision, SyncedAt: head.SyncedAt}
	for {
		es, err := snap.Next(ctx, 1000, 1<<20)
		if err != nil {
			break
		}
		c.Entries = append(c.Entries, es...)
	}
	if err := target.Apply(ctx, c); err != nil {
		t.Fatal(err)
	}
}

// Remove deletes a key of the user.
func (r *Rig) Remove(t *testing.T, name string) {
	t.Helper()
	key := store.User.Key(name)
	if err := r.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error { v.Delete(key); return nil }); err != nil {
		t.Fatal(err)
	}
}

// Collect collects every tombstone.
func (r *Rig) Collect(t *testing.T) {
	t.Helper()
	for _, p := range r.Parts {
		at, err := p.Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for o, position := range at.Origins {
			if _, err := p.Collect(t.Context(), o, position.Revision); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// ReadAll reads pages after t to the end.
func (r *Rig) ReadAll(t *testing.T, since store.ChangeToken, o store.ChangeOptions) ([]store.Entry, store.ChangeToken) {
	t.Helper()
	var all []store.Entry
	for {
		page, err := r.Changes(t.Context(), since, o)
		if err != nil {
			t.Fatalf("Changes(%q): %v", since, err)
		}
		all = append(all, page.Entries...)
		since = page.Next
		if !page.More {
			return all, since
		}
	}
}
