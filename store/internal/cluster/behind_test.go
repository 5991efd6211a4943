package cluster_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

func TestMasterBehindItsCopiesTakesNoWrites(t *testing.T) {
	s := newBehindStore(t)
	if _, err := s.Put(t.Context(), store.Entry{Key: store.User.Key("c")}); !errors.Is(err, store.ErrMasterUnavailable) || !strings.Contains(err.Error(), "lost") {
		t.Errorf("Put: %v", err)
	}
}

// TestMasterBehindItsCopiesAnswersNoReads of the writes it has lost: these reads need the
// master; the replica answers all others.
func TestMasterBehindItsCopiesAnswersNoReads(t *testing.T) {
	s := newBehindStore(t)
	key := store.User.Key("a")
	isAway := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrMasterUnavailable) || !strings.Contains(err.Error(), "lost") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for name, o := range map[string]store.ReadOptions{
		"master":  {Consistency: store.FromMaster},
		"bounded": {Consistency: store.Bounded, MaxStaleness: time.Nanosecond}, // fresher than any replica
		"session": {Consistency: store.InSession, Session: store.VectorOf(store.Mark{Origin: "p0", Revision: partition.Floor(1) + 9})},
	} {
		_, err := s.Get(t.Context(), key, o)
		isAway("Get "+name, err)
		_, err = s.List(t.Context(), store.ListOptions{Space: store.User, ReadOptions: o})
		isAway("List "+name, err)
		s.GetMany(t.Context(), []store.Key{key}, o, func(_ int, _ store.Read, err error) { isAway("GetMany "+name, err) })
	}
	var few *store.CopiesError
	if _, err := s.Get(t.Context(), key, store.ReadOptions{Consistency: store.Quorum, Copies: 2}); !errors.As(err, &few) || few.Answered != 1 {
		t.Errorf("quorum of 2: %v", err)
	}
	for range 20 {
		if r, err := s.Get(t.Context(), key, store.ReadOptions{}); err != nil || r.Partition != "p1" || string(r.Entry.Value) != "1" {
			t.Fatalf("any: %v %v", r, err)
		}
		if page, err := s.List(t.Context(), store.ListOptions{Space: store.User}); err != nil || len(page.Entries) != 2 {
			t.Fatalf("list: %v %v", page, err)
		}
		if page, err := s.Union(t.Context(), store.ListOptions{Space: store.User}); err != nil || len(page.Entries) != 2 {
			t.Fatalf("union: %v %v", page, err)
		}
		if page, err := s.Changes(t.Context(), store.ChangeToken{}, store.ChangeOptions{Space: store.User}); err != nil || len(page.Entries) != 2 {
			t.Fatalf("changes: %v %v", page, err)
		}
	}
	if r, err := s.Get(t.Context(), key, store.ReadOptions{Partition: "p0"}); !errors.Is(err, store.ErrNotFound) || r.Staleness >= 0 {
		t.Errorf("of the partition by its name: staleness %v, %v", r.Staleness, err)
	}
	if st := s.Status(); st.Partitions[0].Readable || !st.Readable() {
		t.Errorf("readable: %v, the master %v", st.Readable(), st.Partitions[0].Readable)
	}
}

// newBehindStore is a store with a master p0 that was set back to an empty state.
func newBehindStore(t *testing.T) *store.Store {
	t.Helper()
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.MustPut(t, "b", "2")
	r.Level(t)
	row, err := r.Parts[0].Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	blank := memory.New("p0") // an older state of the master returns
	if _, err := blank.Join(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	again := &storetest.Rig{Parts: []*memory.Partition{blank, r.Parts[1].Reopen()}}
	o := storetest.Options()
	o.Masters = []string{"p0"}
	for _, p := range again.Parts {
		o.Partitions = append(o.Partitions, p)
	}
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; s.Close() })
	storetest.Eventually(t, "state behind", func() bool { return s.Status().Partitions[0].State == store.Behind })
	return s
}
