package sync

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// gate lets copies of one origin pass only up to what is durable there. A
// barrier serves everybody whose snapshot it was started after, so that
// targets side by side cost one, and one that comes late often none.
type gate struct {
	timeout time.Duration

	mu      sync.Mutex
	durable partition.Revision // everything up to here survives a crash of the origin
	running *barrier
}

// barrier is one under way. err is set once done is closed.
type barrier struct {
	head partition.Revision // was visible before it began
	done chan struct{}
	err  error
}

// gate returns the gate of an origin, making it at first.
func (s *Syncer) gate(o partition.Origin) *gate {
	g, ok := s.gates[string(o)]
	if !ok {
		g = &gate{timeout: s.options.Timeout}
		s.gates[string(o)] = g
	}
	return g
}

// pass returns once everything of the origin up to head is durable. The caller
// has seen head on the origin.
func (g *gate) pass(ctx context.Context, origin *peer, head partition.Revision) error {
	for {
		b, mine := g.join(head)
		if b == nil {
			return nil
		}
		if mine {
			g.run(ctx, origin, b)
		}
		select {
		case <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if b.head >= head {
			return b.err
		}
	}
}

// join returns the barrier to wait for, nil if none is needed, and whether the
// caller has to run it.
func (g *gate) join(head partition.Revision) (b *barrier, mine bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.durable >= head {
		return nil, false
	}
	if g.running != nil {
		return g.running, false
	}
	g.running = &barrier{head: head, done: make(chan struct{})}
	return g.running, true
}

// run makes the barrier. It is others' too, so it does not end with ctx.
func (g *gate) run(ctx context.Context, origin *peer, b *barrier) {
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.timeout)
	defer cancel()
	err := origin.Barrier(bound)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		g.durable = max(g.durable, b.head)
	} else {
		b.err = fmt.Errorf("barrier on %s: %w", origin.Name(), err)
	}
	g.running = nil
	close(b.done)
}

// notBeyond forgets what was known to be durable if the origin is not even
// there any more: it may give those revisions out again.
func (g *gate) notBeyond(head partition.Revision) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.durable > head {
		g.durable = 0
	}
}
