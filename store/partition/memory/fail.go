package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
)

// The operations of a Partition, as the hook of Fail gets them.
const (
	OpPrepare     = "prepare"
	OpSchema      = "schema" // also the first part of migrate and finish
	OpCluster     = "cluster"
	OpJoin        = "join"
	OpPromise     = "promise"
	OpAccept      = "accept"
	OpCommit      = "commit"    // before the first change
	OpCommitted   = "committed" // after the commit, before its answer
	OpGet         = "get"
	OpList        = "list"
	OpUsage       = "usage"
	OpPositions   = "positions"
	OpCounter     = "counter"
	OpNewest      = "newest"
	OpExpired     = "expired"
	OpCountGuards = "count guards"
	OpSnapshot    = "snapshot"
	OpView        = "view"
	OpNext        = "next" // of a Snapshot
	OpBarrier     = "barrier"
	OpApply       = "apply"   // before the first change
	OpApplied     = "applied" // after the commit, before its answer
	OpReset       = "reset"
	OpCollect     = "collect"
	OpAcquire     = "acquire"
	OpRelease     = "release"
	OpDigest      = "digest"
	OpRows        = "rows" // also the number of rows
	OpRepair      = "repair"
	OpVerified    = "verification"
	OpVerify      = "note verification"

	OpPutChunk    = "put chunk"
	OpGetChunk    = "get chunk"
	OpTouchChunks = "touch chunks"
	OpListChunks  = "list chunks"
	OpDropChunks  = "drop chunks"
	OpReport      = "report"
	OpReports     = "reports"
)

// Fail runs hook at each operation of this handle; nil removes the hook. The hook runs in the
// caller's goroutine before any lock is taken, so the hook may block or call the partition. An
// error of the hook (for example ErrUnavailable) fails the operation without any effect. At
// OpCommitted and OpApplied the operation has taken effect and fails with ErrOutcomeUnknown.
// Further handles of the database are unaffected.
func (m *Partition) Fail(hook func(op string) error) {
	if hook == nil {
		m.fail.Store(nil)
		return
	}
	m.fail.Store(&hook)
}

// Plant stores entries unchecked, without regard to positions, revisions and checksums, as damage
// to a database or a defect would.
func (m *Partition) Plant(entries ...partition.Entry) {
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	for _, e := range entries {
		m.db.put(e)
	}
}

// Damage replaces the row of a key by another, unchecked, and keeps a wrong size.
func (m *Partition) Damage(k partition.Key, e partition.Entry) {
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	m.db.remove(m.db.entries[k].Origin, func(old partition.Entry) bool { return old.Key == k })
	m.db.put(e)
	stored := m.db.entries[e.Key]
	stored.Size = e.Size
	m.db.entries[e.Key] = stored
}

// Backup copies the contents of the database. restore puts the copy back, without closing any
// handle, as an operator does when restoring a backup.
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

// begin starts an operation: it runs the hook and checks the deadline.
func (m *Partition) begin(ctx context.Context, op string) error {
	if err := m.inTime(ctx, op); err != nil {
		return err
	}
	if hook := m.fail.Load(); hook != nil {
		if err := (*hook)(op); err != nil {
			return m.wrap(op, err)
		}
	}
	if op != OpSchema {
		if err := m.db.checkSchema(op); err != nil {
			return m.wrap(op, err)
		}
	}
	return m.inTime(ctx, op)
}

// view runs f while no transaction changes the database.
func (m *Partition) view(ctx context.Context, op string, f func() error) error {
	if err := m.begin(ctx, op); err != nil {
		return err
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	return m.wrap(op, f())
}

// update runs f as a writing transaction. An error of f comes before its first change.
func (m *Partition) update(ctx context.Context, op string, f func() error) error {
	unlock, err := m.beginWrite(ctx, op)
	if err != nil {
		return err
	}
	defer unlock()
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	return m.wrap(op, f())
}

func (m *Partition) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s on %s: %w", op, m.db.name, err)
}

// inTime fails on a closed handle and after the deadline.
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
	return m.wrap(op, fmt.Errorf("%s: %w", why, partition.ErrUnavailable))
}

// beginWrite starts a writing transaction after the end of the previous.
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

// answer runs the hook after a commit; an error of the hook hides the outcome.
func (m *Partition) answer(op string) error {
	hook := m.fail.Load()
	if hook == nil {
		return nil
	}
	if err := (*hook)(op); err != nil {
		return m.wrap(op, fmt.Errorf("%w: %w", partition.ErrOutcomeUnknown, err))
	}
	return nil
}
