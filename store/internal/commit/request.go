package commit

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/runnelkv/runnel/store/internal/guard"
	"github.com/runnelkv/runnel/store/partition"
)

// Request is an Update or a Put on the way through a committer. The committer owns
// the request from Submit to SetOutcome.
type Request struct {
	Epoch   int64            // of the cluster map by which the master was found
	Keys    []partition.Key  // declared; all of one master
	key     [1]partition.Key // backs keys of a Put
	values  bool             // fn needs the current values
	fn      func(*Tx) error  // nil: a Put of entry
	entry   partition.Entry  // of a Put; the commit completes the entry
	Appends int              // most entries that fn appends
	Halts   bool             // the map may halt the request
	fences  []guard.Fence    // of locks that must be held
	bytes   int64            // of the values that the request carries
	ordered bool             // must not overtake earlier requests
	group   *Group           // waits for the outcome
	alone   *Group           // the group of a request that is waited for by itself
	outcome error            // valid once the group is done

	firstOrder int   // index of the first key in batch.order
	created    bool  // of a Put: there was no live entry before
	err        error // of fn, in the last attempt
}

// SetPut makes u a Put of e. SetPut also sets the size and checksum of e.
func (u *Request) SetPut(e *partition.Entry) {
	e.Size = int64(len(e.Value))
	e.Checksum = partition.Checksum(e.Value)
	u.entry, u.bytes = *e, e.Size
	u.key[0] = e.Key
	u.Keys = u.key[:]
}

// SetUpdate makes u an Update of the keys by fn, which writes about so many bytes of values.
func (u *Request) SetUpdate(keys []partition.Key, fn func(*Tx) error, values bool, bytes int64) {
	u.Keys, u.fn, u.values, u.bytes = keys, fn, values, bytes
}

// JoinGroup makes g wait for the request, which never overtakes an earlier request of a group.
func (u *Request) JoinGroup(g *Group) { u.group, u.ordered = g, true }

// Result is the outcome of a request that is done. Of a Put, entry is as stored, and created says that there was no live
// entry before.
func (u *Request) Result() (entry partition.Entry, created bool, err error) {
	return u.entry, u.created, u.outcome
}

// SetOutcome hands the outcome to the waiting caller. The caller may reuse u from then on.
func (u *Request) SetOutcome(err error) {
	u.outcome = err
	u.group.FinishOne()
}

// indexOf is the index of a declared key. It panics on other keys.
func (u *Request) indexOf(k partition.Key) int {
	i := slices.Index(u.Keys, k)
	if i < 0 {
		panic(fmt.Sprintf("store: key %q was not declared to Update", k))
	}
	return i
}

// Pool holds requests for reuse.
type Pool struct{ pool sync.Pool }

// Take returns an empty request, for Commit.
func (p *Pool) Take() *Request {
	if u, ok := p.pool.Get().(*Request); ok {
		return u
	}
	return &Request{alone: NewGroup(1)}
}

// Release returns a request to the pool. No committer may hold the request.
func (p *Pool) Release(u *Request) {
	*u = Request{alone: u.alone}
	p.pool.Put(u)
}

// Group is a set of requests that are awaited together.
type Group struct {
	left atomic.Int64
	done chan struct{} // buffered, 1: receives a token when none is left
}

// NewGroup makes a group of n requests.
func NewGroup(n int) *Group {
	g := &Group{done: make(chan struct{}, 1)}
	g.left.Store(int64(n))
	return g
}

// FinishOne counts a request, or the maker of the group, as done.
func (g *Group) FinishOne() {
	if g.left.Add(-1) == 0 {
		g.done <- struct{}{}
	}
}

// AwaitOutcomes waits for all outcomes. When ctx ends, the requests that are still queued are
// cancelled; the outcome of the rest is that of their commit.
func (g *Group) AwaitOutcomes(ctx context.Context, committers ...*Committer) {
	select {
	case <-g.done:
		return
	case <-ctx.Done():
	}
	for _, c := range committers {
		for _, u := range c.cancel(g) {
			u.SetOutcome(ctx.Err())
		}
	}
	<-g.done
}

// TooLargeError says that a value exceeds the size limit of the store.
type TooLargeError struct {
	Limit int64 // bytes of the largest value that is accepted
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the value is larger than %d bytes", e.Limit)
}
