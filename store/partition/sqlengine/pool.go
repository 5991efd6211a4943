package sqlengine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Pool is a pool of connections. Acquire prefers the connection that was used last, because its
// caches are warm; Trim closes connections that have been idle for long.
type Pool[C io.Closer] struct {
	open   func(context.Context) (C, error)
	Usable func(context.Context, C) bool // nil: always
	slots  chan struct{}                 // holds a token for each acquired connection; nil: no limit
	Long   bool                          // connections are used for long: Close does not wait for them

	mu     sync.Mutex
	idle   []idle[C] // in the order of their release
	closed bool
}

type idle[C any] struct {
	conn  C
	since time.Time
}

// NewPool returns a pool of at most limit connections; 0: no limit.
func NewPool[C io.Closer](limit int, open func(context.Context) (C, error)) *Pool[C] {
	p := &Pool[C]{open: open}
	if limit > 0 {
		p.slots = make(chan struct{}, limit)
	}
	return p
}

// Acquire takes a connection, and waits for a free connection until ctx ends.
func (p *Pool[C]) Acquire(ctx context.Context) (c C, err error) {
	if err := p.enter(ctx); err != nil {
		return c, err
	}
	for {
		c, found, err := p.pop()
		switch {
		case err == nil && !found:
			if c, err = p.open(ctx); err == nil {
				return c, nil
			}
		case err == nil && (p.Usable == nil || p.Usable(ctx, c)):
			return c, nil
		case err == nil:
			_ = c.Close()
			continue
		}
		p.Leave()
		return c, err
	}
}

func (p *Pool[C]) enter(ctx context.Context) error {
	if p.slots == nil {
		return nil
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Leave frees the slot of a connection that was neither released nor discarded.
func (p *Pool[C]) Leave() {
	if p.slots != nil {
		<-p.slots
	}
}

// pop removes the idle connection that was used last.
func (p *Pool[C]) pop() (c C, found bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return c, false, fmt.Errorf("%w: closed", partition.ErrUnavailable)
	}
	if len(p.idle) == 0 {
		return c, false, nil
	}
	last := len(p.idle) - 1
	c = p.idle[last].conn
	p.idle = p.idle[:last]
	return c, true, nil
}

// Release gives a connection back for later use.
func (p *Pool[C]) Release(c C) {
	defer p.Leave()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return
	}
	p.idle = append(p.idle, idle[C]{c, time.Now()})
}

// Discard closes a connection instead of Release.
func (p *Pool[C]) Discard(c C) {
	defer p.Leave()
	_ = c.Close()
}

// Trim closes the connections that have been idle since before since.
func (p *Pool[C]) Trim(since time.Time) {
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && p.idle[n].since.Before(since) {
		n++
	}
	cold := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	p.mu.Unlock()
	for _, c := range cold {
		_ = c.conn.Close()
	}
}

// Close closes the idle connections. If the pool has a limit and Long is false, Close waits for the
// acquired connections; otherwise Release and Discard close them.
func (p *Pool[C]) Close() error {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	var err error
	for _, c := range idle {
		err = errors.Join(err, c.conn.Close())
	}
	for range cap(p.slots) {
		if p.Long {
			break
		}
		p.slots <- struct{}{}
	}
	return err
}
