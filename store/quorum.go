package store

import (
	"context"
	"errors"
	"sync"
	"time"
)

// copies is how many partitions a Quorum asks: an error if there are not so many.
func (q *quest) copies() (int, error) {
	n := len(q.members)
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
func (s *Store) getQuorum(ctx context.Context, c *cluster, k Key, o ReadOptions) (Read, error) {
	asked := s.quest(c, Origin(c.master(k)), o)
	q := &asked
	n, err := q.copies()
	if err != nil {
		return Read{}, err
	}
	session := q.o.Session
	q.o.Session, q.picky = Vector{}, false // each alone may be behind it
	p := &poll{turn: s.candidates(q), wanted: n}
	q.o.Session = session
	var group sync.WaitGroup
	for range n {
		group.Go(func() { s.askOne(ctx, p, k, q) })
	}
	group.Wait()
	if ctx.Err() != nil {
		return Read{}, ctx.Err()
	}
	if len(p.answers) < n {
		return Read{}, &CopiesError{Asked: n, Answered: len(p.answers), Configured: len(q.members), RetryAfter: s.options.Poll, Err: p.failure}
	}
	best := p.newest()
	if !p.reached {
		if best, err = s.inSession(ctx, k, q, best); err != nil {
			return Read{}, err
		}
	}
	return best.read, best.found
}

// poll is a Quorum under way.
type poll struct {
	wanted int

	mu      sync.Mutex // guards the fields below
	turn    turn
	answers []answer
	reached bool // one that answered held what the session has seen
	failure error
}

// answer is what one member holds of a key.
type answer struct {
	read  Read
	found error // ErrNotFound when there is no live entry
}

// askOne gets one answer to a poll, from the first member of its turn that gives one.
func (s *Store) askOne(ctx context.Context, p *poll, k Key, q *quest) {
	for m, wait := p.next(s); m != nil; m, wait = p.next(s) {
		reached := q.reached(m)
		one := *q
		one.picky = reached && !q.o.Session.IsZero() // so that a row that is absent is proven to be
		r, found, err := s.getFrom(ctx, m, k, &one, wait)
		if p.took(answer{r, found}, reached, err) || ctx.Err() != nil {
			return
		}
	}
}

// next is the next member to ask, and for how long: the last ones get the whole timeout.
func (p *poll) next(s *Store) (*member, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.turn.next()
	ahead := p.turn
	if ahead.next() == nil {
		return m, s.options.Timeout
	}
	return m, min(patience, s.options.Timeout)
}

func (p *poll) took(a answer, reached bool, err error) bool {
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
func (p *poll) newest() answer {
	best, fresh := p.answers[0], p.answers[0].read.Staleness
	for _, a := range p.answers[1:] {
		if d := a.read.Staleness; d >= 0 && (fresh < 0 || d < fresh) {
			fresh = d
		}
		best = newer(best, a)
	}
	best.read.Staleness = fresh
	return best
}

// newer is the answer with the later revision. Without a row, it is the one
// that is known to be fresher.
func newer(a, b answer) answer {
	switch x, y := a.read, b.read; {
	case y.Seen.Revision > x.Seen.Revision,
		y.Seen.Revision == 0 && x.Seen.Revision == 0 && y.Staleness >= 0 && (x.Staleness < 0 || y.Staleness < x.Staleness):
		return b
	}
	return a
}

// inSession adds the answer of a member that has reached the session to those
// of a poll of which none had.
func (s *Store) inSession(ctx context.Context, k Key, q *quest, best answer) (answer, error) {
	o := q.o
	o.Consistency = InSession
	r, err := s.Get(ctx, k, o)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return best, err
	}
	return newer(best, answer{r, err}), nil
}
