package store

import (
	"context"
	"errors"
	"sync"
	"time"
)

// copies is how many partitions a Quorum asks: an error if there are not so many.
func (q *readRequest) quorumSize() (int, error) {
	n := len(q.backends)
	switch asked := q.o.Copies; {
	case asked == AllCopies:
		return n, nil
	case asked == MajorityOfCopies:
		return n/2 + 1, nil
	case asked < 1 || asked > n:
		return 0, &CopiesError{Asked: asked, Configured: n, Err: errors.New("there are not so many")}
	default:
		return asked, nil
	}
}

// getQuorum asks as many members as q.o.Copies says side by side, others in
// place of those that fail, and returns the newest entry. That a copy is behind
// is no failure.
func (s *Store) getQuorum(ctx context.Context, c *clusterMap, k Key, o ReadOptions) (Read, error) {
	asked := s.newReadRequest(c, Origin(c.master(k)), o)
	q := &asked
	n, err := q.quorumSize()
	if err != nil {
		return Read{}, err
	}
	session := q.o.Session
	q.o.Session, q.strict = Vector{}, false // each alone may be behind it
	p := &quorumRead{candidates: s.candidatesFor(q), wanted: n}
	q.o.Session = session
	var group sync.WaitGroup
	for range n {
		group.Go(func() { s.collectAnswer(ctx, p, k, q) })
	}
	group.Wait()
	if ctx.Err() != nil {
		return Read{}, ctx.Err()
	}
	if len(p.answers) < n {
		return Read{}, &CopiesError{Asked: n, Answered: len(p.answers), Configured: len(q.backends), RetryAfter: s.options.Poll, Err: p.failure}
	}
	best := p.newest()
	if !p.reached {
		if best, err = s.addSessionAnswer(ctx, k, q, best); err != nil {
			return Read{}, err
		}
	}
	return best.read, best.found
}

// poll is a Quorum under way.
type quorumRead struct {
	wanted int

	mu         sync.Mutex // guards the fields below
	candidates candidates
	answers    []quorumAnswer
	reached    bool // one that answered held what the session has seen
	failure    error
}

// answer is what one member holds of a key.
type quorumAnswer struct {
	read  Read
	found error // ErrNotFound when there is no live entry
}

// askOne gets one answer to a poll, from the first member of its turn that gives one.
func (s *Store) collectAnswer(ctx context.Context, p *quorumRead, k Key, q *readRequest) {
	for m, wait := p.next(s); m != nil; m, wait = p.next(s) {
		reached := q.hasReached(m)
		one := *q
		one.strict = reached && !q.o.Session.IsZero() // so that a row that is absent is proven to be
		r, found, err := s.getFrom(ctx, m, k, &one, wait)
		if p.addAnswer(quorumAnswer{r, found}, reached, err) || ctx.Err() != nil {
			return
		}
	}
}

// next is the next member to ask, and for how long: the last ones get the whole timeout.
func (p *quorumRead) next(s *Store) (*backend, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.candidates.next()
	ahead := p.candidates
	if ahead.next() == nil {
		return m, s.options.Timeout
	}
	return m, min(readPatience, s.options.Timeout)
}

func (p *quorumRead) addAnswer(a quorumAnswer, reached bool, err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failure = err
		return false
	}
	p.answers = append(p.answers, a)
	p.reached = p.reached || reached
	return true
}

// newest is the newest answer, as fresh as the freshest is known to be.
func (p *quorumRead) newest() quorumAnswer {
	best, fresh := p.answers[0], p.answers[0].read.Staleness
	for _, a := range p.answers[1:] {
		if d := a.read.Staleness; d >= 0 && (fresh < 0 || d < fresh) {
			fresh = d
		}
		best = newerAnswer(best, a)
	}
	best.read.Staleness = fresh
	return best
}

// newer is the answer with the later revision. Without a row, it is the one
// that is known to be fresher.
func newerAnswer(a, b quorumAnswer) quorumAnswer {
	switch x, y := a.read, b.read; {
	case y.Seen.Revision > x.Seen.Revision,
		y.Seen.Revision == 0 && x.Seen.Revision == 0 && y.Staleness >= 0 && (x.Staleness < 0 || y.Staleness < x.Staleness):
		return b
	}
	return a
}

// inSession adds the answer of a member that has reached the session to those
// of a poll of which none had.
func (s *Store) addSessionAnswer(ctx context.Context, k Key, q *readRequest, best quorumAnswer) (quorumAnswer, error) {
	o := q.o
	o.Consistency = InSession
	r, err := s.Get(ctx, k, o)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return best, err
	}
	return newerAnswer(best, quorumAnswer{r, err}), nil
}
