package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/cluster"
	"github.com/runnelkv/runnel/store/internal/routing"
)

// quorumSize is the number of backends that a Quorum asks; *CopiesError if there are fewer.
func (s *Store) quorumSize(o *ReadOptions) (int, error) {
	n := len(s.backends.All())
	switch asked := o.Copies; {
	case asked == AllCopies:
		return n, nil
	case asked == MajorityOfCopies:
		return n/2 + 1, nil
	case asked < 1 || asked > n:
		return 0, &CopiesError{Asked: asked, Configured: n, Err: errors.New("fewer partitions are configured")}
	default:
		return asked, nil
	}
}

// getQuorum asks as many backends as ReadOptions.Copies says, concurrently, replaces those
// that fail, and returns the newest answer. A backend that is behind does not count as
// failed.
func (s *Store) getQuorum(ctx context.Context, c *cluster.Map, k Key, o ReadOptions) (Read, error) {
	n, err := s.quorumSize(&o)
	if err != nil {
		return Read{}, err
	}
	q := s.router.NewRequest(c, Origin(c.Master(k)), o.demand(), k)
	single := q.WithoutSession() // a single backend may be behind the session
	qr := &quorumRead{inSession: &q, single: &single, candidates: single.Candidates()}
	var group sync.WaitGroup
	for range n {
		group.Go(func() { s.collectAnswer(ctx, qr, k) })
	}
	group.Wait()
	if ctx.Err() != nil {
		return Read{}, ctx.Err()
	}
	if len(qr.answers) < n {
		return Read{}, &CopiesError{Asked: n, Answered: len(qr.answers), Configured: len(s.backends.All()), RetryAfter: s.options.Poll, Err: qr.failure}
	}
	best := qr.newest()
	if !qr.reached { // add the answer of a backend that has reached the session
		o.Consistency = InSession
		r, err := s.Get(ctx, k, o)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return Read{}, err
		}
		best = newerAnswer(best, quorumAnswer{r, err})
	}
	return best.read, best.found
}

// quorumRead is a Quorum in progress.
type quorumRead struct {
	inSession *routing.Request // by a backend that has reached the session
	single    *routing.Request // by any other

	mu         sync.Mutex // guards the fields below
	candidates routing.Candidates
	answers    []quorumAnswer
	reached    bool // a backend that answered had reached the session
	failure    error
}

// quorumAnswer is a backend's answer about a key.
type quorumAnswer struct {
	read  Read
	found error // ErrNotFound: there is no live entry
}

// collectAnswer adds the answer of the next candidate that gives one.
func (s *Store) collectAnswer(ctx context.Context, qr *quorumRead, k Key) {
	for b, wait := qr.nextCandidate(s); b != nil; b, wait = qr.nextCandidate(s) {
		q, reached := qr.single, qr.inSession.HasReached(b)
		if reached {
			q = qr.inSession // verifies that a row is absent
		}
		r, found, err := s.getFrom(ctx, b, k, q, wait)
		if qr.addAnswer(quorumAnswer{r, found}, reached, err) || ctx.Err() != nil {
			return
		}
	}
}

// nextCandidate is the next backend to ask, and the time it may take: the last gets the whole timeout.
func (qr *quorumRead) nextCandidate(s *Store) (*backend.Backend, time.Duration) {
	qr.mu.Lock()
	defer qr.mu.Unlock()
	b := qr.candidates.Next()
	following := qr.candidates
	if following.Next() == nil {
		return b, s.options.Timeout
	}
	return b, s.router.Patience()
}

func (qr *quorumRead) addAnswer(a quorumAnswer, reached bool, err error) bool {
	qr.mu.Lock()
	defer qr.mu.Unlock()
	if err != nil {
		qr.failure = err
		return false
	}
	qr.answers = append(qr.answers, a)
	qr.reached = qr.reached || reached
	return true
}

// newest is the newest answer, with the lowest known staleness of all answers.
func (qr *quorumRead) newest() quorumAnswer {
	best, staleness := qr.answers[0], qr.answers[0].read.Staleness
	for _, a := range qr.answers[1:] {
		if d := a.read.Staleness; d >= 0 && (staleness < 0 || d < staleness) {
			staleness = d
		}
		best = newerAnswer(best, a)
	}
	best.read.Staleness = staleness
	return best
}

// newerAnswer is the answer with the higher revision; of two answers without a row, the
// answer with the lower known staleness.
func newerAnswer(a, b quorumAnswer) quorumAnswer {
	switch x, y := a.read, b.read; {
	case y.Seen.Revision > x.Seen.Revision,
		y.Seen.Revision == 0 && x.Seen.Revision == 0 && y.Staleness >= 0 && (x.Staleness < 0 || y.Staleness < x.Staleness):
		return b
	}
	return a
}
