package partition_test

import (
	"testing"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	partitiontest.Run(t, func(t *testing.T, name string) partitiontest.Database {
		db := partition.NewMemory(name, partition.MemoryMaxValue(17<<20))
		return partitiontest.Database{Open: func(*testing.T) partition.Partition { return db.Reopen() }}
	})
}
