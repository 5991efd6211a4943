package feed_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

var userChanges = store.ChangeOptions{Space: store.User, Values: true, Limit: store.MaxLimit}

func names(entries []store.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		if e.Deleted {
			b.WriteByte('-')
		}
		fmt.Fprintf(&b, "%s=%s ", store.Name(e.Key), e.Value)
	}
	return strings.TrimSpace(b.String())
}

func TestChangesGiveTheLatestStateOfEachKeyInOrder(t *testing.T) {
	r := storetest.New(t, 3, storetest.Options())
	r.MustPut(t, "a", "1")
	r.MustPut(t, "b", "1")
	r.MustPut(t, "a", "2")
	r.MustPut(t, "c", "1")
	r.Remove(t, "b")
	r.Level(t)
	all, end := r.ReadAll(t, store.ChangeToken{}, userChanges)
	if got := names(all); got != "a=2 c=1 -b=" {
		t.Errorf("from the beginning: %s", got)
	}
	r.MustPut(t, "d", "1")
	r.MustPut(t, "a", "3")
	r.Level(t)
	if all, _ = r.ReadAll(t, end, userChanges); names(all) != "d=1 a=3" {
		t.Errorf("after that: %s", names(all))
	}
	one := userChanges
	one.Limit = 1
	if all, _ = r.ReadAll(t, store.ChangeToken{}, one); names(all) != "c=1 -b= d=1 a=3" {
		t.Errorf("in pages of one: %s", names(all))
	}
	heads := userChanges
	heads.Values, heads.Prefix = false, "d"
	if all, _ = r.ReadAll(t, store.ChangeToken{}, heads); len(all) != 1 || all[0].Value != nil || all[0].Size != 1 {
		t.Errorf("without values, by prefix: %+v", all)
	}
	now, err := r.ChangesNow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if all, _ = r.ReadAll(t, now, userChanges); len(all) != 0 {
		t.Errorf("since now: %s", names(all))
	}
}

// TestEveryTokenOfAPageResumesBehindItsEntry resumes after each single entry.
func TestEveryTokenOfAPageResumesBehindItsEntry(t *testing.T) {
	r := storetest.New(t, 3, storetest.Options(), "p0", "p1")
	for i := range 20 {
		r.MustPut(t, fmt.Sprintf("k%d", i), "v")
	}
	r.Level(t)
	page, err := r.Changes(t.Context(), store.ChangeToken{}, userChanges)
	if err != nil || len(page.Entries) != 20 {
		t.Fatalf("%d entries, %v", len(page.Entries), err)
	}
	i := 0
	for _, token := range page.All() {
		i++
		parsed, err := store.ParseChangeToken(token.String())
		if err != nil {
			t.Fatal(err)
		}
		left, _ := r.ReadAll(t, parsed, userChanges)
		if got := sorted(left); !slices.Equal(got, sorted(page.Entries[i:])) {
			t.Errorf("behind entry %d: %v, want %v", i, got, sorted(page.Entries[i:]))
		}
	}
}

func sorted(entries []store.Entry) []string {
	var all []string
	for _, e := range entries {
		all = append(all, string(e.Key))
	}
	slices.Sort(all)
	return all
}

// TestChangesOfACopiedWriteBringAllBeforeIt: after a write was copied at once, the feed of
// the replica also has the changes before that write.
func TestChangesOfACopiedWriteBringAllBeforeIt(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	_, token := r.ReadAll(t, store.ChangeToken{}, userChanges)
	r.MustPut(t, "between", "1")
	copied := r.MustPut(t, "copied", "1")
	if _, err := r.Copy(t.Context(), copied, store.EveryReachable); err != nil {
		t.Fatal(err)
	}
	if all, _ := r.ReadAll(t, token, userChanges); names(all) != "between=1 copied=1" {
		t.Errorf("after the copy: %s", names(all))
	}
}

// TestChangesAreNotReadAmidACatchUp: the only replica holds a part of a multi-step
// catch-up, so that its position is ahead of its contents.
func TestChangesAreNotReadAmidACatchUp(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	_, token := r.ReadAll(t, store.ChangeToken{}, userChanges)
	r.MustPut(t, "b", "1")
	last := r.MustPut(t, "c", "1")
	at, err := r.Parts[1].Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	from := at.Origins["p0"].Revision
	step := partition.Copy{Origin: "p0", From: from, To: from + 1, Goal: last.Revision}
	if err := r.Parts[1].Apply(t.Context(), step); err != nil { // as if b had been overwritten meanwhile
		t.Fatal(err)
	}
	page, err := r.Changes(t.Context(), token, userChanges)
	if err != nil || page.Partition != "p0" {
		t.Fatalf("read from %q, %v", page.Partition, err)
	}
	if names(page.Entries) != "b=1 c=1" {
		t.Errorf("%s", names(page.Entries))
	}
}

// away makes a partition fail every operation until Fail(nil).
func away(p *memory.Partition) {
	p.Fail(func(string) error { return partition.ErrUnavailable })
}

// TestChangesNeverGoBack: the partition that gave the token goes away. The remaining
// partition is behind the token and must not be read before it has caught up.
func TestChangesNeverGoBack(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	r.MustPut(t, "b", "1")
	page, err := r.Changes(t.Context(), store.ChangeToken{}, userChanges)
	if err != nil || page.Partition != "p1" || names(page.Entries) != "a=1" {
		t.Fatalf("%q: %s, %v", page.Partition, names(page.Entries), err)
	}
	away(r.Parts[1])
	storetest.Eventually(t, "p1 away", func() bool { return r.Status().Partitions[1].Err != nil })
	page, err = r.Changes(t.Context(), page.Next, userChanges)
	if err != nil || page.Partition != "p0" || names(page.Entries) != "b=1" {
		t.Fatalf("%q: %s, %v", page.Partition, names(page.Entries), err)
	}
	r.Parts[1].Fail(nil)
	away(r.Parts[0])
	storetest.Eventually(t, "p0 away", func() bool { return r.Status().Partitions[0].Err != nil && r.Status().Partitions[1].Err == nil })
	if page, err := r.Changes(t.Context(), page.Next, userChanges); !errors.Is(err, store.ErrNoPartition) {
		t.Errorf("the partition behind gave %s, %v", names(page.Entries), err)
	}
	r.Parts[0].Fail(nil)
}

func TestChangesTooOldAskForAResync(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.MustPut(t, "b", "1")
	r.Level(t)
	one := userChanges
	one.Limit = 1
	begun, err := r.Changes(t.Context(), store.ChangeToken{}, one)
	if err != nil || names(begun.Entries) != "a=1" {
		t.Fatal(names(begun.Entries), err)
	}
	_, old := r.ReadAll(t, store.ChangeToken{}, userChanges)
	r.Remove(t, "a")
	r.MustPut(t, "c", "1")
	r.Level(t)
	r.Collect(t)
	for what, token := range map[string]store.ChangeToken{"level before": old, "amid the beginning": begun.Next} {
		if page, err := r.Changes(t.Context(), token, userChanges); !errors.Is(err, store.ErrResync) {
			t.Errorf("%s: %s, %v", what, names(page.Entries), err)
		}
	}
	// A reader that starts now misses nothing, however much was collected before.
	page, err := r.Changes(t.Context(), store.ChangeToken{}, one)
	for err == nil && page.More {
		page, err = r.Changes(t.Context(), page.Next, one)
	}
	if err != nil {
		t.Errorf("from the beginning: %v", err)
	}
}

func TestWatchGivesWhatComes(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	w := r.Watch(store.ChangeToken{}, userChanges)
	defer w.Close()
	next := func(want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		page, err := w.Next(ctx)
		if err != nil || names(page.Entries) != want {
			t.Fatalf("%s, %v; want %s", names(page.Entries), err, want)
		}
	}
	next("a=1")
	for i := range 3 {
		r.MustPut(t, "b", fmt.Sprint(i))
		r.Level(t)
		next(fmt.Sprintf("b=%d", i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if page, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nothing changed, but %s, %v", names(page.Entries), err)
	}
	r.MustPut(t, "c", "1")
	r.Level(t)
	next("c=1")
}

func TestMangledChangeTokensAreRefused(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	_, token := r.ReadAll(t, store.ChangeToken{}, userChanges)
	text := token.String()
	for i := range text {
		b := []byte(text)
		if b[i]++; b[i] > 'z' {
			b[i] = 'A'
		}
		parsed, err := store.ParseChangeToken(string(b))
		if err == nil { // the change hit the cluster's tag
			_, err = r.Changes(t.Context(), parsed, userChanges)
		}
		if !errors.Is(err, store.ErrToken) && !errors.Is(err, store.ErrForeignToken) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	for _, bad := range []string{"x", "%", text[1:], text + "A", text + text, strings.Repeat("A", 1<<20)} {
		if _, err := store.ParseChangeToken(bad); !errors.Is(err, store.ErrToken) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
	other := storetest.New(t, 2, storetest.Options())
	if _, err := other.Changes(t.Context(), token, userChanges); !errors.Is(err, store.ErrForeignToken) {
		t.Errorf("a token of another cluster: %v", err)
	}
}

// TestChangesOfAMasterWaitForItsBarrier reads from a lone master whose barrier fails:
// visible changes may not be durable and must not be returned.
func TestChangesOfAMasterWaitForItsBarrier(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Parts[0].Fail(func(op string) error {
		if op == memory.OpBarrier {
			return partition.ErrUnavailable
		}
		return nil
	})
	if page, err := r.Changes(t.Context(), store.ChangeToken{}, userChanges); !errors.Is(err, store.ErrNoPartition) {
		t.Errorf("without a barrier: %s, %v", names(page.Entries), err)
	}
	if _, err := r.ChangesNow(t.Context()); !errors.Is(err, store.ErrNoPartition) {
		t.Errorf("now, without a barrier: %v", err)
	}
	r.Parts[0].Fail(nil)
	if page, err := r.Changes(t.Context(), store.ChangeToken{}, userChanges); err != nil || names(page.Entries) != "a=1" {
		t.Errorf("with one: %s, %v", names(page.Entries), err)
	}
}

// TestWatchThatFallsBehindMissesNothing stops a watcher during more changes than the tail
// keeps.
func TestWatchThatFallsBehindMissesNothing(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	now, err := r.ChangesNow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stalled, quick := r.Watch(now, userChanges), r.Watch(now, userChanges)
	defer stalled.Close()
	defer quick.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r.MustPut(t, "first", "1")
	if page, err := stalled.Next(ctx); err != nil || names(page.Entries) != "first=1" {
		t.Fatal(names(page.Entries), err)
	}
	moment, end := context.WithTimeout(ctx, 50*time.Millisecond)
	defer end()
	if _, err := stalled.Next(moment); !errors.Is(err, context.DeadlineExceeded) { // the watcher has caught up with the tail
		t.Fatal(err)
	}
	const keys = 12_000 // the tail keeps 8192
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for k := i; k < keys; k += 8 {
				r.Put(ctx, store.Entry{Key: store.User.Key(fmt.Sprint(k))})
			}
		})
	}
	for _, c := range []struct {
		w    *store.Watch
		want int
	}{{quick, keys + 1}, {stalled, keys}} {
		seen := map[store.Key]bool{}
		for len(seen) < c.want {
			page, err := c.w.Next(ctx)
			if err != nil {
				t.Fatalf("%d of %d, then %v", len(seen), c.want, err)
			}
			for _, e := range page.Entries {
				seen[e.Key] = true
			}
		}
	}
	group.Wait()
}

// TestPagesOfARarePrefixAreBounded reads a prefix that matches few entries.
func TestPagesOfARarePrefixAreBounded(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	entries := make([]store.Entry, 25_000)
	for i := range entries {
		entries[i] = store.Entry{Key: store.User.Key(fmt.Sprint("common/", i)), Origin: "p0", Revision: 1<<40 + store.Revision(i) + 1, Checksum: partition.Checksum(nil)}
	}
	entries[24_000].Key = store.User.Key("rare/1")
	r.Parts[0].Plant(entries...)
	if _, err := r.Parts[0].Commit(t.Context(), partition.Batch{Epoch: 1, Revisions: len(entries) + 1,
		Write: []store.Entry{{Key: store.User.Key("last"), Revision: store.Revision(len(entries))}}}); err != nil {
		t.Fatal(err)
	}
	o := userChanges
	o.Prefix = "rare/"
	var since store.ChangeToken
	pages := 0
	for {
		page, err := r.Changes(t.Context(), since, o)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		if since = page.Next; len(page.Entries) > 0 {
			break
		}
		if !page.More {
			t.Fatalf("nothing in %d pages", pages)
		}
	}
	if pages != 3 {
		t.Errorf("%d pages, want 3 of 10,000 entries each", pages)
	}
}

// TestExpiredEntriesComeAsDeleted reads an entry before and after its expiry.
func TestExpiredEntriesComeAsDeleted(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	key := store.User.Key("a")
	err := r.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error {
		v.Put(store.Entry{Key: key, Value: []byte("1"), ExpiresAt: v.Now().Add(300 * time.Millisecond)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if all, _ := r.ReadAll(t, store.ChangeToken{}, userChanges); names(all) != "a=1" || all[0].ExpiresAt == 0 {
		t.Errorf("before: %s", names(all))
	}
	storetest.Eventually(t, "expiry", func() bool {
		all, _ := r.ReadAll(t, store.ChangeToken{}, userChanges)
		return names(all) == "-a="
	})
}

// TestDamagedChangesAreReadElsewhere damages the value first on the replica that is read, which is repaired, then on every
// partition.
func TestDamagedChangesAreReadElsewhere(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	e := r.MustPut(t, "a", "1")
	r.Level(t)
	damaged := e
	damaged.Value = []byte("x")
	r.Parts[1].Plant(damaged)
	if page, err := r.Changes(t.Context(), store.ChangeToken{}, userChanges); err != nil || names(page.Entries) != "a=1" {
		t.Errorf("one copy damaged: %s, %v", names(page.Entries), err)
	}
	storetest.Eventually(t, "the repair of the replica", func() bool {
		rows, err := r.Parts[1].Get(t.Context(), []partition.Key{e.Key})
		return err == nil && len(rows) == 1 && rows[0].Intact()
	})
	r.Parts[0].Plant(damaged)
	r.Parts[1].Plant(damaged)
	if page, err := r.Changes(t.Context(), store.ChangeToken{}, userChanges); err == nil {
		t.Errorf("all copies damaged: %s", names(page.Entries))
	}
}
