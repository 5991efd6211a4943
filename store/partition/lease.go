package partition

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// updateLease assigns the fence first: MySQL's assignments run left to right. A lease that ends
// later than two lengths of a new lease is one of before the clock was set back. One length is not
// enough: a server reads its clock when a statement begins, which then may wait for the lock.
const updateLease = `UPDATE {p}lease SET
		fence = CASE WHEN holder = ? THEN fence ELSE fence + 1 END, holder = ?, expires_at = {now} + ?
	WHERE id = 1 AND (holder = ? OR expires_at <= {now} OR expires_at > {now} + ?)`

const selectLease = `SELECT holder, fence, expires_at FROM {p}lease WHERE id = 1`

// Acquire implements Target.
func (s *SQL) Acquire(ctx context.Context, holder string, ttl time.Duration) (l Lease, err error) {
	err = s.transact(ctx, "acquire", func(ctx context.Context, conn *Conn) error {
		_, err := conn.Exec(ctx, s.timed(updateLease), holder, holder, ttl.Microseconds(), holder, 2*ttl.Microseconds())
		if err != nil {
			return err
		}
		err = conn.One(ctx, s.statement(selectLease), nil, func(r Rows) {
			l = Lease{Holder: string(r.Bytes(0)), Fence: r.Int(1), ExpiresAt: Instant(r.Int(2))}
		})
		if err == nil && l.Holder != holder {
			return fmt.Errorf("%w by %s until %s", ErrLeaseHeld, l.Holder, l.ExpiresAt.Time().Format(time.RFC3339Nano))
		}
		return err
	})
	if err != nil && !errors.Is(err, ErrLeaseHeld) {
		return Lease{}, err
	}
	return l, err
}

const releaseLease = `UPDATE {p}lease SET holder = '', expires_at = 0 WHERE id = 1 AND holder = ? AND fence = ?`

// Release implements Target.
func (s *SQL) Release(ctx context.Context, l Lease) error {
	return s.transact(ctx, "release", func(ctx context.Context, conn *Conn) error {
		_, err := conn.Exec(ctx, s.statement(releaseLease), l.Holder, l.Fence)
		return err
	})
}
