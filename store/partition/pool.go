package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// pool lends connections. The one that was used last is lent first: its
// cache is warm, and those that are not needed grow cold and are closed.
type pool[C interface{ close() error }] struct {
	open   func(context.Context) (C, error)
	usable func(context.Context, C) bool // nil: always
	slots  chan struct{}                 // one in it for each connection that is lent; nil: no limit
	long   bool                          // connections are lent for long: close does not wait for them

	mu     sync.Mutex
	idle   []idle[C] // in the order in which they were given back
	closed bool
}

type idle[C any] struct {
	conn  C
	since time.Time
}

// newPool returns a pool of at most limit connections; 0 is no limit.
func newPool[C interface{ close() error }](limit int, open func(context.Context) (C, error)) *pool[C] {
	p := &pool[C]{open: open}
	if limit > 0 {
		p.slots = make(chan struct{}, limit)
	}
	return p
}

// take lends a connection, and waits for one as long as ctx allows.
func (p *pool[C]) take(ctx context.Context) (c C, err error) {
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
		case err == nil && (p.usable == nil || p.usable(ctx, c)):
			return c, nil
		case err == nil:
			_ = c.close()
			continue
		}
		p.leave()
		return c, err
	}
}

func (p *pool[C]) enter(ctx context.Context) error {
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

func (p *pool[C]) leave() {
	if p.slots != nil {
		<-p.slots
	}
}

// pop is an idle connection, if there is one.
func (p *pool[C]) pop() (c C, found bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return c, false, fmt.Errorf("%w: closed", ErrUnavailable)
	}
	if len(p.idle) == 0 {
		return c, false, nil
	}
	last := len(p.idle) - 1
	c = p.idle[last].conn
	p.idle = p.idle[:last]
	return c, true, nil
}

// give takes a connection back that can be lent again.
func (p *pool[C]) give(c C) {
	defer p.leave()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.close()
		return
	}
	p.idle = append(p.idle, idle[C]{c, time.Now()})
}

// drop takes a connection back that cannot.
func (p *pool[C]) drop(c C) {
	defer p.leave()
	_ = c.close()
}

// trim closes the connections that have not been used since.
func (p *pool[C]) trim(since time.Time) {
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && p.idle[n].since.Before(since) {
		n++
	}
	cold := append([]idle[C](nil), p.idle[:n]...)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	p.mu.Unlock()
	for _, c := range cold {
		_ = c.conn.close()
	}
}

// close closes the connections, and waits for those that are lent if the pool has a limit and
// does not lend for long. Others close when they come back.
func (p *pool[C]) close() error {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	var err error
	for _, c := range idle {
		err = errors.Join(err, c.conn.close())
	}
	for range cap(p.slots) {
		if p.long {
			break
		}
		p.slots <- struct{}{}
	}
	return err
}
