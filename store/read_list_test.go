package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
)

// TestListAgreesWithAModel compares pages of random listings with names sorted and grouped
// in memory.
func TestListAgreesWithAModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	r := storetest.New(t, 2, storetest.Options())
	var names []string
	for range 400 {
		name := strings.Trim(strings.Repeat("a/", rnd.IntN(3)), "") + fmt.Sprint(rnd.IntN(30)) + strings.Repeat("/", rnd.IntN(3)) + string(rune('a'+rnd.IntN(3)))
		if !slices.Contains(names, name) {
			names = append(names, name)
			r.MustPut(t, name, name)
		}
	}
	for _, name := range names[:len(names)/4] { // with tombstones in between
		key := store.User.Key(name)
		if err := r.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error { v.Delete(key); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	names = names[len(names)/4:]
	r.Level(t)
	for range 200 {
		o := store.ListOptions{
			Space:     store.User,
			Prefix:    []string{"", "a", "a/", "a/a/", "1", "a/2", "zzz"}[rnd.IntN(7)],
			Delimiter: []string{"", "/", "//", "a"}[rnd.IntN(4)],
			Limit:     1 + rnd.IntN(40),
			Values:    rnd.IntN(2) == 0,
		}
		want := model(names, o.Prefix, o.Delimiter)
		if got := walk(t, r.List, o); !cmp.Equal(got, want) {
			t.Fatalf("%+v: %s", o, cmp.Diff(want, got))
		}
		if got := walk(t, r.Union, o); !cmp.Equal(got, want) {
			t.Fatalf("union %+v: %s", o, cmp.Diff(want, got))
		}
	}
}

func model(names []string, prefix, delimiter string) (items []string) {
	for _, name := range slices.Sorted(slices.Values(names)) {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		if i := strings.Index(rest, delimiter); delimiter != "" && i >= 0 {
			name = name[:len(prefix)+i+len(delimiter)]
		}
		if len(items) == 0 || items[len(items)-1] != name {
			items = append(items, name)
		}
	}
	slices.Sort(items)
	return slices.Compact(items)
}

// walk reads a listing page by page to the end.
func walk(t *testing.T, list func(context.Context, store.ListOptions) (store.Page, error), o store.ListOptions) (items []string) {
	t.Helper()
	for {
		page, err := list(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		n := len(page.Entries) + len(page.Prefixes)
		if n > o.Limit || n == 0 && page.Next != "" {
			t.Fatalf("%+v: a page of %d items, next %q", o, n, page.Next)
		}
		var part []string
		for _, e := range page.Entries {
			if o.Values && string(e.Value) != store.Name(e.Key) {
				t.Fatalf("%s has the value %q", e.Key, e.Value)
			}
			part = append(part, store.Name(e.Key))
		}
		items = append(items, slices.Sorted(slices.Values(append(part, page.Prefixes...)))...)
		if page.Next == "" {
			return items
		}
		o.After = page.Next
	}
}

// TestListFromMastersIsCurrent lists new writes of several masters that no replica holds
// yet.
func TestListFromMastersIsCurrent(t *testing.T) {
	r := storetest.New(t, 3, storetest.Options(), "p0", "p1")
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("%c/%d", 'a'+i%7, i))
		r.MustPut(t, names[i], names[i])
	}
	o := store.ListOptions{ReadOptions: store.ReadOptions{Consistency: store.FromMaster}, Space: store.User, Limit: 9, Values: true}
	if got, want := walk(t, r.List, o), model(names, "", ""); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	o.Delimiter = "/"
	if got, want := walk(t, r.List, o), model(names, "", "/"); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	r.Parts[1].Fail(func(string) error { return partition.ErrUnavailable })
	if _, err := r.List(t.Context(), o); !errors.Is(err, store.ErrMasterUnavailable) {
		t.Errorf("with a master away: %v", err)
	}
}

func TestLastPageThatIsFullSaysSo(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	r.MustPut(t, "a", "1")
	r.MustPut(t, "b/1", "1")
	for _, o := range []store.ListOptions{{Limit: 2}, {Limit: 2, Delimiter: "/"}} {
		o.Space = store.User
		if page, err := r.List(t.Context(), o); err != nil || page.Next != "" {
			t.Errorf("%+v: next is %q, %v", o, page.Next, err)
		}
		o.Limit = 1
		if page, err := r.List(t.Context(), o); err != nil || page.Next != "a" {
			t.Errorf("%+v: next is %q, %v", o, page.Next, err)
		}
	}
}

func TestUnionShowsWhatAnyPartitionHolds(t *testing.T) {
	r := storetest.New(t, 3, storetest.Options())
	r.MustPut(t, "a", "1")
	r.MustPut(t, "b", "1")
	r.Level(t)
	r.MustPut(t, "b", "2")
	r.MustPut(t, "c", "1")
	page, err := r.Union(t.Context(), store.ListOptions{Space: store.User, Values: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range page.Entries {
		got = append(got, store.Name(e.Key)+"="+string(e.Value))
	}
	if want := []string{"a=1", "b=2", "c=1"}; !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	page, err = r.List(t.Context(), store.ListOptions{ReadOptions: store.ReadOptions{Partition: "p2"}, Space: store.User})
	if err != nil || len(page.Entries) != 2 {
		t.Errorf("one partition alone lists %+v, %v", page.Entries, err)
	}
}
