package cluster_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// down makes a partition unreachable.
func down(p *memory.Partition) {
	p.Fail(func(string) error { return partition.ErrUnavailable })
}

func threeParts() (parts []*memory.Partition) {
	for i := range 3 {
		parts = append(parts, memory.New(fmt.Sprintf("p%d", i)))
	}
	return parts
}

// storeOver is a store over partitions, without Run.
func storeOver(t *testing.T, parts []*memory.Partition, change func(*store.Options)) *store.Store {
	t.Helper()
	o := storetest.Options()
	for _, p := range parts {
		o.Partitions = append(o.Partitions, p)
	}
	change(&o)
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestClusterIsFoundedOnlyOnceAllWereReached: an empty master with a replica that is away does
// not found a cluster.
func TestClusterIsFoundedOnlyOnceAllWereReached(t *testing.T) {
	for name, back := range map[string]func(partition.Cluster) *memory.Partition{
		"a new partition": func(partition.Cluster) *memory.Partition { return memory.New("p2") },
		"a member of an older cluster": func(c partition.Cluster) *memory.Partition {
			p := memory.New("p2")
			if _, err := p.Join(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			return p
		},
	} {
		t.Run(name, func(t *testing.T) {
			older := partition.Cluster{ID: "older", Epoch: 1, Masters: []string{"p0"}, Slots: make([]uint16, store.Slots)}
			parts := threeParts()
			parts[2] = back(older)
			down(parts[2])
			s := storeOver(t, parts, func(*store.Options) {})
			err := s.Connect(t.Context())
			if s.Tag() != 0 || !errors.Is(err, partition.ErrUnavailable) || !strings.Contains(err.Error(), "not reached: p2") {
				t.Fatalf("founded without p2 (tag %d): %v", s.Tag(), err)
			}
			for _, p := range parts[:2] {
				if _, err := p.Cluster(t.Context()); !errors.Is(err, partition.ErrNoCluster) {
					t.Errorf("%s: %v", p.Name(), err)
				}
			}
			parts[2].Fail(nil)
			if err := s.Connect(t.Context()); err != nil || s.Tag() == 0 {
				t.Fatalf("all are there: tag %d, %v", s.Tag(), err)
			}
			if st := s.Status(); (st.ClusterID == older.ID) != (name != "a new partition") {
				t.Errorf("the cluster is %s", st.ClusterID)
			}
		})
	}
}

func TestInitFoundsWithoutThoseThatAreAway(t *testing.T) {
	var log bytes.Buffer
	parts := threeParts()
	down(parts[2])
	s := storeOver(t, parts, func(o *store.Options) { o.Init, o.Logger = true, slog.New(slog.NewTextHandler(&log, nil)) })
	if err := s.Connect(t.Context()); s.Tag() == 0 {
		t.Fatal(err)
	}
	if text := log.String(); !strings.Contains(text, "level=WARN") || !strings.Contains(text, "founded a new cluster") || !strings.Contains(text, "not_reached=[p2]") {
		t.Errorf("the log: %s", text)
	}
}

func TestManyProcessesFoundOneCluster(t *testing.T) {
	parts := threeParts()
	tags := make([]store.ClusterTag, 8)
	var group sync.WaitGroup
	for i := range tags {
		s := storeOver(t, parts, func(*store.Options) {})
		group.Go(func() {
			if err := s.Connect(t.Context()); err != nil {
				t.Error(err)
			}
			tags[i] = s.Tag()
		})
	}
	group.Wait()
	for _, tag := range tags {
		if tag == 0 || tag != tags[0] {
			t.Fatalf("tags %v", tags)
		}
	}
}

func TestDamagedMapIsRefused(t *testing.T) {
	good := partition.Cluster{ID: "c", Epoch: 1, Masters: []string{"p0"}, Slots: make([]uint16, store.Slots)}
	for want, damage := range map[string]func(*partition.Cluster){
		"it has 0 slots, not 1024":        func(c *partition.Cluster) { c.Slots = nil },
		"it has 1023 slots, not 1024":     func(c *partition.Cluster) { c.Slots = c.Slots[1:] },
		"slot 7 belongs to master 1 of 1": func(c *partition.Cluster) { c.Slots[7] = 1 },
		"slot 0 belongs to master 0 of 0": func(c *partition.Cluster) { c.Masters = nil },
		"its epoch 0 is not between":      func(c *partition.Cluster) { c.Epoch = 0 },
		"its epoch 8388608 is not":        func(c *partition.Cluster) { c.Epoch = 1 << 23 },
	} {
		c := good
		c.Slots = append([]uint16(nil), good.Slots...)
		damage(&c)
		for _, holder := range []int{0, 1} {
			parts := threeParts()
			if _, err := parts[holder].Join(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			s := storeOver(t, parts, func(*store.Options) {})
			err := s.Connect(t.Context())
			if !errors.Is(err, partition.ErrRefused) || !strings.Contains(err.Error(), want) || s.Tag() != 0 {
				t.Errorf("%s on p%d: tag %d, %v", want, holder, s.Tag(), err)
			}
			if _, err := s.Put(t.Context(), store.Entry{Key: store.User.Key("a")}); !errors.Is(err, store.ErrMasterUnavailable) {
				t.Errorf("Put: %v", err)
			}
		}
	}
}
