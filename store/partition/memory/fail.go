package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
)

// The operations a Partition announces to the hook that Fail sets.
const (
	OpPrepare   = "prepare"
	OpCluster   = "cluster"
	OpJoin      = "join"
	OpAccept    = "accept"
	OpCommit    = "commit"    // before anything is done
	OpCommitted = "committed" // Commit's work stands, its answer is not given yet
	OpGet       = "get"
	OpList      = "list"
	OpPositions = "positions"
	OpNewest    = "newest"
	OpExpired   = "expired"
	OpSnapshot  = "snapshot"
	OpNext      = "next" // of a Snapshot
	OpBarrier   = "barrier"
	OpApply     = "apply"   // before anything is done
	OpApplied   = "applied" // Apply's work stands, its answer is not given yet
	OpReset     = "reset"
	OpCollect   = "collect"
	OpAcquire   = "acquire"
	OpRelease   = "release"
)

// Fail makes hook run at each operation of this handle, in the caller's
// goroutine and before any lock is waited for, so it may block or call the
// partition itself. An error of it (say, ErrUnavailable) fails the operation,
// wrapped, and nothing takes effect; at OpCommitted and OpApplied the
// call fails with ErrOutcomeUnknown around it though its work stands. nil takes the
// hook away. Other handles on the database are not concerned.
func (m *Partition) Fail(hook func(op string) error) {
	if hook == nil {
		m.fail.Store(nil)
		return
	}
	m.fail.Store(&hook)
}

// Plant stores entries as they are, past positions, revisions and checksums:
// what damage to a database, or a defect, would leave behind.
func (m *Partition) Plant(entries ...partition.Entry) {
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	for _, e := range entries {
		m.db.put(e)
	}
}

// Backup remembers what the database holds, and restore puts it back under the
// processes that use the database, as an operator does who restores a backup.
func (m *Partition) Backup() (restore func()) {
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	entries, positions := maps.Clone(m.db.entries), maps.Clone(m.db.positions)
	return func() {
		m.db.mu.Lock()
		defer m.db.mu.Unlock()
		m.db.index = keyIndex{sorted: slices.Sorted(maps.Keys(entries))}
		m.db.entries, m.db.positions = maps.Clone(entries), maps.Clone(positions)
	}
}

// begin opens every call: it runs the hook and refuses a call that is late.
func (m *Partition) begin(ctx context.Context, op string) error {
	if err := m.inTime(ctx, op); err != nil {
		return err
	}
	if hook := m.fail.Load(); hook != nil {
		if err := (*hook)(op); err != nil {
			return fmt.Errorf("%s on %s: %w", op, m.db.name, err)
		}
	}
	return m.inTime(ctx, op)
}

// inTime refuses a call on a closed handle or past its deadline.
func (m *Partition) inTime(ctx context.Context, op string) error {
	select {
	case <-m.closed:
		return m.unavailable(op, "closed")
	case <-ctx.Done():
		return m.unavailable(op, ctx.Err().Error())
	default:
		return nil
	}
}

func (m *Partition) unavailable(op, why string) error {
	return fmt.Errorf("%s on %s: %s: %w", op, m.db.name, why, partition.ErrUnavailable)
}

// beginWrite opens a transaction that writes, once no other does.
func (m *Partition) beginWrite(ctx context.Context, op string) (unlock func(), err error) {
	if err := m.begin(ctx, op); err != nil {
		return nil, err
	}
	select {
	case m.db.writer <- struct{}{}:
		return func() { <-m.db.writer }, nil
	case <-m.closed:
		return nil, m.unavailable(op, "closed")
	case <-ctx.Done():
		return nil, m.unavailable(op, ctx.Err().Error())
	}
}

// answer tells the outcome of work that stands, or loses it.
func (m *Partition) answer(op string) error {
	hook := m.fail.Load()
	if hook == nil {
		return nil
	}
	if err := (*hook)(op); err != nil {
		return fmt.Errorf("%s on %s: %w: %w", op, m.db.name, partition.ErrOutcomeUnknown, err)
	}
	return nil
}
