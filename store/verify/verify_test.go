package verify_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/store/partition/sqlite"
	"github.com/runnelkv/runnel/store/verify"
	"github.com/runnelkv/runnel/test/servers"
)

// base is a partition with rows that a test can damage.
type base struct {
	partition.Partition
	damage func(k partition.Key, e partition.Entry)
}

// kinds make a partition called name.
var kinds = map[string]func(t *testing.T, name string) base{
	"memory": func(t *testing.T, name string) base {
		m := memory.New(name)
		return base{m, m.Damage}
	},
	"SQLite": func(t *testing.T, name string) base {
		path := filepath.Join(t.TempDir(), "runnel.db")
		p, err := sqlite.Open(path, sqlengine.Options{Name: name})
		must(t, err)
		db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)")
		must(t, err)
		t.Cleanup(func() { _ = db.Close() })
		return base{p, func(k partition.Key, e partition.Entry) { partitiontest.DamageSQL(t, db, k, e) }}
	},
	"MariaDB": func(t *testing.T, name string) base {
		address := servers.MariaDB(t).Database(t)
		db := servers.Open(t, address)
		return base{mysqltest.Open(t, mysqltest.Config(t, address), sqlengine.Options{Name: name}),
			func(k partition.Key, e partition.Entry) { partitiontest.DamageSQL(t, db, k, e) }}
	},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a master, p0, with replicas.
type world struct {
	t     *testing.T
	parts []base
}

func newWorld(t *testing.T, kind string, n int) *world {
	w := &world{t: t}
	for i := range n {
		p := kinds[kind](t, fmt.Sprintf("p%d", i))
		t.Cleanup(func() { _ = p.Close() })
		must(t, p.Prepare(t.Context()))
		_, err := p.Join(t.Context(), partition.Cluster{ID: "cluster", Epoch: 1, Masters: []string{"p0"}, Slots: []uint16{0}})
		must(t, err)
		partitiontest.Finish(t, p)
		w.parts = append(w.parts, p)
	}
	return w
}

func (w *world) partitions() (parts []partition.Partition) {
	for _, p := range w.parts {
		parts = append(parts, p)
	}
	return parts
}

// fill commits n entries of several shapes on the master.
func (w *world) fill(n int) {
	w.t.Helper()
	b := partition.Batch{Epoch: 1, Revisions: n}
	for i := range n {
		e := partition.Entry{Key: partition.Key(fmt.Sprintf("k/%06d", i)), Revision: partition.Revision(i), ContentType: "text/plain", Value: fmt.Append(nil, "value ", i)}
		switch i % 5 {
		case 1:
			e.ExpiresAt = 253402300799999999
		case 2:
			e.Metadata = []byte(`{"a":"1"}`)
		case 3:
			e.Deleted, e.Value, e.ContentType = true, nil, ""
		}
		e.Checksum = partition.Checksum(e.Value)
		b.Write = append(b.Write, e)
	}
	_, err := w.parts[0].Commit(w.t.Context(), b)
	must(w.t, err)
}

// level copies everything that the master holds to every replica.
func (w *world) level(ctx context.Context) error {
	for _, p := range w.parts[1:] {
		at, err := p.Positions(ctx)
		if err != nil {
			return err
		}
		from := at.Origins["p0"].Revision
		entries, to, err := after(ctx, w.parts[0], from)
		if err == nil && to > from {
			err = p.Apply(ctx, partition.Copy{Origin: "p0", From: from, To: to, Goal: to, SyncedAt: 1, Entries: entries})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// after reads the master's entries after a revision, and its position.
func after(ctx context.Context, p partition.Partition, from partition.Revision) (entries []partition.Entry, to partition.Revision, err error) {
	s, err := p.Snapshot(ctx, "p0", from)
	if err != nil {
		return nil, 0, err
	}
	defer s.Close()
	for {
		more, err := s.Next(ctx, 1000, 8<<20)
		if errors.Is(err, io.EOF) {
			return entries, s.Position().Revision, nil
		}
		if err != nil {
			return nil, 0, err
		}
		entries = append(entries, more...)
	}
}

// contents returns all rows of a partition.
func (w *world) contents(p partition.Partition) []partition.Entry {
	w.t.Helper()
	rows, err := p.Rows(w.t.Context(), partition.Span{Limit: 1 << 20})
	must(w.t, err)
	var all []partition.Entry
	for chunk := range slices.Chunk(rows, 500) {
		got := partitiontest.GetAll(w.t, p, chunk)
		slices.SortFunc(got, func(a, b partition.Entry) int { return cmpKeys(a.Key, b.Key) })
		all = append(all, got...)
	}
	return all
}

func cmpKeys(a, b partition.Key) int {
	if a < b {
		return -1
	}
	return 1
}

// verify runs a verification, and returns the wrong rows.
func (w *world) verify(o verify.Options) (verify.Report, []verify.Finding) {
	w.t.Helper()
	var findings []verify.Finding
	o.Found, o.Logger = func(f verify.Finding) { findings = append(findings, f) }, slog.New(slog.DiscardHandler)
	if o.Rest == 0 {
		o.Rest = -1
	}
	report, err := verify.Run(w.t.Context(), w.partitions(), o)
	must(w.t, err)
	return report, findings
}

// wantClean fails the test unless nothing is wrong.
func (w *world) wantClean(deep bool) {
	w.t.Helper()
	if r, found := w.verify(verify.Options{Deep: deep}); !r.IsClean() || len(r.Verified) != len(w.parts) {
		w.t.Errorf("the report is %+v: %+v", r, found)
	}
}

// flip changes a random bit of a random column.
func flip(random *rand.Rand, e partition.Entry) (partition.Entry, string) {
	bytes := func(b []byte) []byte {
		if b = slices.Clone(b); len(b) == 0 {
			return []byte{1 << random.IntN(7)}
		}
		b[random.IntN(len(b))] ^= 1 << random.IntN(8)
		return b
	}
	column := []string{"key", "origin", "revision", "deleted", "content_type", "metadata", "modified_at", "expires_at", "checksum", "size", "value"}[random.IntN(11)]
	switch column {
	case "key":
		e.Key = partition.Key(bytes([]byte(e.Key)))
	case "origin":
		e.Origin = partition.Origin([]byte{e.Origin[0] ^ 1<<random.IntN(7), e.Origin[1]})
	case "revision":
		e.Revision ^= 1 << random.IntN(63)
	case "deleted":
		e.Deleted = !e.Deleted
	case "content_type":
		e.ContentType = string(bytes([]byte(e.ContentType)))
	case "metadata":
		e.Metadata = bytes(e.Metadata)
	case "modified_at":
		e.ModifiedAt ^= 1 << random.IntN(63)
	case "expires_at":
		e.ExpiresAt ^= 1 << random.IntN(63)
	case "checksum":
		e.Checksum ^= 1 << random.IntN(64)
	case "size":
		e.Size ^= 1 << random.IntN(63)
	case "value":
		before := len(e.Value)
		e.Value = bytes(e.Value)
		e.Size += int64(len(e.Value) - before)
	}
	return e, column
}

// TestFlippedBitsAreFoundAndRepaired flips random bits in any column of any one partition, the master too: no damaged row
// passes for right, all are found, and all are repaired.
func TestFlippedBitsAreFoundAndRepaired(t *testing.T) {
	rounds := 18
	if os.Getenv("RUNNEL_TEST_LONG") != "" {
		rounds = 1000 // 10,000 bits
	}
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			rounds := rounds
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			w := newWorld(t, kind, 3)
			w.fill(300)
			must(t, w.level(t.Context()))
			right := w.contents(w.parts[0])
			if kind == "MariaDB" {
				rounds = (rounds + 5) / 6
			}
			for range rounds {
				planted := make(map[string]string)
				for _, i := range random.Perm(len(right))[:10] {
					p := w.parts[random.IntN(len(w.parts))]
					wrong, column := flip(random, right[i])
					if !unique(right, right[i], wrong) {
						continue
					}
					p.damage(right[i].Key, wrong)
					planted[p.Name()+" "+string(right[i].Key)] = column
					for _, got := range partitiontest.GetAll(t, p, []partition.Entry{right[i], wrong}) {
						if got.Intact() {
							t.Errorf("a changed %s is not noticed in %+v, before %+v", column, got, right[i])
						}
					}
				}
				r, found := w.verify(verify.Options{Deep: true, Repair: true, Rows: 1 + random.IntN(400)})
				if int(r.Found) != len(planted) || r.Repaired != r.Found {
					t.Fatalf("planted %v\nreport %+v\nfound %+v", planted, r, found)
				}
				for _, p := range w.parts {
					partitiontest.WantSame(t, "the repaired "+p.Name(), w.contents(p), right)
				}
			}
			w.wantClean(true)
		})
	}
}

// unique reports whether a damaged row fits the table: keys, and pairs of origin and revision, are unique.
func unique(all []partition.Entry, right, wrong partition.Entry) bool {
	return !slices.ContainsFunc(all, func(e partition.Entry) bool {
		return e.Key != right.Key && (e.Key == wrong.Key || e.Origin == wrong.Origin && e.Revision == wrong.Revision)
	})
}

// TestDigestsFindChangedHeads: without reading values, every change is found but that of a value.
func TestDigestsFindChangedHeads(t *testing.T) {
	w := newWorld(t, "memory", 3)
	w.fill(40)
	must(t, w.level(t.Context()))
	right := w.contents(w.parts[0])
	for column, damage := range partitiontest.Damages() {
		wrong := right[39]
		if damage(&wrong); column == "value" {
			wrong.Size--
		}
		w.parts[1].damage(right[39].Key, wrong)
		r, found := w.verify(verify.Options{Repair: true})
		if column == "value" {
			if r.Found != 0 {
				t.Errorf("a value was read: %+v", found)
			}
			r, found = w.verify(verify.Options{Repair: true, Deep: true})
		}
		if r.Found != 1 || r.Repaired != 1 {
			t.Errorf("%s: %+v, %+v", column, r, found)
		}
	}
	w.wantClean(true)
}

// TestRowThatIsNowhereRightIsListed: nothing is changed.
func TestRowThatIsNowhereRightIsListed(t *testing.T) {
	for name, plant := range map[string]func(w *world, right partition.Entry){
		"damaged everywhere": func(w *world, right partition.Entry) {
			for i, p := range w.parts {
				right.ExpiresAt = partition.Instant(77 + i)
				p.damage(right.Key, right)
			}
		},
		"two right rows differ": func(w *world, right partition.Entry) {
			right.Value, right.Size = []byte("other"), 5
			right.Checksum = partition.Checksum(right.Value)
			w.parts[1].damage(right.Key, right)
		},
		"damaged, and the others differ": func(w *world, right partition.Entry) {
			damaged := right
			damaged.ContentType = "x"
			w.parts[0].damage(right.Key, damaged)
			right.Value, right.Size = []byte("other"), 5
			right.Checksum = partition.Checksum(right.Value)
			w.parts[1].damage(right.Key, right)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "memory", 3)
			w.fill(20)
			must(t, w.level(t.Context()))
			plant(w, w.contents(w.parts[0])[5])
			before := [][]partition.Entry{w.contents(w.parts[0]), w.contents(w.parts[1]), w.contents(w.parts[2])}
			r, found := w.verify(verify.Options{Deep: true, Repair: true})
			if r.Found == 0 || r.Repaired != 0 || len(found) == 0 || found[0].Why == "" || r.IsClean() {
				t.Errorf("the report is %+v: %+v", r, found)
			}
			for i, p := range w.parts {
				if got := w.contents(p); fmt.Sprint(got) != fmt.Sprint(before[i]) {
					t.Errorf("%s was changed", p.Name())
				}
			}
		})
	}
}

// TestMissingRowIsRestored, unless the key may have been deleted since: a copy that has not passed the collected tombstones proves
// nothing.
func TestMissingRowIsRestored(t *testing.T) {
	for _, old := range []bool{false, true} {
		w := newWorld(t, "memory", 2)
		w.fill(20)
		must(t, w.level(t.Context()))
		right := w.contents(w.parts[0])
		holder, lacks := w.parts[1], w.parts[0]
		if old { // the holder has missed the deletion
			b := partition.Batch{Epoch: 1, Revisions: 1, Write: []partition.Entry{{Key: right[5].Key, Deleted: true, Checksum: partition.Checksum(nil)}}}
			claim, err := lacks.Commit(t.Context(), b)
			must(t, err)
			_, err = lacks.Collect(t.Context(), "p0", claim.First)
			must(t, err)
		} else {
			far := right[5]
			far.Origin, far.Key = "elsewhere", "k/elsewhere"
			lacks.damage(right[5].Key, far) // the row is gone
		}
		if r, found := w.verify(verify.Options{Repair: true}); r.Repaired > 0 == old {
			t.Errorf("with an old holder: %v, the report is %+v: %+v", old, r, found)
		}
		if got := partitiontest.GetAll(t, lacks, right[5:6]); (len(got) == 1) == old {
			t.Errorf("with an old holder: %v, %d rows of %s", old, len(got), holder.Name())
		}
	}
}

// TestVerificationUnderWritesReportsNothingFalse: while entries are written, deleted and copied, nothing is wrong, and damage is
// found and repaired all the same.
func TestVerificationUnderWritesReportsNothingFalse(t *testing.T) {
	for _, kind := range []string{"memory", "SQLite"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, kind, 3)
			w.fill(500)
			must(t, w.level(t.Context()))
			right := w.contents(w.parts[0])
			ctx, stop := context.WithCancel(t.Context())
			var load sync.WaitGroup
			load.Go(func() { w.write(ctx, 400) })
			load.Go(func() {
				for ctx.Err() == nil {
					if err := w.level(ctx); err != nil && ctx.Err() == nil {
						t.Error(err)
						return
					}
				}
			})
			for range 3 {
				if r, found := w.verify(verify.Options{Deep: true, Repair: true, Rows: 50}); r.Found != 0 || len(r.Left) > 0 {
					t.Errorf("the report is %+v: %+v", r, found)
				}
			}
			for i, p := range w.parts { // rows that nobody writes
				wrong := right[450+i]
				wrong.ModifiedAt ^= 8
				p.damage(wrong.Key, wrong)
			}
			if r, found := w.verify(verify.Options{Deep: true, Repair: true, Rows: 50}); r.Found != 3 || r.Repaired != 3 {
				t.Errorf("the report is %+v: %+v", r, found)
			}
			stop()
			load.Wait()
			must(t, w.level(t.Context()))
			w.wantClean(true)
		})
	}
}

// write writes and deletes the first keys until ctx ends.
func (w *world) write(ctx context.Context, keys int) {
	for n := 0; ctx.Err() == nil; n++ {
		b := partition.Batch{Epoch: 1, Revisions: 3}
		for i := range 3 {
			e := partition.Entry{Key: partition.Key(fmt.Sprintf("k/%06d", (n*7+i)%keys)), Revision: partition.Revision(i), Value: fmt.Append(nil, n)}
			if n%4 == 0 {
				e.Deleted, e.Value = true, nil
			}
			e.Checksum = partition.Checksum(e.Value)
			b.Write = append(b.Write, e)
		}
		if _, err := w.parts[0].Commit(ctx, b); err != nil && ctx.Err() == nil {
			w.t.Error(err)
			return
		}
	}
}

// TestInterruptedVerificationGoesOn where it was, and remembers what was listed before.
func TestInterruptedVerificationGoesOn(t *testing.T) {
	w := newWorld(t, "SQLite", 2)
	w.fill(100)
	must(t, w.level(t.Context()))
	wrong := w.contents(w.parts[0])[3]
	wrong.ExpiresAt = 5
	w.parts[1].damage(wrong.Key, wrong)
	ctx, stop := context.WithCancel(t.Context())
	_, err := verify.Run(ctx, w.partitions(), verify.Options{Rows: 10, Rest: -1, Progress: func(done, total int64) {
		if done == 50 {
			stop()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the first run ended with %v", err)
	}
	var first int64
	r, _ := w.verify(verify.Options{Rows: 10, Progress: func(done, total int64) {
		if first == 0 {
			first = done
		}
	}})
	if !r.Resumed || first != 60 || r.Compared != 100 || r.Before != 1 || r.Found != 0 || r.IsClean() {
		t.Errorf("began at %d: %+v", first, r)
	}
	for _, p := range w.parts {
		at, err := p.Positions(t.Context())
		if err != nil || at.VerifiedAt == 0 {
			t.Errorf("%s was verified at %d, %v", p.Name(), at.VerifiedAt, err)
		}
	}
	if r, found := w.verify(verify.Options{Rows: 10}); r.Resumed || r.Found != 1 || found[0].Partition != "p1" || found[0].From != "p0" || found[0].Repaired {
		t.Errorf("the next run is %+v: %+v", r, found)
	}
}

// TestPartitionThatFailsIsLeftOut: the rest is compared, and only the rest counts as verified.
func TestPartitionThatFailsIsLeftOut(t *testing.T) {
	w := newWorld(t, "memory", 3)
	w.fill(100)
	must(t, w.level(t.Context()))
	wrong := w.contents(w.parts[0])[90]
	wrong.ExpiresAt = 5
	w.parts[2].damage(wrong.Key, wrong)
	digests := 0
	w.parts[0].Partition.(*memory.Partition).Fail(func(op string) error {
		if op == memory.OpDigest {
			digests++
		}
		if digests > 3 {
			return partition.ErrUnavailable
		}
		return nil
	})
	r, found := w.verify(verify.Options{Rows: 10, Repair: true})
	if len(r.Left) != 1 || len(r.Verified) != 2 || r.Compared != 100 || r.Repaired != 1 || found[0].From != "p1" || r.IsClean() {
		t.Errorf("the report is %+v: %+v", r, found)
	}
}

// TestReplicaThatIsFilledIsNotCompared: missing entries are no difference.
func TestReplicaThatIsFilledIsNotCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "memory", 2)
		w.fill(10)
		must(t, w.level(t.Context()))
		entries, to, err := after(t.Context(), w.parts[0], 0)
		must(t, err)
		third := memory.New("p2")
		_, err = third.Join(t.Context(), partition.Cluster{ID: "cluster", Epoch: 1, Masters: []string{"p0"}, Slots: []uint16{0}})
		must(t, err)
		must(t, third.Apply(t.Context(), partition.Copy{Origin: "p0", To: to - 3, Goal: to, Entries: entries[:4]}))
		w.parts = append(w.parts, base{third, third.Damage})
		findings, err := verify.Row(t.Context(), w.partitions(), "k/000005", true)
		if err != nil || len(findings) > 0 {
			t.Errorf("found %+v, %v", findings, err)
		}
	})
}

// TestRepairTakesNoWriteBack: the only right copy of a damaged row is older than the row. Then nothing is repaired, until a
// copy has passed everything that the partition held.
func TestRepairTakesNoWriteBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "memory", 3)
		w.fill(20)
		must(t, w.level(t.Context()))
		w.fill(20) // again, with later revisions
		newest := w.contents(w.parts[0])
		wrong := newest[5]
		wrong.ExpiresAt = 5
		w.parts[0].damage(wrong.Key, wrong)
		findings, err := verify.Row(t.Context(), w.partitions(), wrong.Key, true)
		if err != nil || len(findings) != 1 || findings[0].Repaired || findings[0].Partition != "p0" || findings[0].From != "" {
			t.Errorf("found %+v, %v", findings, err)
		}
		if got := partitiontest.GetAll(t, w.parts[0], newest[5:6]); !slices.EqualFunc(got, []partition.Entry{wrong}, func(a, b partition.Entry) bool { return a.SameHead(&b) }) {
			t.Errorf("the row became %+v", got)
		}
		to := newest[19].Revision
		must(t, w.parts[1].Apply(t.Context(), partition.Copy{Origin: "p0", From: partition.Floor(1) + 20, To: to, Goal: to, SyncedAt: 1, Entries: newest}))
		findings, err = verify.Row(t.Context(), w.partitions(), wrong.Key, true)
		if err != nil || len(findings) != 1 || !findings[0].Repaired || findings[0].From != "p1" {
			t.Errorf("found %+v, %v", findings, err)
		}
		partitiontest.WantSame(t, "the master", w.contents(w.parts[0]), newest)
	})
}
