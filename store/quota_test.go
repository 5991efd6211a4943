package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
)

// awaitMeasured waits until the use of every quota was measured.
func awaitMeasured(t *testing.T, r *storetest.Rig) {
	t.Helper()
	storetest.Eventually(t, "measurement of the quotas", func() bool {
		for _, q := range r.Status().Quotas {
			if q.MeasuredAt.IsZero() {
				return false
			}
		}
		return true
	})
}

func putSize(t *testing.T, r *storetest.Rig, name string, size int) error {
	t.Helper()
	_, err := r.Put(t.Context(), store.Entry{Key: store.User.Key(name), Value: []byte(strings.Repeat("v", size))})
	return err
}

// wantExceeded fails the test unless err is about the quota of a prefix.
func wantExceeded(t *testing.T, err error, prefix, unit string) {
	t.Helper()
	if e, ok := errors.AsType[*store.QuotaError](err); !ok || e.Prefix != prefix || e.Unit != unit {
		t.Errorf("%v, want that the quota %q of %s is exceeded", err, prefix, unit)
	}
}

// TestQuotasRefuseGrowthAlone fills nested quotas to the limit, with Puts that read nothing.
func TestQuotasRefuseGrowthAlone(t *testing.T) {
	o := storetest.Options()
	o.Quotas = []store.Quota{{MaxKeys: 4}, {Prefix: "a/", MaxBytes: 100}}
	r := storetest.New(t, 1, o)
	awaitMeasured(t, r)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(putSize(t, r, "a/1", 60))
	wantExceeded(t, putSize(t, r, "a/2", 41), "a/", "bytes")
	must(putSize(t, r, "a/2", 40))
	must(putSize(t, r, "a/1", 60)) // the limit is reached, and nothing grows
	wantExceeded(t, putSize(t, r, "a/1", 61), "a/", "bytes")
	must(putSize(t, r, "a/1", 50))
	must(putSize(t, r, "a/2", 50))
	must(putSize(t, r, "b/1", 1000))
	must(putSize(t, r, "b/2", 1000))
	wantExceeded(t, putSize(t, r, "b/3", 0), "", "keys")
	_, err := r.Put(t.Context(), store.Entry{Key: "sys/key/x", Value: []byte("{}")}) // not of users
	must(err)

	a, b := store.User.Key("a/1"), store.User.Key("a/9")
	move := func(size int) error {
		return r.Update(t.Context(), []store.Key{a, b}, store.UpdateOptions{}, func(tx *store.Tx) error {
			tx.Delete(a)
			tx.Put(store.Entry{Key: b, Value: make([]byte, size)})
			return nil
		})
	}
	wantExceeded(t, move(51), "a/", "bytes")
	if got, err := r.Get(t.Context(), a, store.ReadOptions{Consistency: store.FromMaster}); err != nil || got.Entry.Size != 50 {
		t.Errorf("a refused update has changed a part: %+v, %v", got.Entry, err)
	}
	must(move(50))
	r.Remove(t, "a/9")
	must(putSize(t, r, "c", 1))
	for i, want := range []store.QuotaStatus{{Quota: o.Quotas[0]}, {Quota: o.Quotas[1]}} {
		want.Used.Keys, want.Used.Bytes = 4, 2051
		if i == 1 {
			want.Used.Keys, want.Used.Bytes = 1, 50
		}
		if got := r.Status().Quotas[i]; got.Used != want.Used || got.Quota != want.Quota {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// TestQuotasJudgeTheWritesOfABatchOneByOne mixes growing and shrinking writes in shared commits.
func TestQuotasJudgeTheWritesOfABatchOneByOne(t *testing.T) {
	o := storetest.Options()
	o.Quotas = []store.Quota{{Prefix: "a/", MaxKeys: 2}}
	r := storetest.New(t, 1, o)
	awaitMeasured(t, r)
	remove := func(k store.Key) func(*store.Tx) error {
		return func(tx *store.Tx) error { tx.Delete(k); return nil }
	}
	a1 := store.User.Key("a/1")
	writes := []store.Write{
		{Entry: store.Entry{Key: a1}}, {Entry: store.Entry{Key: store.User.Key("a/2")}},
		{Entry: store.Entry{Key: store.User.Key("a/3")}}, {Entry: store.Entry{Key: store.User.Key("b")}},
		{Entry: store.Entry{Key: a1}, Update: remove(a1)}, {Entry: store.Entry{Key: store.User.Key("a/4")}},
		{Entry: store.Entry{Key: store.User.Key("a/5")}},
	}
	r.UpdateEach(t.Context(), writes)
	for i, w := range writes {
		if i == 2 || i == 6 {
			wantExceeded(t, w.Err, "a/", "keys")
		} else if w.Err != nil {
			t.Errorf("write %d: %v", i, w.Err)
		}
	}
	page, err := r.List(t.Context(), store.ListOptions{Space: store.User, ReadOptions: store.ReadOptions{Consistency: store.FromMaster}})
	if err != nil || len(page.Entries) != 3 {
		t.Errorf("%d entries were stored: %v", len(page.Entries), err)
	}
}

// TestQuotasOfAStoreWithUse: a store that starts knows the use by all masters, and quotas can be set
// while the store is running. Racing writers on both masters get exactly the room that is left.
func TestQuotasOfAStoreWithUse(t *testing.T) {
	first := storetest.New(t, 2, storetest.Options(), "p0", "p1")
	for i := range 20 {
		first.MustPut(t, fmt.Sprintf("a/%d", i), "v")
	}
	r := &storetest.Rig{}
	for _, p := range first.Parts {
		r.Parts = append(r.Parts, p.Reopen())
	}
	r.Start(t, storetest.Options(), "p0", "p1")
	r.SetQuotas([]store.Quota{{Prefix: "a/", MaxKeys: 50}})
	awaitMeasured(t, r)
	var writers sync.WaitGroup
	errs := make([]error, 100)
	for i := range errs {
		writers.Go(func() { errs[i] = putSize(t, r, fmt.Sprintf("a/new-%d", i), 1) })
	}
	writers.Wait()
	stored := 0
	for _, err := range errs {
		if err == nil {
			stored++
		} else {
			wantExceeded(t, err, "a/", "keys")
		}
	}
	if stored != 30 {
		t.Errorf("%d entries were stored where 30 fit", stored)
	}
	r.SetQuotas(nil)
	if err := putSize(t, r, "a/more", 1); err != nil || len(r.Status().Quotas) != 0 {
		t.Errorf("without quotas: %v", err)
	}
}

// TestQuotasCountOverwritesExactly replaces an entry far below the limit, where a Put of a known key
// reads nothing.
func TestQuotasCountOverwritesExactly(t *testing.T) {
	o := storetest.Options()
	o.Quotas = []store.Quota{{MaxBytes: 1 << 30}}
	r := storetest.New(t, 1, o)
	awaitMeasured(t, r)
	for _, size := range []int{1000, 10, 300} {
		if err := putSize(t, r, "a", size); err != nil {
			t.Fatal(err)
		}
		if got := r.Status().Quotas[0].Used; got.Keys != 1 || got.Bytes != int64(size) {
			t.Errorf("after a value of %d bytes %+v are in use", size, got)
		}
	}
}
