package cluster_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// The times of these tests are those of a bubble.
const (
	lossAfter  = 30 * time.Second
	lossLease  = 10 * time.Second
	cooldown   = 10 * time.Minute
	mostOfLoss = lossAfter + lossLease + 5*time.Second
)

// inBubble gives a process a boot clock that follows the time of the bubble.
func inBubble(promotes bool) store.Options {
	o := storetest.Options()
	o.Poll, o.Promotes = time.Second, promotes
	began := time.Now()
	o.BootClock = func() time.Duration { return time.Since(began) + time.Hour }
	return o
}

// newAutomatic starts a sync process over n partitions with the master p0, which replaces lost masters by itself. Those of
// hollow are voters that hold no copies.
func newAutomatic(t *testing.T, n int, hollow ...int) *storetest.Rig {
	t.Helper()
	r := storetest.New(t, n, inBubble(true))
	for _, p := range r.Parts {
		if err := p.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range hollow {
		r.Parts[i].Fail(func(op string) error {
			if op == memory.OpApply {
				return partition.ErrUnavailable
			}
			return nil
		})
	}
	if err := r.SetLeases(t.Context(), lossLease); err != nil {
		t.Fatal(err)
	}
	k := r.MustPut(t, "k", "v")
	storetest.RunSyncEach(t, r, time.Second)
	storetest.Eventually(t, "level partitions", func() bool { return held(t, r.Parts[1:], k) == n-1-len(hollow) })
	if err := r.SetFailover(t.Context(), lossAfter, cooldown); err != nil {
		t.Fatal(err)
	}
	return r
}

// anotherProcess starts a further process on the same databases, in a bubble.
func anotherProcess(t *testing.T, r *storetest.Rig, promotes bool) *storetest.Rig {
	t.Helper()
	other := &storetest.Rig{}
	for _, p := range r.Parts {
		other.Parts = append(other.Parts, p.Reopen())
	}
	other.Start(t, inBubble(promotes), "p0")
	time.Sleep(lossAfter) // for its first report
	return other
}

// lose lets every process lose a partition.
func lose(i int, processes ...*storetest.Rig) {
	for _, r := range processes {
		down(r.Parts[i])
	}
}

// untilWritten returns the time until a write succeeds.
func untilWritten(t *testing.T, r *storetest.Rig) time.Duration {
	t.Helper()
	for began := time.Now(); time.Since(began) < 2*cooldown; time.Sleep(100 * time.Millisecond) {
		if _, err := write(r); err == nil {
			return time.Since(began)
		}
	}
	t.Fatal("no write succeeds")
	return 0
}

func wantReplaced(t *testing.T, r *storetest.Rig, earliest, latest time.Duration, by string) {
	t.Helper()
	took := untilWritten(t, r)
	if m := r.ClusterMap(); took < earliest || took > latest || len(m.Masters) != 1 || m.Masters[0].Name != by {
		t.Errorf("after %s, in between %s and %s: %+v", took, earliest, latest, m)
	}
}

// wantMaster checks that a master stays for a while.
func wantMaster(t *testing.T, r *storetest.Rig, name string, d time.Duration) {
	t.Helper()
	epoch := r.ClusterMap().Epoch
	time.Sleep(d)
	if m := r.ClusterMap(); m.Epoch != epoch || m.Move != nil || m.Masters[0].Name != name {
		t.Errorf("after %s: %+v", d, m)
	}
}

func TestLostMasterIsReplacedByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAutomatic(t, 3)
		lose(0, r)
		wantReplaced(t, r, lossAfter, mostOfLoss, "p1")
		wantValue(t, r, "k", "v", "p1", "p2")
		r.Parts[0].Fail(nil)
		storetest.Eventually(t, "the old master as a replica", func() bool { return r.Status().Partitions[0].State == store.Ready })
	})
}

// TestProcessThatIsCutOffAloneReplacesNoMaster: another process, which syncs nothing, reaches the master.
func TestProcessThatIsCutOffAloneReplacesNoMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAutomatic(t, 3)
		other := anotherProcess(t, r, false)
		lose(0, r)
		wantMaster(t, r, "p0", 20*lossAfter)
		if _, err := write(other); err != nil {
			t.Error(err)
		}
		lose(0, other)
		wantReplaced(t, r, lossAfter/2, mostOfLoss, "p1")
	})
}

func TestProcessWithoutMajorityReplacesNoMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAutomatic(t, 3)
		lose(2, r)
		lose(0, r)
		wantMaster(t, r, "p0", 20*lossAfter)
		r.Parts[2].Fail(nil)
		wantReplaced(t, r, 0, mostOfLoss, "p1")
	})
}

// TestCooldownFollowsAnAutomaticPromotion: whether an operator ends it or not.
func TestCooldownFollowsAnAutomaticPromotion(t *testing.T) {
	for _, isAcknowledged := range []bool{false, true} {
		t.Run(fmt.Sprintf("acknowledged %v", isAcknowledged), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newAutomatic(t, 5)
				lose(0, r)
				wantReplaced(t, r, lossAfter, mostOfLoss, "p1")
				if m := r.ClusterMap(); m.Failover.Cooling == 0 || m.Failover.After != lossAfter || m.Failover.Cooldown != cooldown {
					t.Errorf("%+v", m)
				}
				time.Sleep(time.Minute)
				lose(1, r)
				if !isAcknowledged {
					wantReplaced(t, r, cooldown-2*time.Minute, cooldown+mostOfLoss, "p2")
					return
				}
				wantMaster(t, r, "p1", cooldown/2)
				if err := r.AcknowledgeFailover(t.Context()); err != nil || r.ClusterMap().Failover.Cooling != 0 {
					t.Fatalf("%v, %+v", err, r.ClusterMap())
				}
				wantReplaced(t, r, 0, mostOfLoss, "p2")
			})
		})
	}
}

// TestCooldownEndsWithoutAnotherLoss: a process that starts later then has no cooldown to await.
func TestCooldownEndsWithoutAnotherLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAutomatic(t, 3)
		lose(0, r)
		wantReplaced(t, r, lossAfter, mostOfLoss, "p1")
		r.Parts[0].Fail(nil)
		time.Sleep(cooldown - time.Minute)
		if m := r.ClusterMap(); m.Failover.Cooling == 0 {
			t.Errorf("the cooldown has ended: %+v", m)
		}
		time.Sleep(2 * time.Minute)
		if m := r.ClusterMap(); m.Failover.Cooling != 0 {
			t.Errorf("the cooldown has not ended: %+v", m)
		}
	})
}

// TestPartitionThatIsNotWholeReplacesNoMaster: a voter without copies, and a voter amid a catch-up.
func TestPartitionThatIsNotWholeReplacesNoMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAutomatic(t, 5, 1, 4)
		at, err := r.Parts[2].Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p := at.Origins["p0"]
		if err := r.Parts[2].Apply(t.Context(), partition.Copy{Origin: "p0", From: p.Revision, To: p.Revision, Goal: p.Revision + 100}); err != nil {
			t.Fatal(err)
		}
		lose(0, r)
		wantReplaced(t, r, lossAfter, mostOfLoss, "p3")
	})
}

// TestBestPartitionReplacesALostMaster: p1 lags behind p2; or p1 is a master itself.
func TestBestPartitionReplacesALostMaster(t *testing.T) {
	for _, lags := range []bool{false, true} {
		t.Run(fmt.Sprintf("lags %v", lags), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newAutomatic(t, 3)
				if lags {
					r.Parts[1].Fail(func(op string) error {
						if op == memory.OpApply {
							return partition.ErrUnavailable
						}
						return nil
					})
					k := r.MustPut(t, "k", "2")
					storetest.Eventually(t, "a level p2", func() bool { return held(t, r.Parts[2:], k) == 1 })
				} else if err := r.Move(t.Context(), store.MoveRequest{From: "p0", To: "p1", Slots: []store.Slot{0, 1}}, func(store.MoveStage) {}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(lossAfter)
				lose(0, r)
				time.Sleep(mostOfLoss)
				c, err := r.Parts[2].Cluster(t.Context())
				if err != nil || len(c.Moves) == 0 || c.Moves[len(c.Moves)-1].To != "p2" || c.Moves[len(c.Moves)-1].Done == 0 {
					t.Errorf("%v, %+v", err, c.Moves)
				}
			})
		})
	}
}

func TestNoPartitionThatIsNotWholeIsTheLastChoice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAutomatic(t, 3, 1, 2)
		lose(0, r)
		wantMaster(t, r, "p0", 4*lossAfter)
		r.Parts[0].Fail(nil)
		if took := untilWritten(t, r); took > mostOfLoss {
			t.Errorf("the master that returned takes writes after %s", took)
		}
	})
}

// TestSyncProcessesMakeOnePromotionTogether: with the same candidate, and with another.
func TestSyncProcessesMakeOnePromotionTogether(t *testing.T) {
	for _, cutOff := range []bool{false, true} {
		t.Run(fmt.Sprintf("the second is cut off from the candidate %v", cutOff), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newAutomatic(t, 5)
				other := anotherProcess(t, r, true)
				if cutOff {
					lose(1, other)
					time.Sleep(lossAfter)
				}
				lose(0, r, other)
				if took := untilWritten(t, r); took > mostOfLoss {
					t.Errorf("after %s", took)
				}
				time.Sleep(mostOfLoss)
				c, err := r.Parts[3].Cluster(t.Context())
				if err != nil || len(c.Moves) != 1 || !c.Moves[0].Lost || c.Moves[0].Began != c.Failover.Cooling {
					t.Errorf("%v: %+v, %+v", err, c.Moves, c.Failover)
				}
			})
		})
	}
}

// TestMoversAtOnceMakeOnePromotion: a sync process finds the promotion of an operator under way, and another operator names
// another partition. Only an operator may do that.
func TestMoversAtOnceMakeOnePromotion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAutomatic(t, 5)
		lose(0, r)
		time.Sleep(2 * time.Second)
		done, err := r.Promote(t.Context(), store.PromoteRequest{Lost: "p0", To: "p3"}, func(s store.PromoteStage) {
			if s != store.PromoteBegun {
				return
			}
			_, err := r.Promote(t.Context(), store.PromoteRequest{Lost: "p0", To: "p2", Automatic: true}, noStages)
			if !errors.Is(err, store.ErrPromoteRefused) || !strings.Contains(err.Error(), "another process replaces p0 by p3") {
				t.Errorf("another candidate: %v", err)
			}
			if err := r.Move(t.Context(), store.MoveRequest{From: "p0", To: "p2"}, func(store.MoveStage) {}); !errors.Is(err, store.ErrMoveRefused) {
				t.Errorf("a move of a lost master: %v", err)
			}
			if err := r.AddVoter(t.Context(), "p9"); !errors.Is(err, store.ErrVotersRefused) {
				t.Errorf("a change of the voters: %v", err)
			}
		})
		if err != nil || r.ClusterMap().Masters[0].Name != "p3" || done.Slots != store.Slots {
			t.Errorf("%+v, %v", done, err)
		}
		if _, err := r.Promote(t.Context(), store.PromoteRequest{Lost: "p0", To: "p2"}, noStages); !errors.Is(err, store.ErrPromoteRefused) || !strings.Contains(err.Error(), "p0 is not a master; the masters are p3") {
			t.Errorf("a second promotion: %v", err)
		}
		k := r.MustPut(t, "k", "2")
		storetest.Eventually(t, "level partitions", func() bool { return held(t, r.Parts[1:3], k) == 2 })
		both := make(chan error, 2)
		lose(3, r)
		time.Sleep(2 * time.Second)
		for _, to := range []string{"p1", "p2"} {
			go func() {
				_, err := r.Promote(t.Context(), store.PromoteRequest{Lost: "p3", To: to}, noStages)
				both <- err
			}()
		}
		first, second := <-both, <-both
		if m := r.ClusterMap(); first != nil && second != nil || m.Move != nil || len(m.Masters) != 1 {
			t.Errorf("two operators at once: %v, %v, %+v", first, second, m)
		}
		if _, err := write(r); err != nil {
			t.Error(err)
		}
	})
}

// TestFailoverThatCannotBeSetChangesNothing.
func TestFailoverThatCannotBeSetChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two, three := storetest.New(t, 2, inBubble(true)), storetest.New(t, 3, inBubble(true))
		for _, p := range append(two.Parts, three.Parts...) {
			if err := p.Finish(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		refused := func(name string, r *storetest.Rig, after, cooldown time.Duration, says string) {
			t.Helper()
			epoch := r.Status().Epoch
			if err := r.SetFailover(t.Context(), after, cooldown); !errors.Is(err, store.ErrFailoverRefused) || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v", name, err)
			}
			if m := r.ClusterMap(); m.Failover != (store.FailoverInfo{}) || m.Epoch != epoch && m.Epoch != epoch+1 { // the first change names the voters
				t.Errorf("%s: %+v", name, m)
			}
		}
		refused("two partitions", two, lossAfter, cooldown, "runnel voters add")
		refused("no leases", three, lossAfter, cooldown, "runnel leases 10s")
		if err := three.SetLeases(t.Context(), lossLease); err != nil {
			t.Fatal(err)
		}
		refused("too short", three, time.Second, cooldown, "between 15s and 1h")
		refused("too long", three, 2*time.Hour, cooldown, "between 15s and 1h")
		refused("a cooldown that is too short", three, lossAfter, time.Second, "between 30s and 168h")
		refused("a cooldown that is too long", three, lossAfter, 200*time.Hour, "between 30s and 168h")
		if err := three.SetFailover(t.Context(), lossAfter, cooldown); err != nil {
			t.Fatal(err)
		}
		epoch := three.Status().Epoch
		if err := errors.Join(three.SetFailover(t.Context(), lossAfter, cooldown), three.AcknowledgeFailover(t.Context())); err != nil || three.Status().Epoch != epoch {
			t.Errorf("the same again: %v, epoch %d after %d", err, three.Status().Epoch, epoch)
		}
		if err := three.SetLeases(t.Context(), 0); !errors.Is(err, store.ErrLeasesRefused) || !strings.Contains(err.Error(), "runnel failover off") {
			t.Errorf("no leases while masters are replaced: %v", err)
		}
		if _, err := three.Promote(t.Context(), store.PromoteRequest{Lost: "p0", To: "p1", Automatic: true}, noStages); !errors.Is(err, store.ErrPromoteRefused) {
			t.Errorf("a master that answers: %v", err)
		}
		if err := errors.Join(three.SetFailover(t.Context(), 0, 0), three.SetLeases(t.Context(), 0)); err != nil {
			t.Error(err)
		}
	})
}

// TestPartitionsThatCannotBePromotedAreRefused: whoever asks, before anything is changed, with the way out.
func TestPartitionsThatCannotBePromotedAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAutomatic(t, 5, 1)
		for _, i := range []int{2, 3} {
			at, err := r.Parts[i].Positions(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p := at.Origins["p0"]
			if err := r.Parts[i].Apply(t.Context(), partition.Copy{Origin: "p0", From: p.Revision, To: p.Revision, Goal: p.Revision + 100}); err != nil {
				t.Fatal(err)
			}
		}
		refused := func(name string, q store.PromoteRequest, want error, says string) {
			t.Helper()
			epoch := r.ClusterMap().Epoch
			_, err := r.Promote(t.Context(), q, noStages)
			if !errors.Is(err, want) || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v", name, err)
			}
			if m := r.ClusterMap(); m.Epoch != epoch || m.Move != nil || m.Masters[0].Name != "p0" {
				t.Fatalf("%s: %+v", name, m)
			}
		}
		refused("a master that answers", store.PromoteRequest{Lost: "p0", To: "p4", Automatic: true}, store.ErrPromoteRefused, "p0 answers")
		lose(0, r)
		time.Sleep(2 * time.Second)
		lose(4, r)
		refused("a voter without copies", store.PromoteRequest{Lost: "p0", To: "p1"}, store.ErrPromoteRefused, "let the sync process fill this one")
		refused("a voter amid a catch-up", store.PromoteRequest{Lost: "p0", To: "p2"}, store.ErrPromoteRefused, "a mixture of moments")
		refused("a voter that does not answer", store.PromoteRequest{Lost: "p0", To: "p4"}, store.ErrPromoteRefused, "p4 cannot be used")
		refused("an unknown name", store.PromoteRequest{Lost: "p0", To: "p9"}, store.ErrPromoteRefused, `no partition named "p9" is configured`)
		refused("an unknown master", store.PromoteRequest{Lost: "p9", To: "p2"}, store.ErrPromoteRefused, "p9 is not a master; the masters are p0")
		refused("a master without its own place", store.PromoteRequest{Lost: "p0", To: "p0"}, store.ErrPromoteRefused, "its own place")
		lose(1, r)
		lose(2, r)
		r.Parts[4].Fail(nil)
		time.Sleep(2 * time.Second)
		refused("no majority", store.PromoteRequest{Lost: "p0", To: "p4"}, store.ErrNoMajority, "3 of 5 are needed")
		if err := r.SetFailover(t.Context(), 0, 0); !errors.Is(err, store.ErrNoMajority) {
			t.Errorf("no majority: %v", err)
		}
		r.Parts[2].Fail(nil)
		wantReplaced(t, r, 0, mostOfLoss, "p4")
		lose(4, r)
		time.Sleep(2 * time.Second)
		_, err := r.Promote(t.Context(), store.PromoteRequest{Lost: "p4", To: "p3", Automatic: true}, noStages)
		if !errors.Is(err, store.ErrPromoteRefused) || !strings.Contains(err.Error(), "runnel failover ack") {
			t.Errorf("within the cooldown: %v", err)
		}
	})
}
