package sqlite

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// pageBytes is the size of a page in the write-ahead log.
const pageBytes = 4096 + 24

// shortLog returns a master that checkpoints its log at a length of pages.
func shortLog(t *testing.T, pages int64) (*sqlengine.Engine, *database) {
	t.Helper()
	p, d, err := openDatabase(filepath.Join(t.TempDir(), "runnel.db"), sqlengine.Options{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	d.logPages = pages
	if err := p.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Join(t.Context(), partition.Cluster{ID: "c", Epoch: 1, Masters: []string{"a"}, Slots: []uint16{0}}); err != nil {
		t.Fatal(err)
	}
	return p, d
}

func putNumber(t *testing.T, p *sqlengine.Engine, i int) {
	t.Helper()
	e := partition.Entry{Key: partition.Key(fmt.Sprintf("k/%d", i%500)), Value: make([]byte, 2000)}
	if _, err := p.Commit(t.Context(), partition.Batch{Epoch: 1, Revisions: 1, Write: []partition.Entry{e}}); err != nil {
		t.Fatal(err)
	}
}

// longestLog returns the length of the log's file in pages, which does not shrink during writes.
func longestLog(t *testing.T, d *database) int64 {
	t.Helper()
	info, err := os.Stat(d.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return info.Size() / pageBytes
}

func TestSQLiteLogStaysShortUnderWritersAndReaders(t *testing.T) {
	p, d := shortLog(t, 40)
	ctx, stop := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	defer reading.Wait()
	defer stop()
	for range 2 {
		reading.Go(func() {
			for ctx.Err() == nil {
				if _, err := p.Get(t.Context(), []partition.Key{"k/1"}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 300 {
		putNumber(t, p, i)
	}
	if got := longestLog(t, d); got >= 40*forcedFactor*2 {
		t.Errorf("the log has %d pages after 300 commits, want few more than 40", got)
	}
}

func TestSQLiteWritersCopyALogThatNobodyElseDoes(t *testing.T) {
	p, d := shortLog(t, 40)
	d.checkpoints.quit()
	d.checkpoints.done.Wait()
	for i := range 500 {
		putNumber(t, p, i)
	}
	if got := longestLog(t, d); got < 40*forcedFactor || got >= 40*forcedFactor*2 {
		t.Errorf("the log has %d pages, want about %d", got, 40*forcedFactor)
	}
}

// A snapshot that is read slowly keeps the log from restarting, but does not cause an attempt with
// each commit.
func TestSQLiteLogOutlivesASnapshot(t *testing.T) {
	p, d := shortLog(t, 40)
	putNumber(t, p, 0)
	n, err := p.Snapshot(t.Context(), "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	d.checkpoints.quit()
	d.checkpoints.done.Wait()
	for i := range 200 {
		putNumber(t, p, i)
	}
	long := longestLog(t, d)
	if due := d.checkpoints.due.Load(); long < 400 || due <= long-40 {
		t.Errorf("a log of %d pages is due at %d", long, due)
	}
	if got, err := n.Next(t.Context(), 10, 1<<20); err != nil || len(got) != 1 || got[0].Revision != partition.Floor(1)+1 {
		t.Errorf("the snapshot has %d entries (%v), want its one", len(got), err)
	}
	if _, err := n.Next(t.Context(), 10, 1<<20); err != io.EOF {
		t.Error(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		putNumber(t, p, i)
	}
	if got := longestLog(t, d); got > long+120 {
		t.Errorf("the log grew from %d to %d pages when the snapshot was closed", long, got)
	}
}

func TestSQLiteIdleLogGivesItsDiskBack(t *testing.T) {
	p, d := shortLog(t, 1_000_000)
	k := d.checkpoints
	k.quit()
	k.done.Wait()
	write := func() {
		t.Helper()
		for i := range 150 {
			putNumber(t, p, i)
		}
	}
	write()
	rest := func() {
		t.Helper()
		if err := k.shrinkIdleLog(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	rest()
	write()
	if rest(); longestLog(t, d) == 0 {
		t.Error("the log was cut while somebody wrote")
	}
	putNumber(t, p, 1) // as an idle sync process does
	n, err := p.Snapshot(t.Context(), "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	rest() // postponed because of the reader
	if _, err := n.Next(t.Context(), 10, 1<<20); err != nil {
		t.Error(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if rest(); longestLog(t, d) != 0 {
		t.Errorf("an idle log has %d pages", longestLog(t, d))
	}
	if got, err := p.Get(t.Context(), []partition.Key{"k/1"}); err != nil || len(got) != 1 {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

// Each allocation belongs to an entry or a call; there are none per column or per argument.
func TestSQLiteAllocatesLittle(t *testing.T) {
	p, _ := shortLog(t, logPages)
	keys := make([]partition.Key, 32)
	batch := partition.Batch{Epoch: 1, Revisions: len(keys)}
	for i := range keys {
		keys[i] = partition.Key(fmt.Sprintf("k/%d", i))
		batch.Write = append(batch.Write, partition.Entry{Key: keys[i], Revision: partition.Revision(i), ContentType: "text/plain", Value: make([]byte, 100)})
	}
	for _, c := range []struct {
		name string
		most float64
		do   func() error
	}{
		{"commit of 32", 45, func() error { _, err := p.Commit(t.Context(), batch); return err }},
		{"get of 32", 36, func() error { _, err := p.Get(t.Context(), keys); return err }},
		{"get of 1", 5, func() error { _, err := p.Get(t.Context(), keys[:1]); return err }},
	} {
		got := testing.AllocsPerRun(100, func() {
			if err := c.do(); err != nil {
				t.Fatal(err)
			}
		})
		if got > c.most {
			t.Errorf("a %s makes %v allocations, want at most %v", c.name, got, c.most)
		}
		t.Logf("a %s makes %v allocations", c.name, got)
	}
}
