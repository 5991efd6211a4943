package cluster_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// newVoting starts a store whose voters are p0, p1 and p2, and which has a further replica p3. stop ends the sync process.
func newVoting(t *testing.T) (r *storetest.Rig, stop func()) {
	t.Helper()
	r = storetest.New(t, 3, storetest.Options())
	r.Parts = append(r.Parts, memory.New("p3"))
	for _, p := range r.Parts {
		if err := p.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, reason := range []string{"the first change names the voters", ""} {
		storetest.Eventually(t, "a change", func() bool { return r.Halt(t.Context(), reason) == nil })
	}
	if err := r.Add(r.Parts[3]); err != nil {
		t.Fatal(err)
	}
	stop = storetest.RunSync(t, r)
	awaitFilled(t, r)
	return r, stop
}

func awaitFilled(t *testing.T, r *storetest.Rig) {
	t.Helper()
	storetest.Eventually(t, "every partition filled", func() bool {
		for _, p := range r.Status().Partitions {
			if !p.Readable || p.State != store.Ready {
				return false
			}
		}
		return true
	})
}

func wantVoters(t *testing.T, r *storetest.Rig, want ...string) {
	t.Helper()
	if m := r.ClusterMap(); !slices.Equal(m.Voters, want) {
		t.Errorf("the voters are %v, want %v", m.Voters, want)
	}
}

// mustPutSecured writes a key that a majority of the voters holds.
func mustPutSecured(t *testing.T, r *storetest.Rig, name, value string) store.Entry {
	t.Helper()
	e := r.MustPut(t, name, value)
	if err := r.Secure(t.Context(), store.Mark{Origin: e.Origin, Revision: e.Revision}); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestVoterIsReplaced: a partition gets the vote of a lost one, and the next loss finds a majority. Nothing is lost that a
// majority of the former voters held.
func TestVoterIsReplaced(t *testing.T) {
	r, _ := newVoting(t)
	mustPutSecured(t, r, "before", "1")
	down(r.Parts[2])
	change := func(event string, f func() error) { // until the voters hold everything
		t.Helper()
		var err error
		storetest.Eventually(t, event, func() bool { err = f(); return err == nil || !errors.Is(err, store.ErrVotersRefused) })
		if err != nil {
			t.Fatalf("%s: %v", event, err)
		}
	}
	change("p3 with a vote", func() error { return r.AddVoter(t.Context(), "p3") })
	wantVoters(t, r, "p0", "p1", "p2", "p3")
	mustPutSecured(t, r, "between", "1")
	change("p2 without a vote", func() error { return r.RemoveVoter(t.Context(), "p2") })
	wantVoters(t, r, "p0", "p1", "p3")
	mustPutSecured(t, r, "after", "1")
	down(r.Parts[0])
	if _, err := r.Promote(t.Context(), store.PromoteRequest{Lost: "p0", To: "p3", Stopped: true}, noStages); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"before", "between", "after"} {
		wantValue(t, r, name, "1", "p1", "p3")
	}
}

// TestVotersChangeOneByOne: the second change waits until a majority of the voters holds what was written before the first.
func TestVotersChangeOneByOne(t *testing.T) {
	r, stop := newVoting(t)
	stop()
	if err := r.AddVoter(t.Context(), "p3"); err != nil {
		t.Fatal(err)
	}
	epoch := r.Status().Epoch
	if err := r.RemoveVoter(t.Context(), "p1"); !errors.Is(err, store.ErrVotersRefused) || !strings.Contains(err.Error(), "the sync process has not copied them within 4s") {
		t.Fatalf("a second change at once: %v", err)
	}
	if err := r.AddVoter(t.Context(), "p3"); err != nil || r.Status().Epoch != epoch {
		t.Errorf("a repetition: %v, and the epoch went from %d to %d", err, epoch, r.Status().Epoch)
	}
	storetest.RunSync(t, r)
	storetest.Eventually(t, "the second change", func() bool { return r.RemoveVoter(t.Context(), "p1") == nil })
	wantVoters(t, r, "p0", "p2", "p3")
}

// TestNewVotersNeedAMajorityToo: two of three former voters are a majority, and two of four new ones are none.
func TestNewVotersNeedAMajorityToo(t *testing.T) {
	r, _ := newVoting(t)
	for _, p := range r.Parts[2:] {
		p.Fail(func(op string) error {
			if op == memory.OpAccept {
				return partition.ErrUnavailable
			}
			return nil
		})
	}
	if err := r.AddVoter(t.Context(), "p3"); !errors.Is(err, store.ErrNoMajority) || !strings.Contains(err.Error(), "3 of 4 are needed") {
		t.Errorf("%v", err)
	}
	for _, p := range r.Parts[2:] {
		p.Fail(nil)
	}
	storetest.Eventually(t, "the end of the change by a running store", func() bool {
		m := r.ClusterMap()
		return m.Confirmed && len(m.Voters) == 4
	})
	storetest.Eventually(t, "a write", func() bool { _, err := write(r); return err == nil })
}

// TestProcessWithFormerVotersLearnsTheNew: a process that has not heard of a change cannot rely on the former voters.
func TestProcessWithFormerVotersLearnsTheNew(t *testing.T) {
	r, _ := newVoting(t)
	old := &storetest.Rig{}
	for _, p := range r.Parts {
		old.Parts = append(old.Parts, p.Reopen())
	}
	o := storetest.Options()
	o.Poll = time.Hour // it reads no row of the cluster, until a write fails
	old.Start(t, o, "p0")
	if err := r.AddVoter(t.Context(), "p3"); err != nil {
		t.Fatal(err)
	}
	if _, err := write(old); err == nil {
		wantVoters(t, old, "p0", "p1", "p2", "p3")
	} else {
		t.Errorf("a write by a process with the former voters: %v", err)
	}
}

func TestVotersThatCannotChange(t *testing.T) {
	r, _ := newVoting(t)
	epoch := r.Status().Epoch
	refused := func(name string, err error, says string) {
		t.Helper()
		if !errors.Is(err, store.ErrVotersRefused) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
		if now := r.Status().Epoch; now != epoch {
			t.Fatalf("%s: the epoch went from %d to %d", name, epoch, now)
		}
	}
	refused("an unknown partition", r.AddVoter(t.Context(), "p9"), `no partition named "p9"`)
	refused("an unknown voter", r.RemoveVoter(t.Context(), "p9"), `no voter is named "p9"`)
	refused("a master", r.RemoveVoter(t.Context(), "p0"), "is a master")
	down(r.Parts[3])
	storetest.Eventually(t, "the loss of p3", func() bool { return !r.Status().Partitions[3].Readable })
	refused("a partition that is down", r.AddVoter(t.Context(), "p3"), "p3 cannot be used")
	if err := r.AddVoter(t.Context(), "p1"); err != nil || r.Status().Epoch != epoch {
		t.Errorf("a voter already: %v", err)
	}
	storetest.Eventually(t, "leases", func() bool { return r.SetLeases(t.Context(), store.MaxLease) == nil })
	epoch = r.Status().Epoch
	storetest.Eventually(t, "voters that hold everything", func() bool {
		err := r.RemoveVoter(t.Context(), "p1")
		return err != nil && strings.Contains(err.Error(), "master leases need three voters")
	})
	storetest.Eventually(t, "no leases", func() bool { return r.SetLeases(t.Context(), 0) == nil })
	storetest.Eventually(t, "two voters", func() bool { return r.RemoveVoter(t.Context(), "p1") == nil })
	epoch = r.Status().Epoch
	storetest.Eventually(t, "voters that hold everything", func() bool {
		err := r.RemoveVoter(t.Context(), "p2")
		return err != nil && strings.Contains(err.Error(), "the only other voter would be p0")
	})
	wantVoters(t, r, "p0", "p2")
}
