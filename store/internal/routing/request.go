package routing

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/cluster"
	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// Demand says which backends may answer a read. The zero value admits every complete backend.
type Demand struct {
	Session      version.Vector // the answer is no older than this
	Bounded      bool           // the answer is at most MaxStaleness old
	MaxStaleness time.Duration  // if bounded
	FromMaster   bool           // only the key's master answers
	Partition    string         // only this partition, regardless of its state and of the rest of the demand
}

// Request is a read in search of a backend that may answer it. A Request is used by a single goroutine, except for the methods
// that only ask.
type Request struct {
	router     *Router
	demand     Demand
	c          *cluster.Map
	backends   []*backend.Backend
	origin     partition.Origin   // the master of the keys; of a listing, the first master
	former     []partition.Origin // that entries of the keys can have too; of a listing, every further origin
	allOrigins bool               // a listing, which needs every origin
	strict     bool               // bounded or of a session: a backend must qualify
	newerEpoch bool               // the session has marks of an epoch that this process does not know yet

	failure error // of the last backend that was asked
	tried   int
	slowest *backend.Backend // the first that did not answer in time
}

// NewRequest makes a request for keys with the origin as their master.
func (r *Router) NewRequest(c *cluster.Map, origin partition.Origin, d Demand, keys ...partition.Key) Request {
	q := Request{router: r, demand: d, c: c, backends: r.backends.All(), origin: origin}
	if c.HasMoved() {
		q.former = formerMasters(c, keys)
	}
	if d.Partition == "" {
		q.strict = d.Bounded || !d.Session.IsZero()
		q.newerEpoch = !d.Session.IsZero() && c.IsOlderThan(d.Session)
	}
	return q
}

func formerMasters(c *cluster.Map, keys []partition.Key) (former []partition.Origin) {
	if len(keys) == 1 {
		return c.FormerMasters(keys[0])
	}
	for _, k := range keys {
		for _, o := range c.FormerMasters(k) {
			if !slices.Contains(former, o) {
				former = append(former, o)
			}
		}
	}
	return former
}

// NewListRequest makes a request for keys of every master, which can have entries of every origin.
func (r *Router) NewListRequest(c *cluster.Map, d Demand) Request {
	q := r.NewRequest(c, partition.Origin(c.Masters[0]), d)
	q.allOrigins = true
	q.former = slices.DeleteFunc(c.Origins(), func(o partition.Origin) bool { return o == q.origin })
	return q
}

// origins are the origins that entries of the keys can have.
func (q *Request) origins(yield func(partition.Origin) bool) {
	if !yield(q.origin) {
		return
	}
	for _, o := range q.former {
		if !yield(o) {
			return
		}
	}
}

// IsStrict reports whether a backend must qualify, and whether the absence of a row must therefore be verified.
func (q *Request) IsStrict() bool { return q.strict }

// Master is the origin of the keys; of a listing, the first master.
func (q *Request) Master() partition.Origin { return q.origin }

// WithoutSession is the request for a backend that may be behind the session.
func (q *Request) WithoutSession() Request {
	w := *q
	w.demand.Session, w.strict = version.Vector{}, w.demand.Bounded
	return w
}

// ErrTooFarBehind: the backend does not satisfy the read.
var ErrTooFarBehind = errors.New("it is behind what the read asks for")

// TryCandidates calls ask for candidates, in their order, until ask returns nil. If no
// backend is known to qualify for a strict read, TryCandidates waits shortly for a replica
// and then asks the master. ask gets the time that the backend may take.
func (q *Request) TryCandidates(ctx context.Context, ask func(*backend.Backend, time.Duration) error) error {
	timeout, wait := q.router.options.Timeout, q.router.Patience()
	sole := q.soleReader() != ""
	if sole {
		wait = timeout // there is no further backend to ask
	}
	if done, err := q.tryAll(ctx, q.Candidates(), wait, ask); done {
		return err
	}
	if q.strict && !sole {
		if done, err := q.waitThenAskMaster(ctx, wait, ask); done {
			return err
		}
	}
	if left := timeout - wait; q.slowest != nil && left > 0 {
		if q.failure = ask(q.slowest, left); q.failure == nil {
			return nil
		}
	}
	return q.ReadError()
}

// tryAll asks the candidates in their order. done: a candidate has answered, or ctx has ended.
func (q *Request) tryAll(ctx context.Context, cs Candidates, wait time.Duration, ask func(*backend.Backend, time.Duration) error) (done bool, err error) {
	for b := cs.Next(); b != nil; b = cs.Next() {
		q.tried++
		err := q.EnsureQualifies(ctx, b)
		if err == nil {
			err = ask(b, wait)
		}
		if err == nil {
			return true, nil
		}
		if ctx.Err() != nil {
			return true, ctx.Err()
		}
		q.failure = err
		if q.slowest == nil && errors.Is(err, context.DeadlineExceeded) {
			q.slowest = b
		}
	}
	return false, nil
}

// waitThenAskMaster continues a strict read for which no candidate qualified.
func (q *Request) waitThenAskMaster(ctx context.Context, wait time.Duration, ask func(*backend.Backend, time.Duration) error) (done bool, err error) {
	if q.waitForReplica(ctx) {
		if done, err := q.tryAll(ctx, q.Candidates(), wait, ask); done {
			return done, err
		}
	}
	if ctx.Err() != nil {
		return true, ctx.Err()
	}
	return q.tryAll(ctx, q.onlyCandidate(string(q.origin)), q.router.options.Timeout, ask)
}

// soleReader is the name of the only partition that may answer, or "".
func (q *Request) soleReader() string {
	if q.demand.Partition == "" && q.demand.FromMaster {
		return string(q.origin)
	}
	return q.demand.Partition
}
