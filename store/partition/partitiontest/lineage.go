package partitiontest

import (
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

var lineageChecks = []check{
	{"NewestListsEntriesFromTheLatestOn", checkNewest},
	{"LineageHoldsWhileTheSourceGoesOn", checkLineage},
	{"LineageFindsASourceThatWasSetBack", checkSetBack},
	{"CatchUpWithAMasterThatWasSetBackChangesNothing", checkCatchUpSetBack},
}

func newest(t *testing.T, p partition.Partition, o partition.Origin, limit int) []partition.Entry {
	t.Helper()
	entries, err := p.Newest(t.Context(), o, limit)
	must(t, err)
	return entries
}

func checkNewest(t *testing.T, s suite) {
	p := s.node(t, alpha)
	commit(t, p, put("k/c", "1"), put("k/b", "22"), put("k/a", "333"))
	commit(t, p, deletion("k/c"))
	must(t, p.Apply(t.Context(), partition.Copy{Origin: beta, To: 9, Goal: 9, SyncedAt: 1, Entries: []partition.Entry{at(put("k/d", "1"), beta, 5)}}))
	for limit, want := range map[int]string{1: "k/c", 2: "k/c k/a", 3: "k/c k/a k/b", 9: "k/c k/a k/b"} {
		got := newest(t, p, alpha, limit)
		if keysOf(got) != want {
			t.Errorf("the newest %d are %s, want %s", limit, keysOf(got), want)
		}
		if !got[0].Deleted || limit > 1 && (got[1].Value != nil || got[1].Size != 3) {
			t.Errorf("the newest are %+v", got)
		}
	}
	if got := newest(t, p, "gamma", 9); len(got) != 0 {
		t.Errorf("of an unknown origin: %+v", got)
	}
}

// checkLineage: a master overwrites, deletes and collects the newest entries of its copy.
func checkLineage(t *testing.T, s suite) {
	master := s.node(t, alpha)
	commit(t, master, put("k/a", "1"), put("k/b", "1"), put("k/c", "1"), deletion("k/d"))
	p := s.replica(t, master)
	held := newest(t, p, alpha, partition.LineageEntries)
	if len(held) != 4 {
		t.Fatalf("the copy's newest are %+v", held)
	}
	must(t, partition.CheckLineage(t.Context(), master, alpha, held))
	must(t, partition.CheckLineage(t.Context(), master, alpha, nil))
	commit(t, master, put("k/a", "2"))
	claim := commit(t, master, deletion("k/b"))
	must(t, partition.CheckLineage(t.Context(), master, alpha, held))
	_, err := master.Collect(t.Context(), alpha, claim.First)
	must(t, err)
	must(t, partition.CheckLineage(t.Context(), master, alpha, held))
}

// fork returns a master that lost the last writes that its copy holds, and has made as many new
// writes.
func (s suite) fork(t *testing.T, lost, own partition.Entry) (fork, copied node) {
	master := s.node(t, alpha)
	common := []partition.Entry{put("k/a", "1"), put("k/b", "1")}
	commit(t, master, common...)
	commit(t, master, lost)
	fork = s.node(t, alpha)
	commit(t, fork, common...)
	commit(t, fork, own)
	return fork, s.replica(t, master)
}

func checkSetBack(t *testing.T, s suite) {
	for name, c := range map[string]struct{ lost, own partition.Entry }{
		"another key":     {put("k/lost", "1"), put("k/own", "1")},
		"the same key":    {put("k/c", "lost"), put("k/c", "own")},
		"an older state":  {put("k/a", "lost"), put("k/own", "1")},
		"a lost deletion": {deletion("k/a"), put("k/own", "1")},
	} {
		fork, p := s.fork(t, c.lost, c.own)
		held := newest(t, p, alpha, 1)
		if err := partition.CheckLineage(t.Context(), fork, alpha, held); err == nil {
			t.Errorf("%s: %+v is taken for the origin of %+v", name, get(t, fork, c.lost.Key, c.own.Key), held)
		} else {
			wantError(t, err, partition.ErrSetBack)
		}
	}
}

func checkCatchUpSetBack(t *testing.T, s suite) {
	fork, p := s.fork(t, put("k/lost", "1"), put("k/own", "1"))
	commit(t, fork, put("k/more", "1"))
	before := held(t, p, alpha)
	_, err := partition.CatchUp(t.Context(), fork, p, position(t, p, alpha), 0)
	wantError(t, err, partition.ErrSetBack)
	wantEntries(t, held(t, p, alpha), before)
}
