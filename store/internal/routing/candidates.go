package routing

import (
	"math/rand/v2"
	"slices"

	"github.com/runnelkv/runnel/store/internal/backend"
)

// Candidates iterates over the backends that may answer a read: first those that are not
// in a multi-step catch-up, then those that are, each round starting at the preferred backend.
// For a read of a session the master of the key is a candidate only if preferred;
// otherwise replicas spare it the load.
type Candidates struct {
	q        *Request
	backends []*backend.Backend
	first    int
	asked    int  // backends visited in this round
	lagging  bool // the second round
	named    bool // a single backend was chosen, in any state
}

// Candidates returns the candidates of a read; at most a single backend if the demand names it.
func (q *Request) Candidates() Candidates {
	if name := q.soleReader(); name != "" {
		return q.onlyCandidate(name)
	}
	return Candidates{q: q, backends: q.backends, first: q.preferred()}
}

// onlyCandidate has the named backend alone, or none if that is unreachable. A master that
// may lack writes answers only reads with its partition in the demand.
func (q *Request) onlyCandidate(name string) Candidates {
	for i, b := range q.backends {
		if b.Name() == name && b.IsReadable() && (q.demand.Partition != "" || q.IsComplete(b)) {
			return Candidates{q: q, backends: q.backends[i : i+1], named: true}
		}
	}
	return Candidates{}
}

// Next is the next backend to ask, nil when there is none left.
func (cs *Candidates) Next() *backend.Backend {
	for {
		if cs.asked == len(cs.backends) {
			if cs.lagging || cs.named || len(cs.backends) == 0 {
				return nil
			}
			cs.lagging, cs.asked = true, 0
		}
		first := cs.asked == 0 && !cs.lagging
		b := cs.backends[(cs.first+cs.asked)%len(cs.backends)]
		cs.asked++
		if cs.admits(b, first) {
			return b
		}
	}
}

func (cs *Candidates) admits(b *backend.Backend, first bool) bool {
	q := cs.q
	switch {
	case cs.named:
		return true
	case q.isLagging(b) != cs.lagging || !q.IsComplete(b) || !b.IsUp():
		return false
	case !q.strict:
		return true
	}
	return (first || !q.avoidsMaster(b)) && q.qualifies(b)
}

// IsComplete reports whether the backend is complete for every origin that is read. The master of keys held everything of
// former masters when it became their master, whatever was observed of it before.
func (q *Request) IsComplete(b *backend.Backend) bool {
	if !q.allOrigins && b.Name() == string(q.origin) {
		return b.IsComplete(q.origin)
	}
	for o := range q.origins {
		if !b.IsComplete(o) {
			return false
		}
	}
	return true
}

// isLagging reports whether the backend is in a multi-step catch-up with an origin that is read. Of a listing only the
// first master counts, unless slots have moved.
func (q *Request) isLagging(b *backend.Backend) bool {
	if b.IsLagging(q.origin) {
		return true
	}
	return q.c.HasMoved() && slices.ContainsFunc(q.former, b.IsLagging)
}

// preferred is the index of the backend to ask first, by the router's options.
func (q *Request) preferred() int {
	o := &q.router.options
	first := rand.IntN(len(q.backends))
	if !o.Nearest && o.Local == "" {
		return first
	}
	best := -1
	for i := range q.backends {
		i = (first + i) % len(q.backends)
		b := q.backends[i]
		if q.isLagging(b) || !q.IsComplete(b) || !b.IsUp() || q.strict && !q.qualifies(b) {
			continue
		}
		if b.Name() == o.Local {
			return i
		}
		if best < 0 || o.Nearest && b.IsFaster(q.backends[best]) {
			best = i
		}
	}
	return max(best, 0)
}
