package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// litePool lends connections. The one that was used last is lent first: its
// cache is warm, and those that are not needed grow cold and are closed.
type litePool struct {
	open  func(context.Context) (*liteConn, error)
	slots chan struct{} // one in it for each connection that is lent; nil: no limit

	mu     sync.Mutex
	idle   []*liteConn
	closed bool
}

// newPool returns a pool of at most limit connections; 0 is no limit.
func newPool(limit int, open func(context.Context) (*liteConn, error)) *litePool {
	p := &litePool{open: open}
	if limit > 0 {
		p.slots = make(chan struct{}, limit)
	}
	return p
}

func (p *litePool) take(ctx context.Context) (*liteConn, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	c, err := p.pop()
	if err == nil && c == nil {
		c, err = p.open(ctx)
	}
	if err != nil {
		p.leave()
		return nil, err
	}
	return c, nil
}

func (p *litePool) enter(ctx context.Context) error {
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

func (p *litePool) leave() {
	if p.slots != nil {
		<-p.slots
	}
}

// pop is an idle connection, or nil.
func (p *litePool) pop() (*liteConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("%w: closed", ErrUnavailable)
	}
	if len(p.idle) == 0 {
		return nil, nil
	}
	c := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	return c, nil
}

// give takes a connection back that can be lent again.
func (p *litePool) give(c *liteConn) {
	defer p.leave()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.close()
		return
	}
	c.used = time.Now()
	p.idle = append(p.idle, c)
}

// drop takes a connection back that cannot.
func (p *litePool) drop(c *liteConn) {
	defer p.leave()
	_ = c.close()
}

// trim closes the connections that nobody has used since.
func (p *litePool) trim(since time.Time) {
	p.mu.Lock()
	n := 0 // the idle ones stand in the order in which they were given back
	for n < len(p.idle) && p.idle[n].used.Before(since) {
		n++
	}
	cold := append([]*liteConn(nil), p.idle[:n]...)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	p.mu.Unlock()
	for _, c := range cold {
		_ = c.close()
	}
}

// close closes the connections. Of a pool with a limit it waits for those that
// are lent; those of another close when they come back.
func (p *litePool) close() error {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	var err error
	for _, c := range idle {
		err = errors.Join(err, c.close())
	}
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	return err
}
