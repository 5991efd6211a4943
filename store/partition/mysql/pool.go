package mysql

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// rawPool is the pool of connections with the same role.
type rawPool struct {
	*sqlengine.Pool[*rawConn]
	d *database
}

func (d *database) newPool(n int, r role) *rawPool {
	p := sqlengine.NewPool(n, func(ctx context.Context) (*rawConn, error) { return d.dialWhenFree(ctx, r) })
	p.Usable = func(ctx context.Context, l *rawConn) bool { return l.isFresh() && l.isAlive(ctx) }
	d.pools = append(d.pools, p)
	return &rawPool{p, d}
}

// createPools creates the pools. They connect on first use.
func (d *database) createPools(maxConns int) {
	rest := max(minConns, maxConns) - 1 // without the killer's
	writers := max(1, rest/4)
	d.writers = d.newPool(writers, writing)
	rest -= writers
	if d.committer = d.writers; rest > 5 {
		d.committer = d.newPool(1, writing)
		rest--
	}
	streams := max(1, rest/2)
	d.streams = d.newPool(streams, reading)
	d.streams.Long = true
	d.readers = d.newPool(rest-streams, reading)
}

// release gives a connection back, or closes an unusable connection.
func (p *rawPool) release(l *rawConn) {
	l.rollbackOpen()
	if !l.broken && !l.inTx && l.isFresh() {
		p.Pool.Release(l)
		return
	}
	select {
	case <-l.useEnded: // the connection counts until the server has ended the statement
		_ = l.Close()
		go func() { <-l.killDone; p.Leave() }()
	default:
		p.Discard(l)
	}
}

// closeIdle closes the connections that have been idle since before since.
func (d *database) closeIdle(since time.Time) {
	for _, p := range d.pools {
		p.Trim(since)
	}
}

// expireAll closes all idle connections and lets the used connections be closed on release.
func (d *database) expireAll() {
	last, now := d.expelled.Load(), time.Now().UnixNano()
	if now-last < int64(time.Second) || !d.expelled.CompareAndSwap(last, now) {
		return // the connections are new
	}
	d.generation.Add(1)
	d.closeIdle(time.Now())
}

// fullPause is the time between two attempts to connect to a full server.
const fullPause = 20 * time.Millisecond

// dialWhenFree waits until the server accepts another connection. First it closes this partition's
// idle connections.
func (d *database) dialWhenFree(ctx context.Context, r role) (*rawConn, error) {
	for {
		l, err := d.dial(ctx, r)
		if !isServerFull(err) {
			return l, err
		}
		d.closeIdle(time.Now())
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", ctx.Err(), err)
		case <-time.After(fullPause):
		}
	}
}

func (d *database) closePools() (err error) {
	for i := range d.pools { // in reverse order: the killer, the first pool, is closed last
		err = errors.Join(err, d.pools[len(d.pools)-1-i].Close())
	}
	return err
}

// maxAge limits the age of a connection. After a failover behind the same address an old connection
// may still lead to the old server, and changed settings of the server apply to new connections
// only.
const maxAge = time.Minute

func (l *rawConn) isFresh() bool {
	return l.generation == l.d.generation.Load() && time.Since(l.opened) < maxAge
}
