package memory_test

import (
	"testing"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	partitiontest.Run(t, func(t *testing.T, name string) partitiontest.Database {
		db := memory.New(name, memory.MaxValue(17<<20))
		return partitiontest.Database{Open: func(*testing.T) partition.Partition { return db.Reopen() }, PlantSchema: func(_ *testing.T, s partition.Schema) { db.PlantSchema(s) },
			Damage: func(_ *testing.T, k partition.Key, e partition.Entry) { db.Damage(k, e) }}
	})
}
