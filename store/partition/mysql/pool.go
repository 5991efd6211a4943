package mysql

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// links are the connections of one role.
type rawPool struct {
	*sqlengine.Pool[*rawConn]
	d *database
}

func (d *database) newLinks(n int, r role) *rawPool {
	p := sqlengine.NewPool(n, func(ctx context.Context) (*rawConn, error) { return d.dialPatiently(ctx, r) })
	p.Usable = func(ctx context.Context, l *rawConn) bool { return l.fresh() && l.alive(ctx) }
	d.pools = append(d.pools, p)
	return &rawPool{p, d}
}

// open makes the pools. They connect when they are used.
func (d *database) open(maxConns int) {
	rest := max(minMySQLConns, maxConns) - 1 // the killer's
	writers := max(1, rest/4)
	d.writers = d.newLinks(writers, writing)
	rest -= writers
	if d.committer = d.writers; rest > 5 {
		d.committer = d.newLinks(1, writing)
		rest--
	}
	streams := max(1, rest/2)
	d.streams = d.newLinks(streams, reading)
	d.streams.Long = true
	d.readers = d.newLinks(rest-streams, reading)
}

// release takes a link back.
func (p *rawPool) release(l *rawConn) {
	l.rollbackOpen()
	if !l.broken && !l.inTx && l.fresh() {
		p.Pool.Release(l)
		return
	}
	select {
	case <-l.over: // as long as the server may go on with the statement, the connection counts
		_ = l.Close()
		go func() { <-l.killed; p.Leave() }()
	default:
		p.Discard(l)
	}
}

// trim closes the idle connections that were not used since.
func (d *database) trim(since time.Time) {
	for _, p := range d.pools {
		p.Trim(since)
	}
}

// expel has no connection used again that is open now.
func (d *database) expel() {
	last, now := d.expelled.Load(), time.Now().UnixNano()
	if now-last < int64(time.Second) || !d.expelled.CompareAndSwap(last, now) {
		return // the connections are young already
	}
	d.generation.Add(1)
	d.trim(time.Now())
}

// crowdedPause is the time between two attempts to connect to a server that has no connection left.
const crowdedPause = 20 * time.Millisecond

// dialPatiently waits until the server has a connection left. Those of this partition that are
// idle are closed first.
func (d *database) dialPatiently(ctx context.Context, r role) (*rawConn, error) {
	for {
		l, err := d.dial(ctx, r)
		if !crowded(err) {
			return l, err
		}
		d.trim(time.Now())
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", ctx.Err(), err)
		case <-time.After(crowdedPause):
		}
	}
}

func (d *database) closePools() (err error) {
	for i := range d.pools { // the first, which ends what the others do, is the last
		err = errors.Join(err, d.pools[len(d.pools)-1-i].Close())
	}
	return err
}

// maxAge bounds how long a connection is used: after a failover behind the same
// address an old one may lead to the old server, and settings of the server
// reach new connections only.
const maxAge = time.Minute

func (l *rawConn) fresh() bool {
	return l.generation == l.d.generation.Load() && time.Since(l.opened) < maxAge
}
