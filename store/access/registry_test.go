package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store"
)

// fakeStore is a store of keys in memory. It answers with the given staleness, or fails.
type fakeStore struct {
	mu        sync.Mutex // guards the fields below
	entries   []store.Entry
	revision  store.Revision
	staleness time.Duration
	fresh     error // of bounded lists
	any       error // of other lists
	union     error
	reads     int
	sessions  []store.Vector
}

func (f *fakeStore) set(change func(*fakeStore)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// put stores a key; the token is the key's.
func (f *fakeStore) put(t testing.TB, k Key) {
	t.Helper()
	e, err := k.entry()
	if err != nil {
		t.Fatal(err)
	}
	f.set(func(f *fakeStore) {
		f.revision++
		e.Origin, e.Revision = "p0", f.revision
		f.entries = slices.DeleteFunc(f.entries, func(old store.Entry) bool { return old.Key == e.Key })
		f.entries = append(f.entries, e)
		slices.SortFunc(f.entries, func(a, b store.Entry) int { return cmpKeys(a.Key, b.Key) })
	})
}

func cmpKeys(a, b store.Key) int {
	if a < b {
		return -1
	}
	return 1
}

func (f *fakeStore) remove(id string) {
	f.set(func(f *fakeStore) {
		f.revision++
		f.entries = slices.DeleteFunc(f.entries, func(e store.Entry) bool { return e.Key == storedKey(id) })
	})
}

func (f *fakeStore) List(_ context.Context, o store.ListOptions) (store.Page, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions = append(f.sessions, o.Session)
	if o.Consistency == store.Bounded {
		if f.fresh != nil {
			return store.Page{}, f.fresh
		}
		return f.page(o, 0), nil
	}
	return f.page(o, f.staleness), f.any
}

func (f *fakeStore) Union(_ context.Context, o store.ListOptions) (store.Page, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.page(o, -1), f.union
}

func (f *fakeStore) page(o store.ListOptions, staleness time.Duration) store.Page {
	f.reads++
	page := store.Page{Staleness: staleness, Seen: store.VectorOf(store.Mark{Origin: "p0", Revision: f.revision})}
	for _, e := range f.entries {
		if name := store.Name(e.Key); name > o.After && len(page.Entries) < 3 { // small pages
			page.Entries = append(page.Entries, e)
		} else if name > o.After {
			page.Next = store.Name(page.Entries[2].Key)
		}
	}
	return page
}

func (f *fakeStore) Lost(store.Vector) bool { return false }

func testKey(t testing.TB, name string) (Key, Token) {
	t.Helper()
	k, token, err := New(Key{Name: name, Grants: Spec{Roles: []Role{RoleRead}}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return k, token
}

func newTestRegistry(t testing.TB, f Store, static Static) *Registry {
	t.Helper()
	r, err := NewRegistry(f, static, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run starts the registry, until the test ends.
func run(t *testing.T, r *Registry) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func wantError(t *testing.T, r *Registry, token string, want error) {
	t.Helper()
	i, err := r.Authenticate(token)
	if err != want || (i == nil) != (want != nil) {
		t.Errorf("Authenticate: %v, %v, want %v", i, err, want)
	}
}

// TestEveryRefusalIsTheSame covers the keys that are missing, malformed, wrong, expired and revoked.
func TestEveryRefusalIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeStore{}
		good, goodToken := testKey(t, "good")
		expiring, expiringToken := testKey(t, "expiring")
		expiring.ExpiresAt = time.Now().Add(time.Minute)
		revoked, revokedToken := testKey(t, "revoked")
		for _, k := range []Key{good, expiring, revoked} {
			f.put(t, k)
		}
		r := newTestRegistry(t, f, Static{})
		run(t, r)
		synctest.Wait()
		for _, token := range []Token{goodToken, expiringToken, revokedToken} {
			wantError(t, r, token.Reveal(), nil)
		}
		f.remove(revoked.ID)
		time.Sleep(time.Minute)
		synctest.Wait()
		wrong := newSecret(good.ID)
		for _, text := range []string{"", "x", expiringToken.Reveal(), revokedToken.Reveal(), wrong.Reveal(), NewToken().Reveal(), "Bearer " + goodToken.Reveal(), goodToken.Reveal() + "=", good.ID} {
			wantError(t, r, text, ErrUnauthenticated)
		}
		wantError(t, r, goodToken.Reveal(), nil)
		if i, err := r.ByID(good.ID); err != nil || i.KeyID != good.ID {
			t.Errorf("ByID: %v, %v", i, err)
		}
		for _, id := range []string{"", expiring.ID, revoked.ID, NewToken().ID} {
			if i, err := r.ByID(id); i != nil || err != ErrUnauthenticated {
				t.Errorf("ByID(%q): %v, %v", id, i, err)
			}
		}
	})
}

// TestChangesOfKeysAreReported: each change once, and none for the keys of the start.
func TestChangesOfKeysAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []Change
		expect := func(want ...Change) {
			t.Helper()
			time.Sleep(3 * time.Second) // two readings
			synctest.Wait()
			if !slices.Equal(changes, want) {
				t.Errorf("reported %v, want %v", changes, want)
			}
			changes = nil
		}
		f := &fakeStore{}
		old, _ := testKey(t, "old")
		fresh, _ := testKey(t, "fresh")
		static, _ := testKey(t, "static")
		f.put(t, old)
		r, err := NewRegistry(f, Static{Keys: []Key{static}}, Options{Logger: slog.New(slog.DiscardHandler), OnChange: func(c Change) { changes = append(changes, c) }})
		if err != nil {
			t.Fatal(err)
		}
		run(t, r)
		expect()
		f.put(t, fresh)
		expect(Change{"created", fresh.ID, "fresh"})
		f.put(t, old) // a new revision, as of a rotation
		expect(Change{"changed", old.ID, "old"})
		f.remove(old.ID)
		expect(Change{"revoked", old.ID, "old"})
		f.set(func(f *fakeStore) { f.fresh, f.any = store.ErrNoPartition, store.ErrNoPartition })
		expect()
		for want, keys := range map[string][]Key{"": {static}, "changed": {{ID: static.ID, Name: "static", Hash: fresh.Hash, Grants: static.Grants}}} {
			if err := r.SetStatic(Static{Keys: []Key{static}}); err != nil {
				t.Fatal(err)
			}
			changes = nil
			if err := r.SetStatic(Static{Keys: keys}); err != nil {
				t.Fatal(err)
			}
			if want == "" {
				expect()
			} else {
				expect(Change{want, static.ID, "static"})
			}
		}
		if err := r.SetStatic(Static{}); err != nil {
			t.Fatal(err)
		}
		expect(Change{"revoked", static.ID, "static"})
	})
}

// TestFirstReadingIsReportedOnce covers an open registry, and keys that cannot be read.
func TestFirstReadingIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := testKey(t, "a")
		b, _ := testKey(t, "b")
		for _, test := range []struct {
			static Static
			keys   []Key
			want   Summary
		}{
			{Static{OpenWithoutKeys: true}, nil, Summary{Open: true}},
			{Static{OpenWithoutKeys: true}, []Key{b, a}, Summary{Stored: 3, Names: []string{"a", "b"}}},
			{Static{Anonymous: &Spec{Roles: []Role{RoleRead}}}, nil, Summary{Anonymous: true}},
			{Static{}, nil, Summary{}},
		} {
			var reports []Summary
			f := &fakeStore{fresh: store.ErrNoPartition, any: store.ErrNoPartition, union: store.ErrNoPartition}
			for _, k := range test.keys {
				f.put(t, k)
			}
			if len(test.keys) > 0 {
				f.entries = append(f.entries, store.Entry{Key: storedKey("zzzzzzzzzz"), Value: []byte("{"), Origin: "p0", Revision: 9})
			}
			r, err := NewRegistry(f, test.static, Options{Logger: slog.New(slog.DiscardHandler), OnRead: func(s Summary) { reports = append(reports, s) }})
			if err != nil {
				t.Fatal(err)
			}
			run(t, r)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if len(reports) != 0 {
				t.Errorf("reported %+v before a reading", reports)
			}
			f.set(func(f *fakeStore) { f.fresh = nil })
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if want := []Summary{test.want}; !reflect.DeepEqual(reports, want) {
				t.Errorf("reported %+v, want %+v", reports, want)
			}
		}
	})
}

// TestUnreadKeysRefuseAllButStaticKeys is the start of a process without any database.
func TestUnreadKeysRefuseAllButStaticKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeStore{fresh: store.ErrNoPartition, any: store.ErrNoPartition, union: store.ErrNoPartition}
		stored, storedToken := testKey(t, "stored")
		static, staticToken := testKey(t, "static")
		f.put(t, stored)
		r := newTestRegistry(t, f, Static{Keys: []Key{static}})
		run(t, r)
		time.Sleep(time.Hour)
		synctest.Wait()
		wantError(t, r, storedToken.Reveal(), ErrNotReady)
		wantError(t, r, NewToken().Reveal(), ErrNotReady)
		wantError(t, r, staticToken.Reveal(), nil)
		if _, err := r.ByID(stored.ID); err != ErrNotReady {
			t.Errorf("ByID: %v", err)
		}
		wrong := newSecret(static.ID)
		wantError(t, r, wrong.Reveal(), ErrUnauthenticated)
		wantError(t, r, "", ErrUnauthenticated)
		if r.Ready() {
			t.Error("ready without any reading")
		}
		f.set(func(f *fakeStore) { f.fresh = nil })
		time.Sleep(firstPoll)
		synctest.Wait()
		wantError(t, r, storedToken.Reveal(), nil)
		if !r.Ready() {
			t.Error("not ready after a reading")
		}
	})
}

// TestStoredKeysEndAfterMaxStale cuts a running process off from the masters.
func TestStoredKeysEndAfterMaxStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeStore{}
		stored, storedToken := testKey(t, "stored")
		static, staticToken := testKey(t, "static")
		f.put(t, stored)
		r := newTestRegistry(t, f, Static{Keys: []Key{static}})
		run(t, r)
		synctest.Wait()
		i, err := r.Authenticate(storedToken.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		cut := time.Now()
		f.set(func(f *fakeStore) { f.fresh, f.any = store.ErrNoPartition, store.ErrNoPartition })
		time.Sleep(time.Until(cut.Add(5*time.Minute - time.Millisecond)))
		wantError(t, r, storedToken.Reveal(), nil)
		time.Sleep(2 * time.Second)
		wantError(t, r, storedToken.Reveal(), ErrNotReady)
		if r.Current(i) || r.Ready() {
			t.Error("the identity is current still, or the registry ready")
		}
		wantError(t, r, staticToken.Reveal(), nil)

		// A replica answers that was proven whole a minute ago.
		f.set(func(f *fakeStore) { f.any, f.staleness = nil, time.Minute })
		time.Sleep(2 * time.Second)
		wantError(t, r, storedToken.Reveal(), nil)
		f.set(func(f *fakeStore) { f.staleness = 10 * time.Minute })
		time.Sleep(3 * time.Minute)
		wantError(t, r, storedToken.Reveal(), nil)
		time.Sleep(2 * time.Minute)
		wantError(t, r, storedToken.Reveal(), ErrNotReady)
	})
}

// TestAReplicaOfUnknownAgeProvesNothing starts a process where no answer has a known age.
func TestAReplicaOfUnknownAgeProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeStore{fresh: store.ErrNoPartition, any: store.ErrNoPartition}
		k, token := testKey(t, "stored")
		f.put(t, k)
		r := newTestRegistry(t, f, Static{OpenWithoutKeys: true})
		for _, text := range []string{"", "Basic abc", token.Reveal()} {
			i, err := r.Authenticate(text)
			if err != ErrNotReady || !r.Current(i) || !i.Grants.MayMonitor() || !i.Grants.MaySeeDetails() ||
				i.Grants.CanRead("a") || i.Grants.CanReadAll("") || i.Grants.CanWrite("a") || i.Grants.IsAdmin() || i.Grants.MayMint() || i.Grants.MayForce() {
				t.Errorf("before the first reading: %+v, %v", i, err)
			}
		}
		run(t, r)
		time.Sleep(maxAge + firstPoll)
		synctest.Wait()
		wantError(t, r, token.Reveal(), ErrNotReady)
		if r.Current(starting) {
			t.Error("the status is open still")
		}
		wantError(t, r, "", ErrUnauthenticated) // there is a key, so the store is not open
	})
}

// TestHashOfASecretEndsWithTheSecret: who once had a secret is known by its hash as long as the secret is valid.
func TestHashOfASecretEndsWithTheSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeStore{}
		k, _ := testKey(t, "rotated")
		before := k.Hash
		r := newTestRegistry(t, f, Static{OpenWithoutKeys: true})
		if i, err := r.BySecret(k.ID, before); i != starting || !errors.Is(err, ErrNotReady) {
			t.Errorf("before the first reading: %v, %v", i, err)
		}
		run(t, r)
		synctest.Wait()
		if i, err := r.BySecret(k.ID, before); i != open || err != nil {
			t.Errorf("without keys: %v, %v", i, err)
		}
		if i, err := r.ByID(k.ID); i != open || err != nil {
			t.Errorf("by the id, without keys: %v, %v", i, err)
		}
		want := func(when string, hash Hash, want error) {
			t.Helper()
			if i, err := r.BySecret(k.ID, hash); !errors.Is(err, want) || err == nil && i.SecretHash() != hash {
				t.Errorf("%s: %v, want %v", when, err, want)
			}
		}
		f.put(t, k)
		time.Sleep(2 * time.Second)
		want("stored", before, nil)
		want("another secret", Hash{1}, ErrUnauthenticated)
		k.PreviousHash, k.PreviousUntil, k.Hash = before, time.Now().Add(time.Hour), newSecret(k.ID).Hash()
		f.put(t, k)
		time.Sleep(time.Hour - time.Second)
		want("old secret in the overlap", before, nil)
		want("new secret", k.Hash, nil)
		time.Sleep(time.Second)
		want("old secret after the overlap", before, ErrUnauthenticated)
		want("new secret", k.Hash, nil)
		other, _ := testKey(t, "other")
		f.put(t, other) // without any key the store would be open again
		f.remove(k.ID)
		time.Sleep(2 * time.Second)
		want("revoked", k.Hash, ErrUnauthenticated)
	})
}

func TestOldAndNewSecretOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeStore{}
		k, oldToken := testKey(t, "rotated")
		f.put(t, k)
		r := newTestRegistry(t, f, Static{})
		run(t, r)
		synctest.Wait()
		i, err := r.Authenticate(oldToken.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		newToken := newSecret(k.ID)
		k.PreviousHash, k.PreviousUntil, k.Hash = k.Hash, time.Now().Add(time.Hour), newToken.Hash()
		f.put(t, k)
		time.Sleep(time.Hour - time.Second)
		wantError(t, r, oldToken.Reveal(), nil)
		wantError(t, r, newToken.Reveal(), nil)
		if !r.Current(i) {
			t.Error("the identity of the old secret ended early")
		}
		time.Sleep(time.Second)
		wantError(t, r, oldToken.Reveal(), ErrUnauthenticated)
		wantError(t, r, newToken.Reveal(), nil)
		if r.Current(i) {
			t.Error("the identity of the old secret did not end")
		}
	})
}

func TestIdentitiesEndWithTheirKeysAndGrants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeStore{}
		var keys []Key
		var identities []*Identity
		for i := range 7 { // three pages
			k, _ := testKey(t, fmt.Sprint(i))
			f.put(t, k)
			keys = append(keys, k)
		}
		r := newTestRegistry(t, f, Static{Anonymous: &Spec{Roles: []Role{RoleMonitor}}})
		run(t, r)
		synctest.Wait()
		for _, k := range keys {
			i, err := r.find(r.state.Load(), k.ID, &k.Hash, time.Now())
			if err != nil {
				t.Fatalf("%s: %v", k.Name, err)
			}
			identities = append(identities, i)
		}
		anonymous, err := r.Authenticate("")
		if err != nil || !anonymous.Grants.MayMonitor() {
			t.Fatal(anonymous, err)
		}
		f.remove(keys[2].ID)
		keys[3].Grants.Roles = []Role{RoleWrite}
		f.put(t, keys[3])
		keys[4].Name = "renamed"
		f.put(t, keys[4])
		keys[5].ExpiresAt = time.Now().Add(time.Second)
		f.put(t, keys[5])
		if err := r.SetStatic(Static{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		for n, want := range []bool{true, true, false, false, true, false, true} {
			if r.Current(identities[n]) != want {
				t.Errorf("identity %d is current: %v, want %v", n, !want, want)
			}
		}
		if same, err := r.Authenticate(""); r.Current(anonymous) || err == nil {
			t.Error("anonymous requests are allowed still:", same)
		}
		if again, err := r.find(r.state.Load(), keys[0].ID, &keys[0].Hash, time.Now()); err != nil || again != identities[0] {
			t.Error("an unchanged key got a new identity")
		}
	})
}

// TestTheFirstKeyClosesAnOpenStore: without any key, everything is allowed to everybody, whatever
// credentials a proxy adds.
func TestTheFirstKeyClosesAnOpenStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeStore{}
		r := newTestRegistry(t, f, Static{OpenWithoutKeys: true})
		run(t, r)
		synctest.Wait()
		for _, text := range []string{"", "Basic abc", NewToken().Reveal()} {
			if i, err := r.Authenticate(text); err != nil || !i.Grants.IsAdmin() || !r.Current(i) {
				t.Errorf("%q: %v", text, err)
			}
		}
		f.set(func(f *fakeStore) {
			f.fresh, f.any, f.union = store.ErrNoPartition, store.ErrNoPartition, store.ErrNoPartition
		})
		time.Sleep(time.Hour)
		wantError(t, r, "", nil) // as long as the masters are away
		f.set(func(f *fakeStore) { f.fresh = nil })
		k, token := testKey(t, "first")
		f.put(t, k)
		time.Sleep(2 * time.Second)
		wantError(t, r, "", ErrUnauthenticated)
		wantError(t, r, token.Reveal(), nil)
		if r.Current(open) {
			t.Error("an open stream may go on")
		}
	})
	static, token := testKey(t, "static")
	r := newTestRegistry(t, &fakeStore{}, Static{Keys: []Key{static}, OpenWithoutKeys: true})
	wantError(t, r, "", ErrUnauthenticated)
	wantError(t, r, token.Reveal(), nil)
}

// TestReadingsContinueTheSession: an older replica cannot bring a revoked key back.
func TestReadingsContinueTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeStore{}
		k, _ := testKey(t, "a")
		f.put(t, k)
		r := newTestRegistry(t, f, Static{})
		run(t, r)
		synctest.Wait()
		f.remove(k.ID)
		time.Sleep(3 * time.Second)
		f.set(func(f *fakeStore) {
			if first, last := f.sessions[0], f.sessions[len(f.sessions)-1]; !first.IsZero() || last.At("p0") != 2 {
				t.Errorf("the first reading had the session %v, the last %v", first, last)
			}
		})
	})
}

func TestAnUnreadableKeyIsRefusedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeStore{}
		good, goodToken := testKey(t, "good")
		f.put(t, good)
		var tokens []Token
		for _, change := range []func(value string) string{
			func(string) string { return "{" },
			func(value string) string { return value[:len(value)-1] + `,"only_on_mondays":true}` },
			func(value string) string { return "" },
		} {
			k, token := testKey(t, "bad")
			f.put(t, k)
			f.set(func(f *fakeStore) {
				for i := range f.entries {
					if f.entries[i].Key == storedKey(k.ID) {
						f.entries[i].Value = []byte(change(string(f.entries[i].Value)))
					}
				}
			})
			tokens = append(tokens, token)
		}
		r := newTestRegistry(t, f, Static{})
		run(t, r)
		synctest.Wait()
		wantError(t, r, goodToken.Reveal(), nil)
		for _, token := range tokens {
			wantError(t, r, token.Reveal(), ErrUnauthenticated)
		}
	})
}

// lockedBuffer is a buffer that may be read between writes of another goroutine.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestLastingFailuresAreLoggedOnce at the start of a process and later.
func TestLastingFailuresAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeStore{fresh: store.ErrNoPartition, any: store.ErrNoPartition, union: store.ErrNoPartition}
		var log lockedBuffer
		r, err := NewRegistry(f, Static{}, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		run(t, r)
		wait := func(d time.Duration, warnings, infos int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if text := log.String(); strings.Count(text, "WARN") != warnings || strings.Count(text, "INFO") != infos {
				t.Errorf("%d warnings and %d messages wanted:\n%s", warnings, infos, text)
			}
		}
		wait(4*time.Second, 0, 0)
		wait(time.Hour, 1, 0)
		f.set(func(f *fakeStore) { f.fresh = nil })
		wait(2*time.Second, 1, 1)
		f.set(func(f *fakeStore) { f.fresh = store.ErrNoPartition })
		wait(4*time.Second, 1, 1)
		f.set(func(f *fakeStore) { f.fresh = nil })
		wait(time.Hour, 1, 1)
		f.set(func(f *fakeStore) { f.fresh = store.ErrNoPartition })
		wait(time.Hour, 2, 1)
	})
}

func TestFaultyStaticKeysChangeNothing(t *testing.T) {
	k, token := testKey(t, "static")
	r := newTestRegistry(t, &fakeStore{}, Static{Keys: []Key{k}})
	other, _ := testKey(t, "other")
	for name, change := range map[string]func(*Key){
		"id":     func(k *Key) { k.ID = "short" },
		"hash":   func(k *Key) { k.Hash = Hash{} },
		"name":   func(k *Key) { k.Name = "a\x1b[2J" },
		"grants": func(k *Key) { k.Grants = Spec{} },
	} {
		bad := other
		change(&bad)
		if r.SetStatic(Static{Keys: []Key{bad}}) == nil {
			t.Errorf("a faulty %s was accepted", name)
		}
	}
	if r.SetStatic(Static{Keys: []Key{other, other}}) == nil || r.SetStatic(Static{Anonymous: &Spec{}}) == nil {
		t.Error("a repeated id, or no grants for anonymous requests, was accepted")
	}
	wantError(t, r, token.Reveal(), nil)
}

func TestAuthenticateAllocatesNothing(t *testing.T) {
	r, token := loadedRegistry(t)
	if n := testing.AllocsPerRun(100, func() {
		if i, err := r.Authenticate(token); err != nil || !r.Current(i) {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// loadedRegistry has 1,000 stored keys.
func loadedRegistry(t testing.TB) (*Registry, string) {
	f := &fakeStore{}
	var token Token
	for i := range 1000 {
		var k Key
		k, token = testKey(t, fmt.Sprint(i))
		e, err := k.entry()
		if err != nil {
			t.Fatal(err)
		}
		f.entries = append(f.entries, e)
	}
	slices.SortFunc(f.entries, func(a, b store.Entry) int { return cmpKeys(a.Key, b.Key) })
	r := newTestRegistry(t, f, Static{})
	r.refresh(t.Context())
	return r, token.Reveal()
}

func BenchmarkAuthenticate(b *testing.B) {
	r, token := loadedRegistry(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Authenticate(token); err != nil {
			b.Fatal(err)
		}
	}
}

// oldReplica answers with a state that is proven to be as of a time, and to nothing that must be younger.
type oldReplica struct {
	*fakeStore
	proven time.Time
}

func (o oldReplica) List(ctx context.Context, l store.ListOptions) (store.Page, error) {
	if l.Consistency == store.Bounded && time.Since(o.proven) > l.MaxStaleness {
		return store.Page{}, store.ErrNoPartition
	}
	return o.fakeStore.List(ctx, l)
}

// TestFirstReadingHoldsTheKeysFromBeforeTheStart: a master that does not answer yet leaves the readiness open, also where
// a replica without keys is proven to be of the second before the start.
func TestFirstReadingHoldsTheKeysFromBeforeTheStart(t *testing.T) {
	for age, want := range map[time.Duration]bool{time.Second: false, 0: true} {
		synctest.Test(t, func(t *testing.T) {
			r := newTestRegistry(t, oldReplica{&fakeStore{}, time.Now().Add(-age)}, Static{OpenWithoutKeys: true})
			run(t, r)
			for range 19 {
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				if _, err := r.Authenticate(""); r.Ready() != want || (err == nil) != want {
					t.Fatalf("a replica as of %v before the start: ready %v, %v", age, r.Ready(), err)
				}
			}
		})
	}
}
