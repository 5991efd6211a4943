package store_test

import (
	"sync/atomic"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

func TestPartitionThatBecomesUsableIsAnnounced(t *testing.T) {
	var reached atomic.Int64
	o := options()
	o.OnReach = func() { reached.Add(1) }
	r := newRig(t, 2, o)
	eventually(t, "announcement of both partitions", func() bool { return reached.Load() == 2 })

	r.parts[1].Fail(func(string) error { return partition.ErrUnavailable })
	eventually(t, "unreachable partition", func() bool { return r.Status().Partitions[1].Err != nil })
	if n := reached.Load(); n != 2 {
		t.Errorf("%d announcements while a partition went away, want none beside the first 2", n)
	}
	r.parts[1].Fail(nil)
	eventually(t, "announcement of the return", func() bool { return reached.Load() == 3 })
}
