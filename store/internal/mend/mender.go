package mend

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/verify"
)

const (
	queueLength = 100         // keys that wait; further keys wait for their next read
	maxTried    = 10_000      // keys that are remembered
	retryAfter  = time.Minute // a key that was looked at is not looked at again before
)

// Mender repairs damaged entries. Its methods are safe for concurrent use.
type Mender struct {
	backends *backend.Set
	timeout  time.Duration // of a look at a key
	log      *slog.Logger
	queue    chan partition.Key

	damaged, repaired atomic.Int64

	mu    sync.Mutex // guards tried
	tried map[partition.Key]time.Time
}

// New makes a mender, which works while Loop runs.
func New(backends *backend.Set, timeout time.Duration, log *slog.Logger) *Mender {
	return &Mender{backends: backends, timeout: timeout, log: log, queue: make(chan partition.Key, queueLength), tried: make(map[partition.Key]time.Time)}
}

// Note takes a key with a damaged row, and does not block.
func (m *Mender) Note(k partition.Key) {
	m.damaged.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.tried[k]) < retryAfter {
		return
	}
	select {
	case m.queue <- k:
		if len(m.tried) >= maxTried {
			clear(m.tried)
		}
		m.tried[k] = time.Now()
	default:
	}
}

// Stats returns how many reads have met a damaged row, and how many rows were repaired.
func (m *Mender) Stats() (damaged, repaired int64) { return m.damaged.Load(), m.repaired.Load() }

// Loop repairs noted keys until ctx ends.
func (m *Mender) Loop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case k := <-m.queue:
			m.mend(ctx, k)
		}
	}
}

// mend looks at a key on the partitions that can be used.
func (m *Mender) mend(ctx context.Context, k partition.Key) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	var parts []partition.Partition
	for _, b := range m.backends.All() {
		if st := b.State(); st.IsJoined && st.Err == nil && st.Behind == nil {
			parts = append(parts, b.Partition)
		}
	}
	findings, err := verify.Row(ctx, parts, k, true)
	for _, f := range findings {
		if f.Repaired {
			m.repaired.Add(1)
			m.log.Warn("repaired a damaged entry", "partition", f.Partition, "key", string(k), "revision", int64(f.Revision), "from", f.From)
			continue
		}
		m.log.Error("a damaged entry cannot be repaired", "partition", f.Partition, "key", string(k), "revision", int64(f.Revision), "reason", f.Why)
	}
	if err != nil && ctx.Err() == nil {
		m.log.Warn("a damaged entry is not repaired yet", "key", string(k), "error", err)
	}
}
