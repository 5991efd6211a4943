package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
)

func TestPutSaysWhetherTheKeyIsNew(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	key := store.User.Key("a")
	for i, want := range []bool{true, false, false} {
		w, err := r.Put(t.Context(), store.Entry{Key: key, ContentType: "text/plain", Value: fmt.Appendf(nil, "v%d", i)})
		if err != nil || w.Created != want {
			t.Fatalf("put %d: created %v, %v; want %v", i, w.Created, err, want)
		}
		got, err := r.Get(t.Context(), key, store.ReadOptions{Consistency: store.FromMaster})
		if err != nil || string(got.Entry.Value) != fmt.Sprintf("v%d", i) || got.Entry.Revision != w.Entry.Revision {
			t.Fatalf("get after put %d: %+v, %v; want revision %d", i, got.Entry, err, w.Entry.Revision)
		}
	}
	err := r.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error { v.Delete(key); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if w, err := r.Put(t.Context(), store.Entry{Key: key}); err != nil || !w.Created {
		t.Fatalf("put after delete: created %v, %v", w.Created, err)
	}
}

// TestUpdateIsExactUnderConcurrency increments a counter by conditional writes from many
// goroutines over two processes: each success must count once.
func TestUpdateIsExactUnderConcurrency(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	other := &storetest.Rig{Parts: []*memory.Partition{r.Parts[0].Reopen()}}
	other.Start(t, storetest.Options())
	key := store.User.Key("counter")
	const workers, rounds = 16, 50
	var group sync.WaitGroup
	for w := range workers {
		s := []*storetest.Rig{r, other}[w%2]
		group.Go(func() {
			for range rounds {
				err := s.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error {
					e, _ := v.Get(key)
					v.Put(store.Entry{Key: key, Value: append(e.Value[:len(e.Value):len(e.Value)], 'x')})
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				if _, err := s.Put(t.Context(), store.Entry{Key: store.User.Key("noise")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	got, err := r.Get(t.Context(), key, store.ReadOptions{})
	if err != nil || len(got.Entry.Value) != workers*rounds {
		t.Fatalf("counted %d, %v; want %d", len(got.Entry.Value), err, workers*rounds)
	}
}

var errPlanned = errors.New("planned")

func TestUpdateErrorAbortsItAlone(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	release := make(chan struct{})
	r.Parts[0].Fail(func(op string) error { // hold the first commit so that the other writes queue together
		if op == memory.OpCommit {
			<-release
		}
		return nil
	})
	var group sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		key := store.User.Key(fmt.Sprint("k", i))
		group.Go(func() {
			errs[i] = r.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error {
				v.Put(store.Entry{Key: key, Value: []byte("x")})
				if i%3 == 0 {
					return errPlanned
				}
				return nil
			})
		})
	}
	close(release)
	group.Wait()
	for i, err := range errs {
		if (i%3 == 0) != errors.Is(err, errPlanned) || i%3 != 0 && err != nil {
			t.Errorf("update %d: %v", i, err)
		}
		_, err := r.Get(t.Context(), store.User.Key(fmt.Sprint("k", i)), store.ReadOptions{})
		if (i%3 == 0) != errors.Is(err, store.ErrNotFound) {
			t.Errorf("entry of update %d: %v", i, err)
		}
	}
}

func TestUpdateSeesEarlierWritesOfItsBatch(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	a, b := store.User.Key("{t}a"), store.User.Key("{t}b")
	err := r.Update(t.Context(), []store.Key{a, b}, store.UpdateOptions{}, func(v *store.Tx) error {
		first := v.Put(store.Entry{Key: a, Value: []byte("1")})
		again, ok := v.Get(a)
		if !ok || again.Revision != first.Revision || first.Revision != v.Revision() {
			return fmt.Errorf("got %+v, %v after writing %+v at %d", again, ok, first, v.Revision())
		}
		if _, deleted := v.Delete(b); deleted {
			return errors.New("deleted what was not there")
		}
		v.Put(store.Entry{Key: b, Value: []byte("2")})
		if _, deleted := v.Delete(b); !deleted {
			return errors.New("did not find what it wrote")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Get(t.Context(), b, store.ReadOptions{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted key: %v", err)
	}
}

func TestUpdateRefusesKeysOfDifferentMasters(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options(), "p0", "p1")
	a := store.User.Key("a")
	b := a
	for i := 0; r.Master(b) == r.Master(a); i++ {
		b = store.User.Key(fmt.Sprint("b", i))
	}
	run := 0
	err := r.Update(t.Context(), []store.Key{a, b}, store.UpdateOptions{}, func(*store.Tx) error { run++; return nil })
	if !errors.Is(err, store.ErrDifferentMasters) || run != 0 {
		t.Fatalf("%v, ran %d times", err, run)
	}
	x, y := store.User.Key("{tag}x"), store.Space("lock").Key("{tag}y")
	if r.Master(x) != r.Master(y) {
		t.Errorf("keys of one tag have masters %s and %s", r.Master(x), r.Master(y))
	}
}

func TestUpdateThatWritesNothingClaimsNothing(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	r.MustPut(t, "a", "1")
	before, _ := r.Parts[0].Positions(t.Context())
	if err := r.Update(t.Context(), []store.Key{store.User.Key("a")}, store.UpdateOptions{}, func(v *store.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	after, _ := r.Parts[0].Positions(t.Context())
	if before.Origins["p0"] != after.Origins["p0"] {
		t.Errorf("the position went from %+v to %+v", before.Origins["p0"], after.Origins["p0"])
	}
}

func TestUnknownOutcomeIsSaidAndNotGuessed(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	r.Parts[0].Fail(func(op string) error {
		if op == memory.OpCommitted {
			return errPlanned
		}
		return nil
	})
	_, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a")})
	if !errors.Is(err, store.ErrOutcomeUnknown) || errors.Is(err, store.ErrMasterUnavailable) {
		t.Fatalf("Put: %v; want ErrOutcomeUnknown, and not that nothing was stored", err)
	}
}

func TestDeadMasterRefusesWritesAndReadsGoOn(t *testing.T) {
	r := storetest.New(t, 3, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	r.Parts[0].Fail(func(string) error { return partition.ErrUnavailable })
	storetest.Eventually(t, "unreachable master", func() bool { return r.Status().Partitions[0].State == store.Unreachable })
	_, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a")})
	var me *store.MasterError
	if !errors.Is(err, store.ErrMasterUnavailable) || !errors.As(err, &me) || me.Master != "p0" || me.RetryAfter <= 0 {
		t.Errorf("Put: %v", err)
	}
	for range 50 {
		if got, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{}); err != nil || got.Partition == "p0" {
			t.Fatalf("Get: %+v, %v", got, err)
		}
	}
	if _, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{Consistency: store.FromMaster}); !errors.Is(err, store.ErrMasterUnavailable) {
		t.Errorf("Get from the master: %v", err)
	}
	r.Parts[0].Fail(nil)
	storetest.Eventually(t, "write to the returned master", func() bool {
		_, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a")})
		return err == nil
	})
}

func TestReadFallsBackAtOnce(t *testing.T) {
	r := storetest.New(t, 3, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	r.Parts[1].Fail(func(op string) error {
		if op == memory.OpGet || op == memory.OpList {
			return partition.ErrUnavailable
		}
		return nil
	})
	for range 50 {
		if got, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{}); err != nil || got.Partition == "p1" {
			t.Fatalf("Get: %+v, %v", got, err)
		}
		if page, err := r.List(t.Context(), store.ListOptions{Space: store.User}); err != nil || page.Partition == "p1" || len(page.Entries) != 1 {
			t.Fatalf("List: %+v, %v", page, err)
		}
	}
}

// logged is a log that can be read while it is written.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestDamagedCopyIsNotServed(t *testing.T) {
	var log logged
	o := storetest.Options()
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r := storetest.New(t, 2, o)
	e := r.MustPut(t, "a", "good")
	r.Level(t)
	e.Value = []byte("evil")
	r.Parts[1].Plant(e)
	r.Parts[1].Fail(failOn(memory.OpRepair))
	for range 30 {
		got, err := r.Get(t.Context(), e.Key, store.ReadOptions{})
		if err != nil || string(got.Entry.Value) != "good" {
			t.Fatalf("Get: %q from %s, %v", got.Entry.Value, got.Partition, err)
		}
		page, err := r.List(t.Context(), store.ListOptions{Space: store.User, Values: true})
		if err != nil || string(page.Entries[0].Value) != "good" {
			t.Fatalf("List: %+v, %v", page, err)
		}
	}
	if _, err := r.Get(t.Context(), e.Key, store.ReadOptions{Partition: "p1"}); err == nil {
		t.Error("the damaged copy was served when asked for by name")
	}
	if n := strings.Count(log.String(), "damaged entry: "); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
}

// failOn fails one operation.
func failOn(op string) func(string) error {
	return func(running string) error {
		if running == op {
			return partition.ErrUnavailable
		}
		return nil
	}
}

// TestDamagedCopyIsRepairedAfterARead damages any column of a row, of a replica and of the master: a read of the key is right
// or an error, and the row is repaired.
func TestDamagedCopyIsRepairedAfterARead(t *testing.T) {
	r := &storetest.Rig{Parts: []*memory.Partition{memory.New("p0"), memory.New("p1")}}
	for _, p := range r.Parts {
		p.PlantSchema(partition.Schema{Version: partition.SchemaVersion, OldestReader: partition.SchemaVersion, OldestWriter: partition.SchemaVersion})
	}
	r.Start(t, storetest.Options())
	repaired := int64(0)
	for i, p := range r.Parts {
		for column, damage := range partitiontest.Damages() {
			if column == "key" || column == "size" { // see Limits in docs/guarantees.md; a size is kept by memory alone
				continue
			}
			e := r.MustPut(t, fmt.Sprint(column, i), "good")
			r.Level(t)
			rows, err := p.Get(t.Context(), []store.Key{e.Key})
			if err != nil || len(rows) != 1 || !rows[0].HasRowChecksum() {
				t.Fatalf("the row is %+v, %v", rows, err)
			}
			damage(&rows[0])
			p.Damage(e.Key, rows[0])
			many := func(got store.Read, err error) {
				if err == nil && string(got.Entry.Value) != "good" || errors.Is(err, store.ErrNotFound) {
					t.Errorf("%s on %s: %+v, %v", column, p.Name(), got, err)
				}
			}
			many(r.Get(t.Context(), e.Key, store.ReadOptions{Partition: p.Name()}))
			r.GetMany(t.Context(), []store.Key{e.Key}, store.ReadOptions{}, func(_ int, got store.Read, err error) { many(got, err) })
			repaired++
			storetest.Eventually(t, "the repair of "+column, func() bool {
				got, err := r.Get(t.Context(), e.Key, store.ReadOptions{Partition: p.Name()})
				return err == nil && string(got.Entry.Value) == "good"
			})
		}
	}
	if st := r.Status(); st.Damaged < repaired || st.Repaired != repaired {
		t.Errorf("%d damaged and %d repaired, want %d", st.Damaged, st.Repaired, repaired)
	}
}

func TestFillingPartitionServesNoReads(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	for range 50 {
		if got, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{}); err != nil || got.Partition != "p0" {
			t.Fatalf("Get: %+v, %v", got, err)
		}
	}
	if st := r.Status().Partitions[1]; st.State != store.Filling || st.Readable {
		t.Errorf("status of the empty partition: %+v", st)
	}
	r.Level(t)
	storetest.Eventually(t, "read from the filled partition", func() bool {
		got, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{})
		return err == nil && got.Partition == "p1" && got.Staleness >= 0
	})
}

func TestStatusIsReadableOnceEveryOriginIs(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options(), "p0", "p1")
	storetest.Eventually(t, "readable status", func() bool { return r.Status().Readable() })
	if st := r.Status(); st.Partitions[0].Readable || st.Partitions[1].Readable {
		t.Errorf("a partition that lacks an origin is readable: %+v", st)
	}
	r.Parts[1].Fail(func(string) error { return partition.ErrUnavailable })
	storetest.Eventually(t, "unreadable status", func() bool { return !r.Status().Readable() })
	if st := r.Status(); !st.Writable() {
		t.Errorf("the other master is not writable: %+v", st)
	}
}

func TestExpiredEntryIsGoneBeforeItIsSwept(t *testing.T) {
	var mu sync.Mutex
	now := time.Now().Add(time.Hour) // the master's clock is far from ours
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	r := &storetest.Rig{Parts: []*memory.Partition{memory.New("p0", memory.Clock(clock)), memory.New("p1")}}
	r.Start(t, storetest.Options())
	key := store.User.Key("a")
	err := r.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error {
		v.Put(store.Entry{Key: key, ExpiresAt: v.Now().Add(time.Minute)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Level(t)
	for _, p := range r.Parts {
		if _, err := r.Get(t.Context(), key, store.ReadOptions{Partition: p.Name()}); err != nil {
			t.Errorf("before it expires, from %s: %v", p.Name(), err)
		}
	}
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	for _, p := range r.Parts {
		storetest.Eventually(t, "expiry on "+p.Name(), func() bool {
			_, err := r.Get(t.Context(), key, store.ReadOptions{Partition: p.Name()})
			return errors.Is(err, store.ErrNotFound)
		})
	}
	page, err := r.List(t.Context(), store.ListOptions{Space: store.User})
	if err != nil || len(page.Entries) != 0 {
		t.Errorf("List shows what expired: %+v, %v", page, err)
	}
	if w, err := r.Put(t.Context(), store.Entry{Key: key}); err != nil || !w.Created {
		t.Errorf("Put over an expired entry: created %v, %v", w.Created, err)
	}
}

func TestCloseAnswersWhatWasAccepted(t *testing.T) {
	o := storetest.Options()
	r := &storetest.Rig{Parts: []*memory.Partition{memory.New("p0")}}
	o.Partitions = []partition.Partition{r.Parts[0]}
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	storetest.Eventually(t, "a writable master", func() bool { return s.Status().Partitions[0].Writable })
	entered, release := make(chan struct{}, 64), make(chan struct{})
	r.Parts[0].Fail(func(op string) error {
		if op == memory.OpCommit {
			entered <- struct{}{}
			<-release
		}
		return nil
	})
	answers := make(chan error, 10)
	for i := range cap(answers) {
		go func() {
			_, err := s.Put(t.Context(), store.Entry{Key: store.User.Key(fmt.Sprint(i))})
			answers <- err
		}()
	}
	<-entered
	cancel()
	close(release)
	accepted := 0
	for range cap(answers) {
		switch err := <-answers; {
		case err == nil:
			accepted++
		case !errors.Is(err, store.ErrClosed):
			t.Errorf("Put: %v", err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	page, more, err := r.Parts[0].List(t.Context(), partition.Span{From: "k/", To: "k0", Limit: 100})
	if err != nil || more || len(page) != accepted || accepted == 0 {
		t.Errorf("%d stand, %d were accepted, %v", len(page), accepted, err)
	}
	s.Close()
}
