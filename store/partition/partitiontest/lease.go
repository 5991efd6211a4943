package partitiontest

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

var leaseChecks = []check{
	{"LeaseRunsByThePartitionsClock", checkLeaseClock},
	{"LeaseIsRenewedByItsHolder", checkLeaseRenewed},
	{"LeaseIsHeldAgainstOthers", checkLeaseHeld},
	{"LeaseExpires", checkLeaseExpires},
	{"LeaseEndsWithinItsLengthWhateverTheClock", checkLeaseClockSetBack},
	{"LeaseIsReleasedByItsHolderAlone", checkLeaseReleased},
	{"LeaseRacesHaveOneHolder", checkLeaseRaces},
}

func checkLeaseClock(t *testing.T, s suite) {
	p := s.node(t, beta)
	before := now(t, p)
	got, err := p.Acquire(t.Context(), "one", time.Minute)
	must(t, err)
	after := now(t, p)
	if got.ExpiresAt < before.Add(time.Minute) || got.ExpiresAt > after.Add(time.Minute) {
		t.Errorf("a lease of a minute taken between %d and %d expires at %d", before, after, got.ExpiresAt)
	}
	if got.Holder != "one" || got.Fence < 1 {
		t.Errorf("the lease is %+v", got)
	}
}

func checkLeaseRenewed(t *testing.T, s suite) {
	p := s.node(t, beta)
	first, err := p.Acquire(t.Context(), "one", time.Minute)
	must(t, err)
	second, err := p.open(t).Acquire(t.Context(), "one", time.Hour)
	must(t, err)
	if second.Fence != first.Fence || second.ExpiresAt <= first.ExpiresAt {
		t.Errorf("renewed, the lease went from %+v to %+v", first, second)
	}
}

func checkLeaseHeld(t *testing.T, s suite) {
	p := s.node(t, beta)
	lease, err := p.Acquire(t.Context(), "one", time.Hour)
	must(t, err)
	for _, other := range []partition.Partition{p, p.open(t)} {
		held, err := other.Acquire(t.Context(), "two", time.Hour)
		wantError(t, err, partition.ErrLeaseHeld)
		if held != lease {
			t.Errorf("the lease %+v is told as %+v", lease, held)
		}
	}
	_, err = p.Acquire(t.Context(), "One", time.Hour)
	wantError(t, err, partition.ErrLeaseHeld)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 1, Goal: 1, Fence: lease.Fence}))
}

func checkLeaseExpires(t *testing.T, s suite) {
	p := s.node(t, beta)
	first, err := p.Acquire(t.Context(), "one", 20*time.Millisecond)
	must(t, err)
	var second partition.Lease
	must(t, eventually(t.Context(), func() bool {
		second, err = p.Acquire(t.Context(), "two", time.Hour)
		return !errors.Is(err, partition.ErrLeaseHeld)
	}))
	must(t, err)
	if second.Fence <= first.Fence || second.ExpiresAt.Add(-time.Hour) < first.ExpiresAt {
		t.Errorf("the lease %+v was taken over as %+v", first, second)
	}
	_, err = p.Acquire(t.Context(), "one", time.Hour)
	wantError(t, err, partition.ErrLeaseHeld)
	wantError(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 1, Goal: 1, Fence: first.Fence}), partition.ErrLeaseLost)
}

// checkLeaseClockSetBack: a lease that ends later than any new lease would was taken before the
// clock was set back, so another holder gets it.
func checkLeaseClockSetBack(t *testing.T, s suite) {
	p := s.node(t, beta)
	first, err := p.Acquire(t.Context(), "one", time.Hour)
	must(t, err)
	second, err := p.Acquire(t.Context(), "two", time.Minute)
	must(t, err)
	if second.Fence <= first.Fence || second.ExpiresAt >= first.ExpiresAt {
		t.Errorf("the lease %+v was taken over as %+v", first, second)
	}
	wantError(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 1, Goal: 1, Fence: first.Fence}), partition.ErrLeaseLost)
}

func checkLeaseReleased(t *testing.T, s suite) {
	p := s.node(t, beta)
	first, err := p.Acquire(t.Context(), "one", time.Hour)
	must(t, err)
	must(t, p.Release(t.Context(), first))
	must(t, p.Release(t.Context(), first)) // no longer held
	second, err := p.Acquire(t.Context(), "two", time.Hour)
	must(t, err)
	if second.Fence <= first.Fence {
		t.Errorf("the fence went from %d to %d", first.Fence, second.Fence)
	}
	must(t, p.Release(t.Context(), first))
	must(t, p.Release(t.Context(), partition.Lease{Holder: "two", Fence: second.Fence - 1}))
	_, err = p.Acquire(t.Context(), "one", time.Hour)
	wantError(t, err, partition.ErrLeaseHeld)
	must(t, p.Release(t.Context(), second))
	third, err := p.Acquire(t.Context(), "one", time.Hour)
	must(t, err)
	if third.Fence <= second.Fence {
		t.Errorf("the fence went from %d to %d", second.Fence, third.Fence)
	}
}

func checkLeaseRaces(t *testing.T, s suite) {
	n := s.node(t, beta)
	var holders atomic.Int32
	var race []func() error
	for _, holder := range []string{"one", "two", "three", "four"} {
		p := n.open(t)
		race = append(race, func() error {
			_, err := p.Acquire(t.Context(), holder, time.Hour)
			if errors.Is(err, partition.ErrLeaseHeld) {
				return nil
			}
			holders.Add(1)
			return err
		})
	}
	together(t, race...)
	if got := holders.Load(); got != 1 {
		t.Errorf("%d hold the lease", got)
	}
}
