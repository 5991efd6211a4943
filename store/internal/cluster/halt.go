package cluster

import (
	"context"
	"fmt"

	"github.com/runnelkv/runnel/store/partition"
)

// Halt sets Halted of the cluster map. Every master begins a new epoch with the map, so that no later commit by a former
// map succeeds, in any process.
func (r *Register) Halt(ctx context.Context, reason string) error {
	_, err := r.change(ctx, func(c partition.Cluster) (partition.Cluster, error) { return halt(c, reason) })
	return err
}

func halt(c partition.Cluster, reason string) (partition.Cluster, error) {
	if c.Halted == reason {
		return c, nil
	}
	if m := underWay(&c); m != nil {
		return c, fmt.Errorf("%w: a move from %s to %s is under way", ErrMoveRefused, m.From, m.To)
	}
	err := nextEpochOfAll(&c)
	c.Halted = reason
	return c, err
}
