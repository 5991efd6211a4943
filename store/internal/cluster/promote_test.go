package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
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
	if n > 3 { // the first change names the voters, and needs all of them
		for _, reason := range []string{"a change", ""} {
			if err := r.Halt(t.Context(), reason); err != nil {
				t.Fatal(err)
			}
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

// inPlaceOfP0 is a promotion that relies on the word of an operator.
var inPlaceOfP0 = store.PromoteRequest{Lost: "p0", To: "p1", Stopped: true}

func noStages(store.PromoteStage) {}

func promote(t *testing.T, r *storetest.Rig) store.Promoted {
	t.Helper()
	done, err := r.Promote(t.Context(), inPlaceOfP0, noStages)
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

// catchUp copies the entries of an origin that a target lacks from a source.
func catchUp(t *testing.T, source, target *memory.Partition, o partition.Origin) error {
	source, target = source.Reopen(), target.Reopen()
	at, err := target.Positions(t.Context())
	if err == nil {
		_, err = partition.CatchUp(t.Context(), source, target, at.Origins[o], 0)
	}
	return err
}

// TestPromotionMissesNothingThatArrivesMeanwhile: another replica receives a late copy of the lost master's last write after
// the first levelling, and before it accepts the promotion. From then on it takes no copy, from any partition.
func TestPromotionMissesNothingThatArrivesMeanwhile(t *testing.T) {
	r, lost := lostMaster(t, 5, 4)
	var promised, copied atomic.Bool
	r.Parts[2].Fail(func(op string) (err error) {
		switch {
		case op == memory.OpPromise:
			promised.Store(true)
		case op == memory.OpAccept && promised.Load() && copied.CompareAndSwap(false, true):
			err = catchUp(t, r.Parts[0], r.Parts[2], "p0")
		}
		return err
	})
	r.Parts[3].Fail(func(op string) error { // otherwise the sync process copies the write from p2
		if op == memory.OpApply {
			return partition.ErrUnavailable
		}
		return nil
	})
	holds := func(i int) bool { return held(t, r.Parts[i:i+1], lost) == 1 }
	done, err := r.Promote(t.Context(), inPlaceOfP0, func(s store.PromoteStage) {
		if s != store.PromoteBegun {
			return
		}
		if !holds(2) || holds(3) {
			t.Errorf("p2 holds the late write: %v, and p3: %v", holds(2), holds(3))
		}
		for _, source := range []int{0, 2, 4} { // with an older map, or with the same
			if err := catchUp(t, r.Parts[source], r.Parts[3], "p0"); err == nil && source != 4 || holds(3) {
				t.Errorf("p3 takes a copy from p%d: %v", source, err)
			}
		}
	})
	if err != nil || done.Cut < lost.Revision {
		t.Fatalf("%+v, %v, and the last write is %d", done, err, lost.Revision)
	}
	r.Parts[3].Fail(nil)
	r.Parts[4].Fail(nil)
	wantValue(t, r, "tail", "1", "p1", "p2", "p3", "p4")
}

// TestInterruptedPromotionGoesOn: the process that promotes ends after each stage, and a running store completes the promotion.
func TestInterruptedPromotionGoesOn(t *testing.T) {
	for _, stage := range []store.PromoteStage{store.PromoteBegun, store.PromoteExcluded} {
		t.Run(string(stage), func(t *testing.T) {
			r, _ := lostMaster(t, 3)
			ctx, cancel := context.WithCancel(t.Context())
			_, err := r.Promote(ctx, inPlaceOfP0, func(s store.PromoteStage) {
				if s == stage {
					cancel()
				}
			})
			if err == nil {
				t.Fatal("the promotion was not interrupted")
			}
			if m := r.ClusterMap(); m.Move == nil || !m.Move.Lost {
				t.Errorf("no promotion is under way: %+v", m)
			}
			storetest.Eventually(t, "the end of the promotion", func() bool {
				m := r.ClusterMap()
				return m.Move == nil && m.Confirmed && m.Masters[0].Name == "p1"
			})
			if e := r.MustPut(t, "a", "2"); e.Origin != "p1" {
				t.Errorf("%+v", e)
			}
		})
	}
}

// TestPromotionIsRepeatedWithAnotherPartition: the first partition to promote is lost too.
func TestPromotionIsRepeatedWithAnotherPartition(t *testing.T) {
	r, lost := lostMaster(t, 5, 2)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := r.Promote(ctx, inPlaceOfP0, func(s store.PromoteStage) {
		if s == store.PromoteBegun {
			down(r.Parts[1])
			cancel()
		}
	})
	if err == nil {
		t.Fatal("the promotion was not interrupted")
	}
	done, err := r.Promote(t.Context(), store.PromoteRequest{Lost: "p0", To: "p3", Stopped: true}, noStages)
	if err != nil || done.Cut < lost.Revision {
		t.Fatalf("%+v, %v", done, err)
	}
	if e := r.MustPut(t, "a", "2"); e.Origin != "p3" {
		t.Errorf("%+v", e)
	}
	r.Parts[1].Fail(nil)
	wantValue(t, r, "tail", "1", "p1", "p2", "p3", "p4")
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
		_, err := r.Promote(t.Context(), q, noStages)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
		if now := r.Status().Epoch; now != epoch {
			t.Fatalf("%s: the epoch is %d, and was %d", name, now, epoch)
		}
	}
	refused("no master", store.PromoteRequest{Lost: "p2", To: "p1", Stopped: true}, "not a master")
	refused("itself", store.PromoteRequest{Lost: "p0", To: "p0", Stopped: true}, "its own place")
	refused("unknown", store.PromoteRequest{Lost: "p0", To: "p9", Stopped: true}, `no partition named "p9"`)
	refused("without leases and without an operator's word", store.PromoteRequest{Lost: "p0", To: "p1"}, "have no master leases")
	down(r.Parts[2])
	refused("no majority", store.PromoteRequest{Lost: "p0", To: "p1", Stopped: true}, "no majority")
	r.Parts[2].Fail(nil)
	r.Parts[0].Fail(nil)
	refused("a master that answers", store.PromoteRequest{Lost: "p0", To: "p1", Stopped: true}, "runnel move")
}

// TestReplicaAmidACatchUpToLostWritesIsFilledAfresh: the lost master has begun to give p2 writes that nobody else holds.
func TestReplicaAmidACatchUpToLostWritesIsFilledAfresh(t *testing.T) {
	for _, n := range []int{3, 5} {
		r, lost := lostMaster(t, n)
		at, err := r.Parts[2].Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p := at.Origins["p0"]
		if err := r.Parts[2].Apply(t.Context(), partition.Copy{Origin: "p0", From: p.Revision, To: p.Revision, Goal: lost.Revision}); err != nil {
			t.Fatal(err)
		}
		promote(t, r)
		r.MustPut(t, "b", "1")
		storetest.Eventually(t, "a whole p2", func() bool {
			at, err := r.Parts[2].Positions(t.Context())
			return err == nil && at.Origins["p0"].Whole() && at.Origins["p1"].Whole() && r.Status().Partitions[2].State == store.Ready
		})
		wantValue(t, r, "a", "1", "p2")
		wantValue(t, r, "tail", "", "p2")
	}
}

// TestPromotedPartitionThatReceivesMoreIsNotShutOut: a replica that holds more of the lost master returns between the reading
// of the cut and the end, and passes the last write on to the new master.
func TestPromotedPartitionThatReceivesMoreIsNotShutOut(t *testing.T) {
	r, lost := lostMaster(t, 5, 4)
	down(r.Parts[4])
	var isExcluded, isCopied atomic.Bool
	r.Parts[1].Fail(func(op string) error {
		if op != memory.OpPromise || !isExcluded.Load() || !isCopied.CompareAndSwap(false, true) {
			return nil
		}
		c, err := r.Parts[2].Reopen().Cluster(t.Context())
		if err == nil {
			_, err = r.Parts[4].Reopen().Accept(t.Context(), c)
		}
		if err == nil {
			err = catchUp(t, r.Parts[4], r.Parts[1], "p0")
		}
		if err != nil || held(t, r.Parts[1:2], lost) == 0 {
			t.Errorf("the new master does not hold the last write: %v", err)
		}
		return nil
	})
	_, err := r.Promote(t.Context(), inPlaceOfP0, func(s store.PromoteStage) { isExcluded.Store(isExcluded.Load() || s == store.PromoteExcluded) })
	t.Logf("the promotion: %v", err)
	storetest.Eventually(t, "the new master", func() bool { return r.ClusterMap().Move == nil && r.ClusterMap().Masters[0].Name == "p1" })
	storetest.Eventually(t, "a write", func() bool { _, err := write(r); return err == nil })
	wantValue(t, r, "tail", "1", "p1", "p2")
}
