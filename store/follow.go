package store

import (
	"context"
	"errors"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// follow keeps a member joined and its health and positions known, until ctx ends.
func (s *Store) follow(ctx context.Context, m *member) {
	timer := time.NewTimer(s.options.Poll)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		m.prepare(ctx)
		s.join(ctx, m)
		m.poll(ctx)
		s.compareHead(ctx, m)
		timer.Reset(s.pause(m))
	}
}

// pause is how long to leave a member alone: longer when only an operator can
// help.
func (s *Store) pause(m *member) time.Duration {
	if errors.Is(m.fault(), partition.ErrRefused) {
		return 5 * s.options.Poll
	}
	return s.options.Poll
}
