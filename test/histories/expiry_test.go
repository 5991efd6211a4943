package histories

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/runnelkv/runnel/test/runnel"
)

const (
	// clockDrift is more than the clocks of a master and a client drift apart in a ttl.
	clockDrift = 20 * time.Millisecond
	// clockLag bounds how far a server's estimate of a master's clock lags. A server reads that clock once a
	// second and takes the time of the request, not of the answer, so that no entry expires early. The longest
	// pause may lie between request and answer.
	clockLag = 5 * time.Second
)

// TestLeasesExpire lets clients of two servers acquire, renew, read and lose leases while nothing is paused. Every
// client finds a lease until its time is over, and no client finds the lease much later.
func TestLeasesExpire(t *testing.T) {
	t.Parallel()
	file := runnel.WriteConfig(t, clusterConfig, runnel.ThreeFiles(t)...)
	nodes := []*runnel.Process{runnel.ServeUnready(t, "--config", file), runnel.ServeUnready(t, "--config", file)}
	for _, n := range nodes {
		n.AwaitOK(t, "/readyz?write")
	}
	w, random := newWorkload(t), runnel.NewRandom(t)
	w.leases.lag = 1500 * time.Millisecond // a reading of a clock is given up sooner
	for i := range 2 * clientsPerKind {
		c := client{id: i, random: rand.New(rand.NewPCG(random.Uint64(), uint64(i))), http: &http.Client{Transport: w.transport, Timeout: clientTimeout},
			server: func(random *rand.Rand) string { return nodes[random.IntN(2)].URL }}
		w.runLeases(c, []int{leaseKeys, 10 * leaseKeys}[i%2]) // many are left alone until they are gone for sure
	}
	until := time.Duration(runnel.Rounds(4, 60)) * time.Second
	runnel.Eventually(t, 2*until, "leases expire", func() error {
		if at := w.leases.now(); at < until {
			return fmt.Errorf("it is only %v", at)
		}
		return nil
	})
	w.stop()
	w.leases.logCounts(t, "leases")
	w.leases.mustBeLinearizable(t, "leases")
}

// expiry is the end of an entry's ttl. The model treats an expiry as an operation without a client, which takes
// effect at some moment: no later than goneForWriters for operations under the master's lock, and no later than
// goneForReaders for reads.
type expiry struct {
	key                            int
	value                          string
	goneForWriters, goneForReaders time.Duration
}

// fading is the state of an entry that expires. Before begun every operation finds the entry. Afterwards the first
// operation under the master's lock that finds the entry gone makes the entry gone for all later operations under
// the lock. A read may find the entry until all clocks have passed the expiry, and may find it gone although a
// write that was decided in time is about to become visible. To this extent reads and writes of expiring entries
// are not linearizable.
type fading struct {
	*expiry
	begun bool
	gone  bool // for operations under the lock
}

// expiries returns the expiries of an operation's writes and notes them in its steps. A master counts the ttl from
// some moment between the call and the return.
func (o *operation) expiries(lag time.Duration) (all []porcupine.Operation) {
	for _, steps := range []*[]step{&o.invocation.then, &o.invocation.otherwise} {
		*steps = slices.Clone(*steps)
		for i := range *steps {
			st := &(*steps)[i]
			if st.ttl == 0 {
				continue
			}
			st.expires = &expiry{st.key, st.value, math.MaxInt64, math.MaxInt64}
			if !o.response.unknown {
				st.expires.goneForWriters = o.returned + st.ttl + clockDrift
				st.expires.goneForReaders = st.expires.goneForWriters + lag
			}
			all = append(all, porcupine.Operation{ClientId: o.client, Input: invocation{expires: st.expires},
				Call: int64(o.called + st.ttl - clockDrift), Output: response{unknown: true}, Return: int64(st.expires.goneForWriters)})
		}
	}
	return all
}

// countExpiring counts the writes with a ttl.
func (o *operation) countExpiring() (n int) {
	for _, st := range slices.Concat(o.invocation.then, o.invocation.otherwise) {
		if st.ttl != 0 {
			n++
		}
	}
	return n
}

// beginExpiry marks an entry as expiring. An entry that was overwritten does not expire.
func (s cells) beginExpiry(e *expiry) cells {
	if c := &s[e.key]; c.value == e.value {
		c.fading.begun = true
	}
	return s
}

// observations returns the states that an operation may observe: each expiring entry may be there or gone.
func (s cells) observations(o *invocation) []cells {
	all := []cells{s}
	for key := range s {
		f := s[key].fading
		if f.expiry == nil {
			continue
		}
		there := all
		all = nil
		for _, one := range there {
			if f.isVisible(o) {
				all = append(all, one)
			}
			if f.begun {
				one[key].value, one[key].revision = "", 0
				all = append(all, one)
			}
		}
	}
	return all
}

func (f *fading) isVisible(o *invocation) bool {
	if o.underLock() {
		return !f.gone && o.called <= f.goneForWriters
	}
	return o.called <= f.goneForReaders
}

// merge returns the state after an operation that observed seen and left after. An entry that the operation found
// gone stays gone for operations under the lock.
func (s cells) merge(seen, after cells, decided bool) cells {
	for key := range s {
		f := s[key].fading
		if f.expiry == nil || after[key].fading.expiry != f.expiry || seen[key].value != "" {
			continue // nothing was found gone, or something was written
		}
		s[key].fading.gone = s[key].fading.gone || decided
		s[key].floor = after[key].floor
		after[key] = s[key]
	}
	return after
}
