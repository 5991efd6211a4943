package file

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// order returns all partitions in the rendezvous order of a chunk: each pair of a partition and a
// chunk has a pseudo-random weight, so a partition that joins or leaves moves only its own share.
func (f *Service) order(hash partition.ChunkHash) []store.Replica {
	return Order(f.store.Replicas(), hash)
}

// Order sorts partitions by the rendezvous order of a chunk.
func Order(replicas []store.Replica, hash partition.ChunkHash) []store.Replica {
	type weighted struct {
		store.Replica
		weight uint64
	}
	all := make([]weighted, len(replicas))
	var text [96]byte
	for i, r := range replicas {
		all[i] = weighted{r, xxh3.Hash(append(append(text[:0], hash[:]...), r.Name()...))}
	}
	slices.SortFunc(all, func(a, b weighted) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.Name(), b.Name()))
	})
	sorted := make([]store.Replica, len(all))
	for i := range all {
		sorted[i] = all[i].Replica
	}
	return sorted
}

// usableFirst moves the partitions that cannot be used, or have failed lately, behind the rest.
func (f *Service) usableFirst(order []store.Replica) []store.Replica {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	rank := func(r store.Replica) int {
		switch {
		case r.Err != nil:
			return 2
		case now.Before(f.failed[r.Name()]):
			return 1
		}
		return 0
	}
	slices.SortStableFunc(order, func(a, b store.Replica) int { return cmp.Compare(rank(a), rank(b)) })
	return order
}

// failurePause is how long a partition that has failed is asked last.
const failurePause = 5 * time.Second

// noteOutcome remembers a partition that does not answer.
func (f *Service) noteOutcome(name string, err error) {
	if !errors.Is(err, partition.ErrUnavailable) && !errors.Is(err, partition.ErrOutcomeUnknown) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed[name] = time.Now().Add(failurePause)
}
