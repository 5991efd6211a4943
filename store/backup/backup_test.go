package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/backup"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/store/partition/sqlite"
	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// onEveryKind runs test with a function that creates an empty partition.
func onEveryKind(t *testing.T, test func(t *testing.T, create func(name string) partition.Partition)) {
	t.Run("Memory", func(t *testing.T) {
		test(t, func(name string) partition.Partition { return memory.New(name) })
	})
	t.Run("SQLite", func(t *testing.T) {
		test(t, func(name string) partition.Partition {
			p, err := sqlite.Open(filepath.Join(t.TempDir(), name+".db"), sqlengine.Options{Name: name})
			if err == nil {
				t.Cleanup(func() { p.Close() })
				err = p.Prepare(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			return p
		})
	})
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		test(t, func(name string) partition.Partition {
			return mysqltest.Prepared(t, mysqltest.Config(t, server.Database(t)), sqlengine.Options{Name: name})
		})
	})
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// found makes p a member of a cluster with these masters, in the first epoch.
func found(t *testing.T, p partition.Partition, masters ...string) {
	t.Helper()
	_, err := p.Join(t.Context(), partition.Cluster{ID: "00112233445566778899aabbccddeeff", Epoch: 1, Masters: masters, Slots: make([]uint16, store.Slots)})
	must(t, err)
}

// writer commits random writes on a master and records the rows that must stand afterwards.
type writer struct {
	p    partition.Partition
	rng  *rand.Rand
	keys int // number of keys

	mu  sync.Mutex
	log []partition.Entry // in the order of revisions
}

func newWriter(t *testing.T, p partition.Partition, keys int) *writer {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return &writer{p: p, keys: keys, rng: rand.New(rand.NewPCG(seed, 1))}
}

// row returns a random row of a key, before its commit.
func (w *writer) row(key int) partition.Entry {
	e := partition.Entry{Key: partition.Key(fmt.Sprintf("k/%07d", key)), Origin: partition.Origin(w.p.Name())}
	if w.rng.IntN(8) == 0 {
		e.Deleted = true
	} else {
		e.ContentType = []string{"text/plain", "application/json", ""}[w.rng.IntN(3)]
		e.Value = make([]byte, w.rng.IntN(100))
		for i := range e.Value {
			e.Value[i] = byte(w.rng.IntN(256))
		}
		if w.rng.IntN(3) == 0 {
			e.Metadata = []byte(`{"a":"\u2028"}`)
		}
		if w.rng.IntN(3) == 0 {
			e.ExpiresAt = partition.Instant(w.rng.Int64N(1 << 52))
		}
	}
	e.Size, e.Checksum = int64(len(e.Value)), partition.Checksum(e.Value)
	return e
}

// write commits rows of n keys, from a key on.
func (w *writer) write(ctx context.Context, from, n int) error {
	b := partition.Batch{Epoch: 1, Revisions: n}
	for i := range n {
		e := w.row((from + i) % w.keys)
		e.Revision = partition.Revision(i)
		b.Write = append(b.Write, e)
	}
	c, err := w.p.Commit(ctx, b)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range b.Write {
		e.Revision, e.ModifiedAt = e.Revision+c.First, c.Now
		w.log = append(w.log, e)
	}
	return nil
}

// fill writes every key once.
func (w *writer) fill(t *testing.T) {
	t.Helper()
	for from := 0; from < w.keys; from += 1000 {
		must(t, w.write(t.Context(), from, min(1000, w.keys-from)))
	}
}

// during writes random keys until f returns.
func (w *writer) during(t *testing.T, f func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	begun := make(chan struct{})
	group.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			if err := w.write(t.Context(), w.rng.IntN(w.keys), 1+w.rng.IntN(min(20, w.keys))); err != nil {
				t.Errorf("write: %v", err)
				break
			}
			if n == 3 {
				close(begun)
			}
		}
	})
	<-begun
	f()
	cancel()
	group.Wait()
}

// at returns the rows that stood at a revision.
func (w *writer) at(r partition.Revision) map[partition.Key]partition.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	rows := make(map[partition.Key]partition.Entry)
	for _, e := range w.log {
		if e.Revision <= r {
			rows[e.Key] = e
		}
	}
	return rows
}

// rowsOf reads everything that a partition holds.
func rowsOf(t *testing.T, p partition.Partition) (rows map[partition.Key]partition.Entry, at partition.Positions, c partition.Cluster) {
	t.Helper()
	v, err := p.View(t.Context())
	must(t, err)
	defer v.Close()
	rows = make(map[partition.Key]partition.Entry)
	for origin := range v.Positions().Origins {
		snap, err := v.Snapshot(t.Context(), origin, 0)
		must(t, err)
		for {
			entries, err := snap.Next(t.Context(), 1000, 1<<20)
			if errors.Is(err, io.EOF) {
				break
			}
			must(t, err)
			for _, e := range entries {
				rows[e.Key] = e
			}
		}
		must(t, snap.Close())
	}
	return rows, v.Positions(), v.Cluster()
}

// wantRows compares every column of every row.
func wantRows(t *testing.T, got, want map[partition.Key]partition.Entry) {
	t.Helper()
	faults := 0
	for _, k := range slices.Sorted(maps.Keys(merged(got, want))) {
		if a, b := normal(got[k]), normal(want[k]); !reflect.DeepEqual(a, b) && faults < 5 {
			faults++
			t.Errorf("row of %s (-want +got):\n%s", k, cmp.Diff(b, a))
		}
	}
}

func merged(a, b map[partition.Key]partition.Entry) map[partition.Key]partition.Entry {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func normal(e partition.Entry) partition.Entry {
	e.Value = append([]byte{}, e.Value...)
	return e
}

// take writes a backup of p to memory.
func take(t *testing.T, p partition.Partition, o backup.Options) ([]byte, backup.Summary) {
	t.Helper()
	var file bytes.Buffer
	s, err := backup.Write(t.Context(), p, &file, o)
	must(t, err)
	return file.Bytes(), s
}

// restore restores a chain to p.
func restore(t *testing.T, p partition.Partition, chain ...[]byte) (backup.Restored, error) {
	t.Helper()
	var readers []*backup.Reader
	for _, file := range chain {
		r, err := backup.NewReader(bytes.NewReader(file))
		if err != nil {
			return backup.Restored{}, err
		}
		t.Cleanup(r.Close)
		readers = append(readers, r)
	}
	return backup.Restore(t.Context(), p, readers, nil)
}

// TestBackupUnderLoadRestoresByteIdentical backs up a master during writes, and compares every row
// that arrives elsewhere with the writes up to the position of the backup.
func TestBackupUnderLoadRestoresByteIdentical(t *testing.T) {
	onEveryKind(t, func(t *testing.T, create func(string) partition.Partition) {
		p := create("a")
		found(t, p, "a")
		entries := runnel.Rounds(20_000, 1_000_000)
		if runnel.RaceEnabled {
			entries = min(entries, 100_000) // ten times as slow
		}
		w := newWriter(t, p, entries)
		w.fill(t)
		foreign := partition.Entry{Key: "k/foreign", Origin: "former", Revision: 7, Checksum: partition.Checksum([]byte("v")), Size: 1, Value: []byte("v")}
		must(t, p.Apply(t.Context(), partition.Copy{Origin: "former", To: 9, Goal: 9, SyncedAt: 5, Collected: 3, Entries: []partition.Entry{foreign}}))
		name := filepath.Join(t.TempDir(), "backup")
		var taken backup.Summary
		w.during(t, func() {
			f, err := os.Create(name)
			must(t, err)
			taken, err = backup.Write(t.Context(), p, f, backup.Options{Version: "test"})
			must(t, errors.Join(err, f.Close()))
		})
		at := taken.Origins[0]
		if last := w.log[len(w.log)-1].Revision; at.Name != "a" || at.Revision >= last {
			t.Errorf("the backup is at %+v, and the last write at %d: no write went on", at, last)
		}
		if complete, ok := taken.CompleteAsOf(); !ok || !complete.Equal(taken.CreatedAt) {
			t.Errorf("complete as of %v, %v, taken at %v", complete, ok, taken.CreatedAt)
		}
		want := w.at(at.Revision)
		want["k/foreign"] = foreign
		for _, target := range []partition.Partition{create("a"), create("b")} {
			f, err := os.Open(name)
			must(t, err)
			r, err := backup.NewReader(f)
			must(t, err)
			done, err := backup.Restore(t.Context(), target, []*backup.Reader{r}, nil)
			must(t, errors.Join(err, f.Close()))
			rows, positions, row := rowsOf(t, target)
			wantRows(t, rows, want)
			if got := positions.Origins["a"]; got.Revision != at.Revision {
				t.Errorf("%s is at %+v, not at %+v", target.Name(), got, at)
			}
			if got, want := positions.Origins["former"], (partition.Position{Origin: "former", Revision: 9, Goal: 9, SyncedAt: 5, Collected: 3}); got != want {
				t.Errorf("%s is at %+v, not at %+v", target.Name(), got, want)
			}
			if row.PartitionID == taken.PartitionID || row.Name != target.Name() || row.ID != taken.ClusterID || done.IsMaster != (target.Name() == "a") {
				t.Errorf("the row is %+v after %+v", row, done)
			}
			r.Close()
		}
	})
}
