package store

import (
	"context"
	"errors"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// follow keeps a member joined and its health and positions known, until ctx ends.
func (s *Store) superviseBackend(ctx context.Context, m *backend) {
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
		m.pollPositions(ctx)
		s.compareHead(ctx, m)
		timer.Reset(s.superviseInterval(m))
	}
}

// pause is how long to leave a member alone: longer when only an operator can
// help.
func (s *Store) superviseInterval(m *backend) time.Duration {
	if errors.Is(m.lastError(), partition.ErrRefused) {
		return 5 * s.options.Poll
	}
	return s.options.Poll
}
