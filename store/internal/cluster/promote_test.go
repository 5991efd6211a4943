package cluster_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// lostMaster is a store whose master p0 went down after a write "a", which all replicas hold, and "tail", which only the
// partitions hold that follow.
func lostMaster(t *testing.T, n int, tail ...int) (r *storetest.Rig, lost store.Entry) {
	t.Helper()
	var parts []*memory.Partition
	for i := range n {
		parts = append(parts, memory.New(fmt.Sprintf("p%d", i)))
	}
	r = &storetest.Rig{Parts: parts}
	r.Start(t, storetest.Options(), "p0")
	for _, p := range parts {
		if err := p.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stop := storetest.RunSync(t, r)
	a := r.MustPut(t, "a", "1")
	storetest.Eventually(t, "replicas with a", func() bool { return held(t, parts[1:], a) == n-1 })
	stop()
	lost = r.MustPut(t, "tail", "1")
	for _, i := range tail {
		at, err := parts[i].Positions(t.Context())
		if err == nil {
			_, err = partition.CatchUp(t.Context(), parts[0], parts[i], at.Origins["p0"], 0)
		}
		if err != nil || held(t, parts[i:i+1], lost) == 0 {
			t.Fatalf("p%d does not hold the tail: %v", i, err)
		}
	}
	down(parts[0])
	storetest.RunSync(t, r)
	return r, lost
}

// held counts the partitions that hold everything up to an entry.
func held(t *testing.T, parts []*memory.Partition, e store.Entry) (n int) {
	for _, p := range parts {
		if at, err := p.Reopen().Positions(t.Context()); err == nil && at.Origins[e.Origin].Holds(e.Revision) {
			n++
		}
	}
	return n
}

func promote(t *testing.T, r *storetest.Rig) store.Promoted {
	t.Helper()
	done, err := r.Promote(t.Context(), store.PromoteRequest{Lost: "p0", To: "p1"})
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// wantValue checks a key on every partition that is to be read.
func wantValue(t *testing.T, r *storetest.Rig, name, want string, partitions ...string) {
	t.Helper()
	for _, p := range partitions {
		storetest.Eventually(t, p+" with "+name, func() bool {
			got, err := r.Get(t.Context(), store.User.Key(name), store.ReadOptions{Partition: p})
			return want == "" && errors.Is(err, store.ErrNotFound) || err == nil && string(got.Entry.Value) == want
		})
	}
}

// TestPromotedPartitionGoesOn: with two partitions and with three, whether another replica holds more than the promoted one or
// not.
func TestPromotedPartitionGoesOn(t *testing.T) {
	for _, c := range []struct {
		n    int
		tail []int
		want string // of the tail
	}{{2, nil, ""}, {2, []int{1}, "1"}, {3, nil, ""}, {3, []int{2}, "1"}} {
		r, lost := lostMaster(t, c.n, c.tail...)
		done := promote(t, r)
		if done.Slots != store.Slots || done.Epoch != r.Status().Epoch || (done.Cut >= lost.Revision) != (c.want != "") {
			t.Errorf("%+v: %+v, and the tail is %d", c, done, lost.Revision)
		}
		w, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a"), Value: []byte("2")})
		if err != nil || w.Entry.Origin != "p1" || w.Entry.Revision.Epoch() != done.Epoch {
			t.Fatalf("%+v: %+v, %v", c, w, err)
		}
		var names []string
		for _, p := range r.Parts[1:] {
			names = append(names, p.Name())
		}
		wantValue(t, r, "a", "2", names...)
		wantValue(t, r, "tail", c.want, names...)
		seen := store.VectorOf(store.Mark{Origin: lost.Origin, Revision: lost.Revision})
		if r.Lost(seen) != (c.want == "") {
			t.Errorf("%+v: a session that has seen the tail is lost: %v", c, r.Lost(seen))
		}
		time.Sleep(100 * time.Millisecond) // the lost master proves nothing new
		for _, p := range r.Status().Partitions[1:] {
			if !p.Readable || p.Err != nil {
				t.Errorf("%+v: %s is %s: %v", c, p.Name, p.State, p.Err)
			}
			for _, o := range p.Origins {
				if o.Origin == "p0" && (o.Age != 0 || o.Lag != 0) {
					t.Errorf("%+v: %s waits for the lost master: %+v", c, p.Name, o)
				}
			}
		}
	}
}

// TestPromotionMissesNothingThatArrivesMeanwhile: another replica receives a late copy of the lost master's last write after
// the levelling. The promotion is refused, and a repetition takes the write along.
func TestPromotionMissesNothingThatArrivesMeanwhile(t *testing.T) {
	r, lost := lostMaster(t, 3)
	late := sync.OnceValue(func() error {
		origin, replica := r.Parts[0].Reopen(), r.Parts[2].Reopen()
		at, err := replica.Positions(t.Context())
		if err == nil {
			_, err = partition.CatchUp(t.Context(), origin, replica, at.Origins["p0"], 0)
		}
		return err
	})
	r.Parts[2].Fail(func(op string) error {
		if op == memory.OpPromise {
			return late()
		}
		return nil
	})
	r.Parts[1].Fail(func(op string) error { // otherwise the sync process copies the write in time
		if op == memory.OpApply {
			return partition.ErrUnavailable
		}
		return nil
	})
	_, err := r.Promote(t.Context(), store.PromoteRequest{Lost: "p0", To: "p1"})
	if err == nil {
		t.Fatal("a write that a reachable partition holds does not count")
	}
	r.Parts[1].Fail(nil)
	if done := promote(t, r); done.Cut < lost.Revision {
		t.Errorf("%+v, and the last write is %d", done, lost.Revision)
	}
	wantValue(t, r, "tail", "1", "p1", "p2")
}

// TestLostMasterReturns: as it was, with writes that do not count any more, or emptied.
func TestLostMasterReturns(t *testing.T) {
	for _, c := range []struct {
		name  string
		tail  []int // where the last write is, beside the lost master
		empty bool
		state store.State
	}{
		{"with writes that all count", []int{1}, false, store.Ready},
		{"with a write that does not count", nil, false, store.Refused},
		{"emptied", nil, true, store.Ready},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _ := lostMaster(t, 3, c.tail...)
			promote(t, r)
			r.MustPut(t, "b", "1")
			if c.empty {
				empty := memory.New("p0")
				if err := empty.Finish(t.Context()); err != nil {
					t.Fatal(err)
				}
				r = &storetest.Rig{Parts: []*memory.Partition{empty, r.Parts[1].Reopen(), r.Parts[2].Reopen()}}
				r.Start(t, storetest.Options(), "p0")
				storetest.RunSync(t, r)
			} else {
				r.Parts[0].Fail(nil)
			}
			storetest.Eventually(t, string(c.state), func() bool { return r.Status().Partitions[0].State == c.state })
			if c.state != store.Ready {
				if _, err := r.Get(t.Context(), store.User.Key("tail"), store.ReadOptions{Partition: "p0"}); err == nil {
					t.Error("a write that does not count is read")
				}
				for range 50 {
					if _, err := r.Get(t.Context(), store.User.Key("tail"), store.ReadOptions{}); !errors.Is(err, store.ErrNotFound) {
						t.Errorf("the tail: %v", err)
					}
				}
				return
			}
			wantValue(t, r, "a", "1", "p0", "p1", "p2")
			wantValue(t, r, "b", "1", "p0", "p1", "p2")
			if c.empty {
				return // a process must join the new database, and reads its map then
			}
			c, err := r.Parts[0].Cluster(t.Context())
			if err == nil {
				_, err = r.Parts[0].Commit(t.Context(), partition.Batch{Epoch: 1, Revisions: 1, Write: []partition.Entry{{Key: "k/a", Checksum: partition.Checksum(nil)}}})
			}
			if c.Epoch == 1 || !errors.Is(err, partition.ErrStaleEpoch) {
				t.Errorf("in epoch %d a process with the old map writes to the old master: %v", c.Epoch, err)
			}
		})
	}
}

// TestReturnedMasterBecomesMasterAgain: after it was level, by a move.
func TestReturnedMasterBecomesMasterAgain(t *testing.T) {
	r, _ := lostMaster(t, 3, 1)
	promote(t, r)
	r.Parts[0].Fail(nil)
	r.MustPut(t, "a", "2")
	storetest.Eventually(t, "the move back", func() bool {
		return r.Move(t.Context(), store.MoveRequest{From: "p1", To: "p0"}, func(store.MoveStage) {}) == nil
	})
	w, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a"), Value: []byte("3")})
	if err != nil || w.Entry.Origin != "p0" {
		t.Fatalf("%+v, %v", w, err)
	}
	wantValue(t, r, "a", "3", "p0", "p1", "p2")
}

func TestPromotionsThatCannotBeMadeChangeNothing(t *testing.T) {
	r, _ := lostMaster(t, 3)
	epoch := r.Status().Epoch
	refused := func(name string, q store.PromoteRequest, says string) {
		t.Helper()
		_, err := r.Promote(t.Context(), q)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
		if now := r.Status().Epoch; now != epoch {
			t.Fatalf("%s: the epoch is %d, and was %d", name, now, epoch)
		}
	}
	refused("no master", store.PromoteRequest{Lost: "p2", To: "p1"}, "not a master")
	refused("itself", store.PromoteRequest{Lost: "p0", To: "p0"}, "its own place")
	refused("unknown", store.PromoteRequest{Lost: "p0", To: "p9"}, `no partition named "p9"`)
	down(r.Parts[2])
	refused("no majority", store.PromoteRequest{Lost: "p0", To: "p1"}, "no majority")
	r.Parts[2].Fail(nil)
	r.Parts[0].Fail(nil)
	refused("a master that answers", store.PromoteRequest{Lost: "p0", To: "p1"}, "runnel move")
}
