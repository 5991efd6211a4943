package archive

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/node"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store/partition"
)

// leastTimeout is the least time for an operation on a database. A batch of a backup can take longer than a request.
const leastTimeout = time.Minute

// partitions are the partitions of a configuration, opened without a store.
type partitions struct {
	all     []partition.Partition
	masters []string
}

// withPartitions calls f with the partitions of a configuration.
func withPartitions(s *console.Streams, c *config.Config, f func(partitions) error) error {
	c.Store.Timeout = max(c.Store.Timeout, leastTimeout)
	parts, closeAll, err := node.OpenPartitions(c, node.NewLogger(s.Err, c.Log))
	if err != nil {
		return err
	}
	return errors.Join(f(partitions{parts, c.Store.Masters}), closeAll())
}

// hasMaster reports whether the configuration names p as a master.
func (ps partitions) hasMaster(p partition.Partition) bool {
	return slices.Contains(ps.masters, p.Name())
}

// named returns the named partition.
func (ps partitions) named(name string) (partition.Partition, error) {
	var names []string
	for _, p := range ps.all {
		if p.Name() == name {
			return p, nil
		}
		names = append(names, p.Name())
	}
	return nil, console.UsageError("the configuration has no partition %q, but %s", name, strings.Join(names, ", "))
}
