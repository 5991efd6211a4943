package partition

import (
	"context"
	"fmt"
)

const selectExpired = `SELECT {key}, revision FROM {p}entries {by_expiry}
	WHERE expires_at <= {now} AND origin = ? AND deleted = 0 ORDER BY expires_at LIMIT ?`

// Expired implements Master.
func (s *SQL) Expired(ctx context.Context, limit int) (keys []Key, err error) {
	if limit < 1 {
		return nil, s.failed("expired", fmt.Errorf("limit %d", limit))
	}
	err = s.read(ctx, "expired", func(ctx context.Context, c *session) error {
		keys, _, err = s.keys(ctx, c, s.timed(selectExpired), string(s.name), limit)
		return err
	})
	return keys, err
}
