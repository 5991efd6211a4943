package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// TestReplacedDatabaseIsJoinedAnew replaces a replica by an empty database and by a foreign
// one while the store runs.
func TestReplacedDatabaseIsJoinedAnew(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	swap := &swapped{}
	swap.set(memory.New("p1"))
	if err := r.Add(swap); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "join", func() bool { return r.Replicas()[1].Err == nil })

	foreign := memory.New("p1")
	_, err := foreign.Join(t.Context(), partition.Cluster{ID: "other", Name: "p1", Epoch: 1, Masters: []string{"p9"}, Slots: make([]uint16, store.Slots)})
	if err != nil {
		t.Fatal(err)
	}
	swap.set(nil)
	storetest.Eventually(t, "outage", func() bool { return r.Replicas()[1].Err != nil })
	swap.set(foreign)
	storetest.Eventually(t, "refusal", func() bool { return r.Status().Partitions[1].State == store.Refused })
	swap.set(memory.New("p1"))
	storetest.Eventually(t, "join of the empty one", func() bool { return r.Replicas()[1].Err == nil })
}

// swapped is a partition with a database that can be replaced; nil is an outage.
type swapped struct {
	partition.Partition
	mu sync.Mutex
	to *memory.Partition
}

func (s *swapped) set(p *memory.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = p
}

func (s *swapped) now() (*memory.Partition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.to == nil {
		return nil, partition.ErrUnavailable
	}
	return s.to, nil
}

func (*swapped) Name() string                    { return "p1" }
func (*swapped) Kind() string                    { return "memory" }
func (*swapped) MaxValueBytes() int64            { return 1 << 20 }
func (*swapped) Warnings() []string              { return nil }
func (*swapped) Close() error                    { return nil }
func (*swapped) KnownSchema() partition.Schema   { return partition.Created() }
func (s *swapped) Prepare(context.Context) error { _, err := s.now(); return err }

func (s *swapped) Cluster(ctx context.Context) (partition.Cluster, error) {
	p, err := s.now()
	if err != nil {
		return partition.Cluster{}, err
	}
	return p.Cluster(ctx)
}

func (s *swapped) Join(ctx context.Context, c partition.Cluster) (partition.Cluster, error) {
	p, err := s.now()
	if err != nil {
		return partition.Cluster{}, err
	}
	return p.Join(ctx, c)
}

func (s *swapped) Positions(ctx context.Context) (partition.Positions, error) {
	p, err := s.now()
	if err != nil {
		return partition.Positions{}, err
	}
	return p.Positions(ctx)
}

// TestForeignPartitionsAreRefused: a cluster of the same partitions, masters and slots is a different cluster too.
func TestForeignPartitionsAreRefused(t *testing.T) {
	first := storetest.New(t, 2, storetest.Options())
	foreign := memory.New("p1")
	_, err := foreign.Join(t.Context(), partition.Cluster{ID: "other", Name: "p1", Epoch: 1, Masters: []string{"p9"}, Slots: make([]uint16, store.Slots)})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]partition.Partition{
		"of another cluster":  foreign,
		"of an equal cluster": storetest.New(t, 2, storetest.Options()).Parts[1].Reopen(),
		"shared by two":       shared{first.Parts[1].Reopen()},
	} {
		t.Run(name, func(t *testing.T) {
			mixed := &storetest.Rig{Parts: []*memory.Partition{first.Parts[0].Reopen()}}
			mixed.Start(t, storetest.Options())
			if err := mixed.Add(p); err != nil {
				t.Fatal(err)
			}
			storetest.Eventually(t, "refusal", func() bool {
				st := mixed.Status().Partitions[1]
				return st.State == store.Refused && errors.Is(st.Err, partition.ErrRefused)
			})
		})
	}
}

// shared is a database that belongs to p1, configured under another name.
type shared struct{ *memory.Partition }

func (shared) Name() string { return "p2" }

func TestAddedPartitionJoinsWithoutRestart(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	r.MustPut(t, "a", "1")
	added := memory.New("p1")
	if err := r.Add(added); err != nil {
		t.Fatal(err)
	}
	r.Parts = append(r.Parts, added)
	storetest.Eventually(t, "joined partition", func() bool { return r.Replicas()[1].Err == nil })
	r.Level(t)
	if st := r.Status().Partitions[1]; st.State != store.Ready || !st.Readable {
		t.Errorf("status: %+v", st)
	}
	if err := r.Add(memory.New("p1")); err == nil {
		t.Error("a second p1 was taken")
	}
}

// TestNoPartitionIsUsedBeforeItsClusterIsKnown: a sync process could write into a
// database of another cluster.
func TestNoPartitionIsUsedBeforeItsClusterIsKnown(t *testing.T) {
	r := &storetest.Rig{}
	var s atomic.Pointer[store.Store]
	var early atomic.Int64
	for i := range 3 {
		p := memory.New(fmt.Sprintf("p%d", i))
		r.Parts = append(r.Parts, p)
		p.Fail(func(op string) error {
			if op != memory.OpCluster || s.Load() == nil {
				return nil
			}
			if s.Load().Replicas()[i].Err == nil {
				early.Add(1)
			}
			return nil
		})
	}
	o := storetest.Options()
	o.Masters = []string{"p0"}
	for _, p := range r.Parts {
		o.Partitions = append(o.Partitions, p)
	}
	opened, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	s.Store(opened)
	if err := opened.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := early.Load(); n > 0 {
		t.Errorf("%d times a partition was given before its cluster was asked for", n)
	}
	for _, peer := range opened.Replicas() {
		if peer.Err != nil {
			t.Errorf("%s: %v", peer.Name(), peer.Err)
		}
	}
}

// TestTagIsTheClusters: every process has the same tag, also after a restart and with more
// partitions. Another cluster with the same names has another tag.
func TestTagIsTheClusters(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	own := r.Tag()
	if err := r.Add(memory.New("p2")); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "joined partition", func() bool { return r.Replicas()[2].Err == nil })
	again := &storetest.Rig{}
	for _, p := range r.Parts { // another process
		again.Parts = append(again.Parts, p.Reopen())
	}
	again.Start(t, storetest.Options())
	if own == 0 || r.Tag() != own || again.Tag() != own {
		t.Errorf("the tag is %x, then %x, in another process %x", own, r.Tag(), again.Tag())
	}
	if other := storetest.New(t, 2, storetest.Options()).Tag(); other == own {
		t.Errorf("another cluster has the tag %x too", other)
	}
}
