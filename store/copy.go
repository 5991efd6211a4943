package store

import (
	"context"

	"github.com/runnelkv/runnel/store/internal/catchup"
)

// EveryReachable asks Copy for all partitions that this process can reach.
const EveryReachable = catchup.EveryReachable

// Copy makes further partitions catch up with a committed entry, concurrently, until want
// partitions hold the entry durably; the master counts. Copy does not need the sync
// process. It returns the number of partitions that hold the entry, at least 1. That is
// less than want if too few partitions can catch up within the timeout of a database
// operation. A partition that fails, is incomplete, or is too far behind for a single
// transaction is replaced by another. The error joins the failures; it is nil when want
// partitions hold the entry, or, with EveryReachable, all that are reachable.
func (s *Store) Copy(ctx context.Context, e Entry, want int) (held int, err error) {
	return s.copier.Copy(ctx, e, want)
}
