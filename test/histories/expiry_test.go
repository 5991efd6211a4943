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
	// clockLag is more than what a server takes the clock of a master to be can be
	// behind it. A server reads that clock once a second, and cannot know when
	// between asking and being told it was that: it takes the earlier, so as to let
	// nothing expire before its time. The longest pause may lie between these two.
	clockLag = 5 * time.Second
)

// TestLeasesExpire has clients of two servers take, renew, look at and lose what
// expires, while nothing is paused: it is there until its time for all of them, and
// soon after it for nobody.
func TestLeasesExpire(t *testing.T) {
	t.Parallel()
	file := runnel.WriteConfig(t, linearConfig, runnel.ThreeFiles(t)...)
	nodes := []*runnel.Process{runnel.ServeUnready(t, "--config", file), runnel.ServeUnready(t, "--config", file)}
	for _, n := range nodes {
		n.AwaitOK(t, "/readyz?write")
	}
	w, random := newWorkload(t), runnel.NewRandom(t)
	w.leases.lag = 1500 * time.Millisecond // a reading of a clock is given up sooner
	for i := range 2 * linearClients {
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

// expiry is that the time of what was written is over, which is nobody's operation
// and takes effect at a moment like any other: for those that come to the master's
// lock at most by decided, for its readers by seen.
type expiry struct {
	key                            int
	value                          string
	goneForWriters, goneForReaders time.Duration
}

// fading is that an entry has an expiry. Until it begins nobody finds the entry gone.
// From then on who decides under the master's lock finds it gone once and for all.
// A read may still find it until all clocks have come so far, and may find it gone
// although a write that was decided in time is about to be seen: that is how far
// reads and writes of what expires are not in one order.
type fading struct {
	*expiry
	begun bool
	gone  bool // for who decides
}

// expiries are those of an operation's writes, which it notes there. A master counts
// the ttl from some moment between the call and the return.
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

// passing counts the writes that expire.
func (o *operation) countExpiring() (n int) {
	for _, st := range slices.Concat(o.invocation.then, o.invocation.otherwise) {
		if st.ttl != 0 {
			n++
		}
	}
	return n
}

// fade begins the end of an entry. One that was written over does not expire.
func (s cells) beginExpiry(e *expiry) cells {
	if c := &s[e.key]; c.value == e.value {
		c.fading.begun = true
	}
	return s
}

// sights are what an operation may find: of every entry that expires, that it is
// there still, or gone.
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

// settle is what stands after an operation that saw some of what stood before: an
// entry that it found gone stays so for who decides.
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
