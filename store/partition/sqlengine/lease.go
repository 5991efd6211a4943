package sqlengine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// updateLease assigns the fence first, because MySQL assigns from left to right. A lease that ends
// later than two ttl from now was taken before the clock was set back. A single ttl would be too
// strict: a server reads its clock at the start of a statement, which then may wait for the lock.
const updateLease = `UPDATE {p}lease SET
		fence = CASE WHEN holder = ? THEN fence ELSE fence + 1 END, holder = ?, expires_at = {now} + ?
	WHERE id = 1 AND (holder = ? OR expires_at <= {now} OR expires_at > {now} + ?)`

const selectLease = `SELECT holder, fence, expires_at FROM {p}lease WHERE id = 1`

// Acquire implements partition.Target.
func (s *Engine) Acquire(ctx context.Context, holder string, ttl time.Duration) (l partition.Lease, err error) {
	err = s.transact(ctx, "acquire", func(ctx context.Context, conn *Conn) error {
		_, err := conn.Exec(ctx, s.timed(updateLease), holder, holder, ttl.Microseconds(), holder, 2*ttl.Microseconds())
		if err != nil {
			return err
		}
		err = conn.QueryRow(ctx, s.statement(selectLease), nil, func(r Rows) {
			l = partition.Lease{Holder: string(r.Bytes(0)), Fence: r.Int(1), ExpiresAt: partition.Instant(r.Int(2))}
		})
		if err == nil && l.Holder != holder {
			return fmt.Errorf("%w by %s until %s", partition.ErrLeaseHeld, l.Holder, l.ExpiresAt.Time().Format(time.RFC3339Nano))
		}
		return err
	})
	if err != nil && !errors.Is(err, partition.ErrLeaseHeld) {
		return partition.Lease{}, err
	}
	return l, err
}

const releaseLease = `UPDATE {p}lease SET holder = '', expires_at = 0 WHERE id = 1 AND holder = ? AND fence = ?`

// Release implements partition.Target.
func (s *Engine) Release(ctx context.Context, l partition.Lease) error {
	return s.transact(ctx, "release", func(ctx context.Context, conn *Conn) error {
		_, err := conn.Exec(ctx, s.statement(releaseLease), l.Holder, l.Fence)
		return err
	})
}
