package catchup_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// refuseCopies lets a partition take no copies.
func refuseCopies(p *memory.Partition) {
	p.Fail(func(op string) error {
		if op == memory.OpApply {
			return partition.ErrUnavailable
		}
		return nil
	})
}

func markOf(e store.Entry) store.Mark { return store.Mark{Origin: e.Origin, Revision: e.Revision} }

// TestSecuredWritesAreHeldByAMajorityInOrder: two of three partitions hold the write by position, whichever replica fails.
func TestSecuredWritesAreHeldByAMajorityInOrder(t *testing.T) {
	for failing := 1; failing <= 2; failing++ {
		r := storetest.New(t, 3, storetest.Options())
		if n := r.Voters(); n != 3 {
			t.Errorf("there are %d voters", n)
		}
		r.MustPut(t, "a", "1")
		r.Level(t)
		refuseCopies(r.Parts[failing])
		r.MustPut(t, "before", "1")
		e := r.MustPut(t, "a", "2")
		if err := r.Secure(t.Context(), markOf(e)); err != nil {
			t.Fatal(err)
		}
		at, err := r.Parts[3-failing].Positions(t.Context())
		if err != nil || !at.Origins["p0"].Holds(e.Revision) {
			t.Errorf("without p%d: p%d is at %+v, %v", failing, 3-failing, at.Origins["p0"], err)
		}
		refuseCopies(r.Parts[3-failing])
		e = r.MustPut(t, "a", "3")
		if err := r.Secure(t.Context(), markOf(e)); !errors.Is(err, partition.ErrUnavailable) || !strings.Contains(err.Error(), "2 of 3 voters") {
			t.Errorf("on the master alone: %v", err)
		}
	}
}

// TestVotersOfALaterEpochSecureNothing: the replicas accept a later map while the write is on its way to them, as they do for a
// process that takes the master's place.
func TestVotersOfALaterEpochSecureNothing(t *testing.T) {
	r := storetest.New(t, 3, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	e := r.MustPut(t, "a", "2")
	for _, p := range r.Parts[1:] {
		p.Fail(func(op string) error {
			if op != memory.OpApply {
				return nil
			}
			c, err := p.Cluster(t.Context())
			if err == nil {
				c.Epoch++
				_, err = p.Reopen().Accept(t.Context(), c)
			}
			return err
		})
	}
	if err := r.Secure(t.Context(), markOf(e)); !errors.Is(err, partition.ErrPositionMoved) {
		t.Errorf("the write is secured: %v", err)
	}
}

// TestSecureIsForAsManyWritesAsThereAre: concurrent writes share the copying.
func TestSecureIsForAsManyWritesAsThereAre(t *testing.T) {
	r := storetest.New(t, 3, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	errs := make(chan error)
	for i := range 100 {
		go func() {
			w, err := r.Put(t.Context(), store.Entry{Key: store.User.Key(fmt.Sprint(i))})
			if err == nil {
				err = r.Secure(t.Context(), markOf(w.Entry))
			}
			errs <- err
		}()
	}
	for range 100 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
