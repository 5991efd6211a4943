package sqlengine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// fakeConn is a connection without a server.
type fakeConn struct{ _ byte }

func (*fakeConn) Close() error { return nil }

func TestColdConnectionsAreClosed(t *testing.T) {
	opened := 0
	p := NewPool(2, func(context.Context) (*fakeConn, error) { opened++; return &fakeConn{}, nil })
	take := func() *fakeConn {
		t.Helper()
		c, err := p.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	cold, warm := take(), take()
	late, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := p.Acquire(late); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third of two connections: %v", err)
	}
	p.Release(cold)
	p.Release(warm)
	if p.Release(take()); opened != 2 {
		t.Errorf("%d connections were opened, want 2", opened)
	}
	p.idle[0].since = time.Now().Add(-time.Hour)
	if p.Trim(time.Now().Add(-time.Minute)); len(p.idle) != 1 || p.idle[0].conn != warm {
		t.Errorf("%d connections are left, want the one used last", len(p.idle))
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := acquireSoon(p, t); !errors.Is(err, partition.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a closed pool: %v", err)
	}
}

func acquireSoon(p *Pool[*fakeConn], t *testing.T) (*fakeConn, error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	return p.Acquire(ctx)
}
