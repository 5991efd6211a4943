package node

import (
	"log/slog"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store/partition"
)

// OpenPartitions opens the partitions of a configuration without a store, and connects to none yet. close closes them.
func OpenPartitions(c *config.Config, log *slog.Logger) (parts []partition.Partition, close func() error, err error) {
	parts, err = openPartitions(c, c.Partitions, log)
	return parts, func() error { return closeAll(parts) }, err
}
