package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// many holds the answers of GetMany by index.
type many struct {
	read store.Read
	err  error
}

func getMany(t *testing.T, r *storetest.Rig, keys []store.Key, o store.ReadOptions) []many {
	t.Helper()
	var all []many
	r.GetMany(t.Context(), keys, o, func(i int, read store.Read, err error) {
		if i != len(all) {
			t.Fatalf("key %d was answered after %d", i, len(all))
		}
		all = append(all, many{read, err})
	})
	if len(all) != len(keys) {
		t.Fatalf("%d answers for %d keys", len(all), len(keys))
	}
	return all
}

// TestGetManyAnswersAsGet: over several masters, for keys that exist, are absent, deleted,
// expired or repeated.
func TestGetManyAnswersAsGet(t *testing.T) {
	for _, masters := range [][]string{{"p0"}, {"p0", "p1", "p2"}} {
		r := storetest.New(t, 3, storetest.Options(), masters...)
		for _, m := range masters {
			storetest.Eventually(t, "writable "+m, func() bool {
				for _, p := range r.Status().Partitions {
					if p.Name == m {
						return p.Writable
					}
				}
				return false
			})
		}
		var keys []store.Key
		for i := range 700 {
			name := fmt.Sprint(i)
			keys = append(keys, store.User.Key(name), store.User.Key(fmt.Sprint(rand.IntN(1000))))
			switch i % 4 {
			case 0, 1:
				r.MustPut(t, name, strings.Repeat(name, i%50))
			case 2:
				r.MustPut(t, name, "gone")
				if err := r.Update(t.Context(), keys[2*i:2*i+1], store.UpdateOptions{WithoutValues: true}, func(v *store.Tx) error {
					v.Delete(keys[2*i])
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, o := range []store.ReadOptions{{Consistency: store.FromMaster}, {}} {
			if o.Consistency == "" {
				r.Level(t)
			}
			for i, got := range getMany(t, r, keys, o) {
				want, err := r.Get(t.Context(), keys[i], o)
				if !errors.Is(got.err, err) && got.err != err || string(got.read.Entry.Value) != string(want.Entry.Value) ||
					got.read.Entry.Revision != want.Entry.Revision || got.read.Partition == "" {
					t.Fatalf("%s: %+v, but Get: %+v, %v", keys[i], got, want, err)
				}
			}
		}
	}
}

// TestGetManyTakesFewStatements: GetMany also bounds the bytes of values in a statement.
func TestGetManyTakesFewStatements(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	var keys []store.Key
	for i := range 3000 {
		keys = append(keys, store.User.Key(fmt.Sprint(i)))
	}
	var gets atomic.Int64
	r.Parts[0].Fail(func(op string) error {
		if op == memory.OpGet {
			gets.Add(1)
		}
		return nil
	})
	r.MustPut(t, "7", "x")
	getMany(t, r, keys, store.ReadOptions{})
	if n := gets.Swap(0); n > 13 {
		t.Errorf("%d statements for 3000 small entries", n)
	}
	for i := range 200 {
		r.MustPut(t, fmt.Sprint(i), strings.Repeat("v", 1<<20))
	}
	getMany(t, r, keys[:200], store.ReadOptions{})
	if n := gets.Load(); n < 15 {
		t.Errorf("%d statements for 200 MiB", n)
	}
}

func TestGetManyReadsWhileOnePartitionLives(t *testing.T) {
	o := storetest.Options()
	o.Poll = time.Hour // no polls
	r := storetest.New(t, 3, o)
	keys := []store.Key{store.User.Key("a"), store.User.Key("b")}
	r.MustPut(t, "a", "1")
	r.Level(t)
	var dead atomic.Int64
	for _, p := range r.Parts[:2] {
		p.Fail(func(op string) error {
			if op == memory.OpGet {
				dead.Add(1)
				return partition.ErrUnavailable
			}
			return nil
		})
	}
	for range 20 {
		got := getMany(t, r, keys, store.ReadOptions{})
		if got[0].err != nil || got[0].read.Partition != "p2" || !errors.Is(got[1].err, store.ErrNotFound) {
			t.Fatalf("%+v", got)
		}
	}
	if dead.Load() == 0 {
		t.Error("the dead partitions were never asked, so nothing was shown")
	}
	for _, got := range getMany(t, r, keys, store.ReadOptions{Consistency: store.FromMaster}) {
		if !errors.Is(got.err, store.ErrMasterUnavailable) {
			t.Errorf("%+v", got)
		}
	}
	r.Parts[2].Fail(func(string) error { return partition.ErrUnavailable })
	for _, got := range getMany(t, r, keys, store.ReadOptions{}) {
		if !errors.Is(got.err, store.ErrNoPartition) {
			t.Errorf("%+v", got)
		}
	}
}

func TestGetManyServesNoDamagedCopy(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	e := r.MustPut(t, "a", "right")
	r.MustPut(t, "b", "beside")
	r.Level(t)
	e.Value = []byte("wrong")
	r.Parts[1].Plant(e)
	for range 50 {
		got := getMany(t, r, []store.Key{e.Key, store.User.Key("b")}, store.ReadOptions{})
		if got[0].err != nil || string(got[0].read.Entry.Value) != "right" || string(got[1].read.Entry.Value) != "beside" {
			t.Fatalf("%+v", got)
		}
	}
}

// changes makes Puts of keys 0, 1, … of a prefix.
func changes(prefix string, n int) []store.Write {
	cs := make([]store.Write, n)
	for i := range cs {
		cs[i].Entry = store.Entry{Key: store.User.Key(fmt.Sprint(prefix, i)), Value: []byte(fmt.Sprint(i))}
	}
	return cs
}

func TestUpdateEachSharesCommitsAndKeepsTheOrderOfAKey(t *testing.T) {
	o := storetest.Options()
	var commits atomic.Int64
	o.OnCommit = func() { commits.Add(1) }
	r := storetest.New(t, 1, o)
	cs := changes("", 2000)
	errMine := errors.New("mine")
	for i := range cs {
		cs[i].Entry.Key = store.User.Key(fmt.Sprint(i % 500))
		if i%5 == 4 {
			key := cs[i].Entry.Key
			cs[i].Update = func(v *store.Tx) error {
				if e, ok := v.Get(key); i >= 500 && i%10 != 4 && (!ok || e.Size == 0) {
					return fmt.Errorf("change %d finds %+v", i, e)
				}
				if i%10 == 4 {
					return errMine
				}
				v.Put(store.Entry{Key: key, Value: []byte(fmt.Sprint(i))})
				return nil
			}
		}
	}
	r.UpdateEach(t.Context(), cs)
	for i, c := range cs {
		switch {
		case i%10 == 4 && c.Err != errMine, i%10 != 4 && c.Err != nil:
			t.Fatalf("change %d: %v", i, c.Err)
		case i%5 != 4 && (c.Created != (i < 500) || c.Entry.Revision == 0 || string(c.Entry.Value) != fmt.Sprint(i)):
			t.Fatalf("change %d: %+v", i, c)
		}
	}
	if n := commits.Load(); n > 4 {
		t.Errorf("%d commits for 2000 changes", n)
	}
	for i := range 500 {
		want := i + 1500
		if want%10 == 4 {
			// An earlier write of the key was refused too: the key was never written.
			if _, err := r.Get(t.Context(), store.User.Key(fmt.Sprint(i)), store.ReadOptions{}); !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("%d: %v", i, err)
			}
			continue
		}
		got, err := r.Get(t.Context(), store.User.Key(fmt.Sprint(i)), store.ReadOptions{})
		if err != nil || string(got.Entry.Value) != fmt.Sprint(want) {
			t.Fatalf("key %d: %s, %v; want %d", i, got.Entry.Value, err, want)
		}
	}
}

func TestUpdateEachFailsOneByOne(t *testing.T) {
	o := storetest.Options()
	o.MaxValueBytes = 1000
	o.QueueEntries = 50
	r := storetest.New(t, 2, o)
	cs := changes("", 3)
	cs[1].Entry.Value = make([]byte, 1001)
	r.UpdateEach(t.Context(), cs)
	if cs[0].Err != nil || !errors.As(cs[1].Err, new(*store.TooLargeError)) || cs[2].Err != nil {
		t.Errorf("%v, %v, %v", cs[0].Err, cs[1].Err, cs[2].Err)
	}
	cs = changes("many", 60)
	r.UpdateEach(t.Context(), cs)
	for i, c := range cs {
		if i < 50 != (c.Err == nil) || i >= 50 && !errors.Is(c.Err, store.ErrMasterUnavailable) {
			t.Errorf("change %d of 60 with room for 50: %v", i, c.Err)
		}
	}
	r.Parts[0].Fail(func(op string) error {
		if op == memory.OpCommitted {
			return partition.ErrUnavailable
		}
		return nil
	})
	cs = changes("unknown", 5)
	r.UpdateEach(t.Context(), cs)
	for _, c := range cs {
		if !errors.Is(c.Err, store.ErrOutcomeUnknown) {
			t.Errorf("%v", c.Err)
		}
	}
	r.Parts[0].Fail(func(string) error { return partition.ErrUnavailable })
	storetest.Eventually(t, "no master", func() bool {
		cs := changes("away", 2)
		r.UpdateEach(t.Context(), cs)
		return errors.Is(cs[0].Err, store.ErrMasterUnavailable) && errors.Is(cs[1].Err, store.ErrMasterUnavailable)
	})
	r.UpdateEach(t.Context(), nil)
}

// TestUpdateEachIsWithdrawnOnlyBeforeItsCommit: when ctx ends, writes that a commit has
// taken get its outcome, and the others are never made.
func TestUpdateEachIsWithdrawnOnlyBeforeItsCommit(t *testing.T) {
	o := storetest.Options()
	o.BatchEntries = 10
	r := storetest.New(t, 1, o)
	ctx, cancel := context.WithCancel(t.Context())
	r.Parts[0].Fail(func(op string) error {
		if op == memory.OpCommit {
			cancel()
			<-time.After(20 * time.Millisecond) // the cancellation happens now
		}
		return nil
	})
	cs := changes("", 100)
	r.UpdateEach(ctx, cs)
	r.Parts[0].Fail(nil)
	done := 0
	for _, c := range cs {
		_, err := r.Get(t.Context(), c.Entry.Key, store.ReadOptions{})
		if (c.Err == nil) != (err == nil) {
			t.Errorf("%s: told %v, but it reads as %v", c.Entry.Key, c.Err, err)
		}
		if c.Err == nil {
			done++
		} else if !errors.Is(c.Err, context.Canceled) {
			t.Error(c.Err)
		}
	}
	if done == 0 || done == len(cs) {
		t.Errorf("%d of %d were done", done, len(cs))
	}
}

// TestUnknownOutcomeIsNotTriedAgain: a function must not run again over its own writes,
// whatever else the error wraps.
func TestUnknownOutcomeIsNotTriedAgain(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Parts[0].Fail(func(op string) error {
		if op == memory.OpCommitted {
			return partition.ErrUnavailable
		}
		return nil
	})
	key, decided := store.User.Key("a"), 0
	err := r.Update(t.Context(), []store.Key{key}, store.UpdateOptions{WithoutValues: true}, func(v *store.Tx) error {
		decided++
		if _, deleted := v.Delete(key); !deleted {
			return store.ErrNotFound
		}
		return nil
	})
	if !errors.Is(err, store.ErrOutcomeUnknown) || decided != 1 {
		t.Errorf("%v after deciding %d times", err, decided)
	}
}

// TestCopyWaitsNoLongerThanAnOperation: a partition that hangs costs its timeout. A
// replacement is asked only if the failure comes in time.
func TestCopyWaitsNoLongerThanAnOperation(t *testing.T) {
	o := storetest.Options()
	o.Timeout = 200 * time.Millisecond
	r := storetest.New(t, 3, o)
	r.MustPut(t, "a", "1")
	r.Level(t)
	e := r.MustPut(t, "a", "2")
	hang := make(chan struct{})
	defer close(hang)
	for _, p := range r.Parts[1:] {
		p.Fail(func(op string) error {
			if op == memory.OpApply {
				select {
				case <-hang:
				case <-time.After(time.Second):
				}
			}
			return nil
		})
	}
	held, err := r.Copy(t.Context(), e, 2)
	if held != 1 || err == nil {
		t.Errorf("%d copies, %v", held, err)
	}
	r.Parts[1].Fail(nil)
	r.Parts[2].Fail(nil)
	if held, err := r.Copy(t.Context(), e, 3); held != 3 || err != nil {
		t.Errorf("%d copies, %v", held, err)
	}
}
