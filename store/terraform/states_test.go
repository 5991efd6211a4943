package terraform_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/lock"
	"github.com/runnelkv/runnel/store/terraform"
)

// rig is a store with states.
type rig struct {
	*storetest.Rig
	states *terraform.States
	locks  *lock.Locks
}

func newRig(t *testing.T, keep int) *rig {
	t.Helper()
	r := &rig{Rig: storetest.New(t, 2, storetest.Options())}
	r.locks = lock.New(r.Store)
	r.states = terraform.New(r.Store, r.locks, keep)
	return r
}

// state returns a state that is not empty.
func state(serial uint64, lineage string) *terraform.State {
	return &terraform.State{Text: fmt.Appendf(nil, `{"serial":%d,"lineage":%q}`, serial, lineage), Serial: serial, Lineage: lineage}
}

// put stores a state, which must succeed.
func (r *rig) put(t *testing.T, name string, st *terraform.State, o terraform.PutOptions) terraform.Version {
	t.Helper()
	v, _, err := r.states.Put(t.Context(), name, st, o)
	if err != nil {
		t.Fatalf("Put(%s, serial %d): %v", name, st.Serial, err)
	}
	return v
}

// text returns the text of a version; "" if there is no such version.
func (r *rig) text(t *testing.T, name string, id store.Revision) string {
	t.Helper()
	v, text, err := r.states.Get(t.Context(), name, id, func(int64) error { return nil })
	if errors.Is(err, store.ErrNotFound) {
		return ""
	}
	if err != nil || v.Size != int64(len(text)) {
		t.Fatalf("Get(%s, %d): %v, %d bytes of %d", name, id, err, len(text), v.Size)
	}
	return string(text)
}

// acquire locks a state as a tool does.
func (r *rig) acquire(t *testing.T, name, id string) error {
	t.Helper()
	return r.states.Lock(t.Context(), name, terraform.LockRequest{ID: id, Who: "ann@host", Info: fmt.Appendf(nil, `{"ID":%q}`, id)})
}

func wantLocked(t *testing.T, what string, err error, id string) {
	t.Helper()
	locked, ok := errors.AsType[*store.LockedError](err)
	if !ok || terraform.LockID(locked.Holder.Info, locked.Holder.Fence) != id {
		t.Errorf("%s: %v, want a lock with the id %q", what, err, id)
	}
}

func TestStateFollowsLineageAndSerial(t *testing.T) {
	r := newRig(t, 0)
	r.put(t, "a", state(3, "one"), terraform.PutOptions{})
	other := state(3, "one")
	other.Text = append(other.Text, ' ')
	for _, c := range []struct {
		st     *terraform.State
		reason terraform.Reason
	}{
		{state(2, "one"), terraform.LowerSerial}, {other, terraform.SameSerial}, {state(4, "two"), terraform.DifferentLineage}, {state(3, "two"), terraform.DifferentLineage},
	} {
		_, _, err := r.states.Put(t.Context(), "a", c.st, terraform.PutOptions{})
		if conflict, ok := errors.AsType[*terraform.ConflictError](err); !ok || conflict.Reason != c.reason || conflict.Standing.Serial != 3 {
			t.Errorf("serial %d, lineage %s: %v, want %s", c.st.Serial, c.st.Lineage, err, c.reason)
		}
	}
	if got := r.text(t, "a", 0); got != string(state(3, "one").Text) {
		t.Errorf("a refused state was stored: %s", got)
	}
	if v, isNew, err := r.states.Put(t.Context(), "a", state(3, "one"), terraform.PutOptions{}); err != nil || isNew || v.Serial != 3 {
		t.Errorf("the same state again: %+v %v %v", v, isNew, err)
	}
	r.put(t, "a", state(9, "one"), terraform.PutOptions{})
	r.put(t, "a", state(1, "two"), terraform.PutOptions{Force: true})
	if got := r.text(t, "a", 0); got != string(state(1, "two").Text) {
		t.Errorf("after force: %s", got)
	}
	if kept, stands, err := r.states.History(t.Context(), "a"); err != nil || !stands || len(kept) != 3 {
		t.Errorf("history: %+v %v %v", kept, stands, err)
	}
}

// TestEmptyStateGivesWayToAnyLineage: after a destroy, a new configuration may use the name.
func TestEmptyStateGivesWayToAnyLineage(t *testing.T) {
	r := newRig(t, 0)
	empty := state(5, "one")
	empty.Empty = true
	r.put(t, "a", empty, terraform.PutOptions{})
	_, _, err := r.states.Put(t.Context(), "a", state(4, "one"), terraform.PutOptions{})
	if conflict, ok := errors.AsType[*terraform.ConflictError](err); !ok || conflict.Reason != terraform.LowerSerial {
		t.Errorf("an older state over the empty state: %v", err)
	}
	r.put(t, "a", state(1, "two"), terraform.PutOptions{})
}

func TestLastVersionsAreKept(t *testing.T) {
	r := newRig(t, 3)
	var ids []store.Revision
	for i := range 6 {
		ids = append(ids, r.put(t, "a", state(uint64(i+1), "one"), terraform.PutOptions{}).ID)
	}
	for i, id := range ids {
		want := ""
		if i >= 3 {
			want = string(state(uint64(i+1), "one").Text)
		}
		if got := r.text(t, "a", id); got != want {
			t.Errorf("version %d: %q, want %q", i+1, got, want)
		}
	}
	// Nothing is left of the versions that are not kept.
	page, err := r.List(t.Context(), store.ListOptions{Space: "terraform-version", ReadOptions: store.ReadOptions{Consistency: store.FromMaster}})
	if err != nil || len(page.Entries) != 3 {
		t.Errorf("%d texts are stored: %v", len(page.Entries), err)
	}
	// A smaller number is reached step by step.
	fewer := terraform.New(r.Store, r.locks, 1)
	for i := range 2 {
		if _, _, err := fewer.Put(t.Context(), "a", state(uint64(i+7), "one"), terraform.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if kept, _, err := r.states.History(t.Context(), "a"); err != nil || len(kept) != 1 || kept[0].Serial != 8 {
		t.Errorf("after a smaller number: %+v %v", kept, err)
	}
}

// TestOnlyTheHolderOfTheLockWrites: the lock is checked by id in the Update that stores or deletes.
func TestOnlyTheHolderOfTheLockWrites(t *testing.T) {
	r := newRig(t, 0)
	if err := r.acquire(t, "a", "one"); err != nil {
		t.Fatal(err)
	}
	if err := r.acquire(t, "a", "one"); err != nil {
		t.Errorf("the same lock again: %v", err)
	}
	wantLocked(t, "a second lock", r.acquire(t, "a", "two"), "one")
	for _, id := range []string{"", "two"} {
		_, _, err := r.states.Put(t.Context(), "a", state(1, "one"), terraform.PutOptions{LockID: id, Force: true})
		wantLocked(t, "Put with the id "+id, err, "one")
		_, err = r.states.Delete(t.Context(), "a", id)
		wantLocked(t, "Delete with the id "+id, err, "one")
		wantLocked(t, "Unlock with the id two", r.states.Unlock(t.Context(), "a", "two"), "one")
	}
	r.put(t, "a", state(1, "one"), terraform.PutOptions{LockID: "one"})
	r.put(t, "b", state(1, "one"), terraform.PutOptions{}) // another name
	for range 2 {
		if err := r.states.Unlock(t.Context(), "a", "one"); err != nil {
			t.Errorf("Unlock: %v", err)
		}
	}
	_, _, err := r.states.Put(t.Context(), "a", state(2, "one"), terraform.PutOptions{LockID: "one"})
	if lost, ok := errors.AsType[*terraform.LostError](err); !ok || lost.ID != "one" {
		t.Errorf("Put after the unlock: %v", err)
	}
	if err := r.acquire(t, "a", "two"); err != nil {
		t.Fatal(err)
	}
	if err := r.states.ForceUnlock(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	r.put(t, "a", state(2, "one"), terraform.PutOptions{})
}

// TestForeignLockKeepsToolsOut: a lock of package lock under the name of the state, with its fence as the id.
func TestForeignLockKeepsToolsOut(t *testing.T) {
	r := newRig(t, 0)
	held, _, err := r.locks.Acquire(t.Context(), lock.Request{Name: "a", Owner: "maintenance", TTL: time.Minute, Info: json.RawMessage(`{"ID":""}`)})
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprint(int64(held.Fence))
	wantLocked(t, "Lock", r.acquire(t, "a", "one"), id)
	_, _, err = r.states.Put(t.Context(), "a", state(1, "one"), terraform.PutOptions{})
	wantLocked(t, "Put", err, id)
	if err := r.states.Unlock(t.Context(), "a", id); err != nil {
		t.Errorf("Unlock by the fence: %v", err)
	}
	if err := r.acquire(t, "a", "one"); err != nil {
		t.Error(err)
	}
}

// TestStoredStateRenewsTheLock: the tools do not renew their locks.
func TestStoredStateRenewsTheLock(t *testing.T) {
	r := newRig(t, 0)
	if err := r.acquire(t, "a", "one"); err != nil {
		t.Fatal(err)
	}
	before, err := r.locks.Get(t.Context(), "a")
	if err != nil || before.TTL != terraform.LockTTL {
		t.Fatalf("%+v %v", before, err)
	}
	r.put(t, "a", state(1, "one"), terraform.PutOptions{LockID: "one"})
	after, err := r.locks.Get(t.Context(), "a")
	if err != nil || after.ExpiresAt <= before.ExpiresAt || after.Fence != before.Fence || after.RequestID != "one" {
		t.Errorf("before %+v, after %+v, %v", before, after, err)
	}
}

func TestDeletedStateKeepsItsVersionsUntilForgotten(t *testing.T) {
	r := newRig(t, 0)
	var ids []store.Revision
	for i := range 5 {
		ids = append(ids, r.put(t, "a", state(uint64(i+1), "one"), terraform.PutOptions{}).ID)
	}
	err := r.states.Forget(t.Context(), "a", "")
	if _, ok := errors.AsType[*terraform.StandingError](err); !ok {
		t.Errorf("Forget of a state that stands: %v", err)
	}
	if v, err := r.states.Delete(t.Context(), "a", ""); err != nil || v.Serial != 5 {
		t.Fatalf("%+v %v", v, err)
	}
	if _, err := r.states.Delete(t.Context(), "a", ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a second Delete: %v", err)
	}
	if r.text(t, "a", 0) != "" || r.text(t, "a", ids[0]) == "" {
		t.Error("the deleted state stands, or its versions are gone")
	}
	lines, _, err := r.states.List(t.Context(), store.ListOptions{})
	if err != nil || len(lines) != 0 {
		t.Errorf("the deleted state is listed: %+v %v", lines, err)
	}
	for range 2 {
		if err := r.states.Forget(t.Context(), "a", ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, space := range []store.Space{"terraform", "terraform-version"} {
		page, err := r.List(t.Context(), store.ListOptions{Space: space, ReadOptions: store.ReadOptions{Consistency: store.FromMaster}})
		if err != nil || len(page.Entries) != 0 {
			t.Errorf("%s holds %d entries: %v", space, len(page.Entries), err)
		}
	}
	r.put(t, "a", state(1, "two"), terraform.PutOptions{})
}

// TestEveryNameHasItsVersions: the versions of a name have its slot, whatever braces the name has, and names do not mix.
func TestEveryNameHasItsVersions(t *testing.T) {
	r := newRig(t, 0)
	names := []string{"a", "a/b", "{a}", "{a}/b", "x{a}", "x{a}y{b}", "a{", "a{b", "ü / ?", strings.Repeat("n", store.MaxKeyBytes), "lock", "history"}
	for i, name := range names {
		for serial := range 2 {
			r.put(t, name, state(uint64(serial), fmt.Sprint("lineage-", i)), terraform.PutOptions{})
		}
	}
	for i, name := range names {
		kept, _, err := r.states.History(t.Context(), name)
		if err != nil || len(kept) != 2 {
			t.Fatalf("%q: %+v %v", name, kept, err)
		}
		for _, v := range kept {
			if got := r.text(t, name, v.ID); got != string(state(v.Serial, fmt.Sprint("lineage-", i)).Text) {
				t.Errorf("%q, serial %d: %s", name, v.Serial, got)
			}
		}
	}
	lines, _, err := r.states.List(t.Context(), store.ListOptions{ReadOptions: store.ReadOptions{Consistency: store.FromMaster}})
	if err != nil || len(lines) != len(names) {
		t.Errorf("%d of %d names are listed: %v", len(lines), len(names), err)
	}
	for _, name := range []string{"", "a/lock", "a/history", "/lock", "a}b{", "{}x", "\x00", strings.Repeat("n", store.MaxKeyBytes+1)} {
		_, _, err := r.states.Put(t.Context(), name, state(1, "one"), terraform.PutOptions{})
		if _, ok := errors.AsType[*store.KeyError](err); !ok {
			t.Errorf("%q: %v", name, err)
		}
		if err := r.acquire(t, name, "one"); err == nil {
			t.Errorf("%q can be locked", name)
		}
	}
}

// TestConcurrentWritersKeepAllVersions: every writer locks the state, stores the next version of the state that it reads, and unlocks.
func TestConcurrentWritersKeepAllVersions(t *testing.T) {
	const writers, rounds = 4, 5
	r := newRig(t, writers*rounds)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range rounds {
				id := fmt.Sprintf("%d-%d", w, i)
				storetest.Eventually(t, "lock", func() bool { return r.acquire(t, "a", id) == nil })
				last, _, err := r.states.Get(t.Context(), "a", 0, func(int64) error { return nil })
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Error(err)
				}
				if _, _, err := r.states.Put(t.Context(), "a", state(last.Serial+1, "one"), terraform.PutOptions{LockID: id}); err != nil {
					t.Errorf("%s: %v", id, err)
				}
				if err := r.states.Unlock(t.Context(), "a", id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	kept, _, err := r.states.History(t.Context(), "a")
	if err != nil || len(kept) != writers*rounds || kept[0].Serial != writers*rounds {
		t.Errorf("%d versions, %v", len(kept), err)
	}
}

func TestStateBeyondTheLimitIsRefused(t *testing.T) {
	o := storetest.Options()
	o.MaxValueBytes = 1000
	r := storetest.New(t, 1, o)
	states := terraform.New(r.Store, lock.New(r.Store), 0)
	large := state(1, "one")
	large.Text = append(large.Text, strings.Repeat(" ", 1000)...)
	_, _, err := states.Put(t.Context(), "a", large, terraform.PutOptions{})
	if e, ok := errors.AsType[*store.TooLargeError](err); !ok || e.Limit != 1000 {
		t.Errorf("%v", err)
	}
	if _, _, err := states.History(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("something was stored: %v", err)
	}
}
