package store_test

import (
	"testing"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	"github.com/runnelkv/runnel/store/partition/mysql"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// TestValuesFitPartitionsThatWereNotReached: a value that is accepted while a server is
// away must fit that server.
func TestValuesFitPartitionsThatWereNotReached(t *testing.T) {
	away, err := mysql.Open(mysql.Config{Addr: "127.0.0.1:1", User: "u", Database: "d"}, sqlengine.Options{Name: "b"})
	if err != nil {
		t.Fatal(err)
	}
	for most, want := range map[int64]int64{0: 15 << 20, 1 << 20: 1 << 20, 64 << 20: 16<<20 - 256<<10} {
		s, err := store.Open(store.Options{Partitions: []partition.Partition{memory.New("a"), away}, MaxValueBytes: most})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.MaxValueBytes(); got != want {
			t.Errorf("of at most %d bytes %d are accepted, want %d", most, got, want)
		}
	}
	if err := away.Close(); err != nil {
		t.Error(err)
	}
}
