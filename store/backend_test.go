package store_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	"github.com/runnelkv/runnel/store/partition/mysql"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

func TestPartitionThatBecomesUsableIsAnnounced(t *testing.T) {
	var reached atomic.Int64
	o := storetest.Options()
	o.OnReach = func() { reached.Add(1) }
	r := storetest.New(t, 2, o)
	storetest.Eventually(t, "announcement of both partitions", func() bool { return reached.Load() == 2 })

	r.Parts[1].Fail(func(string) error { return partition.ErrUnavailable })
	storetest.Eventually(t, "unreachable partition", func() bool { return r.Status().Partitions[1].Err != nil })
	if n := reached.Load(); n != 2 {
		t.Errorf("%d announcements while a partition went away, want none beside the first 2", n)
	}
	r.Parts[1].Fail(nil)
	storetest.Eventually(t, "announcement of the return", func() bool { return reached.Load() == 3 })
}

// TestCommittedIsTheLastCommitThatWasAnswered, and 0 once the partition was seen to hold
// less.
func TestCommittedIsTheLastCommitThatWasAnswered(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	if got := r.Committed("p0"); got != 0 {
		t.Errorf("%d before the first commit", got)
	}
	r.MustPut(t, "a", "1")
	before, err := r.Parts[0].Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e := r.MustPut(t, "b", "1")
	if got := r.Committed("p0"); got != e.Revision {
		t.Errorf("%d, not %d", got, e.Revision)
	}
	r.Observe("p0", before)
	if got := r.Committed("p0"); got != 0 {
		t.Errorf("%d after p0 was seen at %d", got, before.Origins["p0"].Revision)
	}
	r.Parts[0].Fail(func(string) error { return partition.ErrOutcomeUnknown })
	_, _ = r.Put(t.Context(), store.Entry{Key: store.User.Key("c")}) // committed or not
	r.Parts[0].Fail(nil)
	if got := r.Committed("p0"); got != 0 {
		t.Errorf("%d after an outcome that is unknown", got)
	}
	if got := r.Committed("p1") + r.Committed("nobody"); got != 0 {
		t.Errorf("%d of partitions that take no writes", got)
	}
}

func TestLagIsZeroWhenLevelAndTheAgeOfTheProofIsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := storetest.Options()
		o.Poll = time.Second
		r := storetest.New(t, 2, o)
		r.MustPut(t, "a", "1")
		r.Level(t)
		time.Sleep(10 * time.Second)
		at := r.Status().Partitions[1].Origins[0]
		if at.LagRevisions != 0 || at.Lag != 0 || at.Age < 10*time.Second || at.Age > 13*time.Second {
			t.Errorf("level 10 s ago: %+v", at)
		}
		r.MustPut(t, "a", "2")
		time.Sleep(2 * time.Second)
		if at := r.Status().Partitions[1].Origins[0]; at.LagRevisions != 1 || at.Lag != at.Age || at.Lag < 12*time.Second {
			t.Errorf("a write later: %+v", at)
		}
	})
}

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

// TestStatusKnowsWhatWasCommitted: once a write has been answered, the status shows the write's revision at the
// master and the replicas behind it, even if no partition has been asked for its positions since.
func TestStatusKnowsWhatWasCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := storetest.Options()
		o.Poll = time.Hour
		r := storetest.New(t, 2, o)
		e := r.MustPut(t, "a", "1")
		for _, p := range r.Status().Partitions {
			at := p.Origins[0]
			if isMaster := p.Name == string(e.Origin); isMaster != (at.Revision == e.Revision) || isMaster == (at.LagRevisions == 1) {
				t.Errorf("%s is at %d and lags by %d after a write of revision %d", p.Name, at.Revision, at.LagRevisions, e.Revision)
			}
		}
	})
}
