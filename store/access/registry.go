package access

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store"
)

var (
	// ErrUnauthenticated: the request has no valid key. The error is the same for a key that is
	// missing, wrong, expired or revoked.
	ErrUnauthenticated = errors.New("the request needs a valid API key")
	// ErrNotReady: whether the key is valid is unknown, because the stored keys were not read yet
	// or for too long. A retry may succeed.
	ErrNotReady = errors.New("the API keys could not be read yet")
)

// Store is the part of the store that a Registry needs.
type Store interface {
	List(ctx context.Context, o store.ListOptions) (store.Page, error)
	Union(ctx context.Context, o store.ListOptions) (store.Page, error)
	Lost(v store.Vector) bool
}

// Static is the access that the configuration of a process grants.
type Static struct {
	Keys      []Key // of a key with the id of a stored key, the static key counts
	Anonymous *Spec // grants of requests without a key; nil: none
	// OpenWithoutKeys grants everything to every request while there is no key at all, neither
	// here nor in the store, and no Anonymous.
	OpenWithoutKeys bool
}

// Options configure a Registry. A field's zero value selects the default.
type Options struct {
	MaxStale time.Duration // how long stored keys stay valid when they cannot be read, default 5 min
	Poll     time.Duration // how often stored keys are read, default 1 s; many keys are read half as often
	Logger   *slog.Logger  // default slog.Default()
	// OnChange is called after a key was created, changed or revoked, in the configuration or in the store, but not for the
	// keys of the start. It must not block for long.
	OnChange func(Change)
	// OnRead is called once, after the stored keys were read for the first time. It must not block for long.
	OnRead func(Summary)
}

// Summary is what a registry knows after the first reading of the stored keys.
type Summary struct {
	Stored int      // number of stored keys
	Names  []string // of the stored keys that can be read, sorted
	// Open: requests need no key, because there is none. Anonymous: requests without a key have grants of their own.
	Open, Anonymous bool
}

// Change is a change of a key.
type Change struct {
	What     string // "created", "changed" or "revoked"
	ID, Name string // the name is "" of a key that cannot be read
}

// Identity is the sender of a request. Identities are immutable.
type Identity struct {
	KeyID     string // "" of a request without a key
	Name      string // of the key
	Grants    *Grants
	ExpiresAt time.Time // of the key, or of its secret after a rotation; zero: never

	hash Hash // of the secret
}

// SecretHash returns the hash of the secret of the key. After a rotation the old and the new secret
// have identities of their own.
func (i *Identity) SecretHash() Hash { return i.hash }

func (i *Identity) expired(now time.Time) bool {
	return !i.ExpiresAt.IsZero() && !now.Before(i.ExpiresAt)
}

// Registry holds the keys of a process in memory. Its methods are safe for concurrent use.
type Registry struct {
	store   Store
	options Options

	changing sync.Mutex // held while the state is replaced
	state    atomic.Pointer[state]

	// Used by Run's goroutine alone.
	started      time.Time
	session      store.Vector // everything that was read
	failingSince time.Time    // zero: the last reading succeeded
	warned       bool         // the failure was logged
}

// state is everything that decides about a request. It is immutable.
type state struct {
	static    map[string]credential // by id
	anonymous *Identity             // nil: none
	mayOpen   bool                  // Static.OpenWithoutKeys, and no static key or anonymous grants

	stored   map[string]credential // by id
	read     bool                  // stored was read
	provenAt time.Time             // stored is known to hold every change up to then; zero: unknown
}

// credential is a key as requests meet it.
type credential struct {
	mark    store.Mark  // of the entry; zero for a static key
	secrets []*Identity // the current secret first, and the previous one if there is one
}

// name returns the name of the key; "" of a key that cannot be read.
func (c credential) name() string {
	if len(c.secrets) == 0 {
		return ""
	}
	return c.secrets[0].Name
}

// equals reports whether two credentials have the same entry, or without an entry the same content.
func (c credential) equals(other credential) bool {
	return c.mark == other.mark && slices.EqualFunc(c.secrets, other.secrets, func(a, b *Identity) bool {
		return a.Name == b.Name && a.hash == b.hash && a.ExpiresAt.Equal(b.ExpiresAt) && a.Grants.spec.Equal(b.Grants.spec)
	})
}

var (
	// open is the identity of every request while there is no key.
	open = &Identity{Grants: Spec{Roles: []Role{RoleAdmin}}.compile()}
	// starting is the identity of every request while nobody knows whether there is a key. Its
	// sender may see why.
	starting = &Identity{Grants: &Grants{monitor: true, details: true}}
)

// NewRegistry returns a registry, which knows no stored key before Run. The error says which
// static key is not valid.
func NewRegistry(s Store, static Static, o Options) (*Registry, error) {
	o.MaxStale = cmp.Or(o.MaxStale, 5*time.Minute)
	o.Poll = cmp.Or(o.Poll, time.Second)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	r := &Registry{store: s, options: o}
	r.state.Store(&state{})
	return r, r.SetStatic(static)
}

// SetStatic replaces the access that the configuration grants. After an error nothing has changed.
func (r *Registry) SetStatic(static Static) error {
	keys := make(map[string]credential, len(static.Keys))
	for _, k := range static.Keys {
		c, err := newCredential(k, store.Mark{})
		if err == nil && keys[k.ID].secrets != nil {
			err = errors.New("the id is used twice")
		}
		if err != nil {
			return fmt.Errorf("key %q: %w", k.Name, err)
		}
		keys[k.ID] = c
	}
	var anonymous *Identity
	if static.Anonymous != nil {
		g, err := static.Anonymous.Compile()
		if err != nil {
			return fmt.Errorf("anonymous: %w", err)
		}
		anonymous = &Identity{Grants: g}
	}
	r.change(func(s *state) {
		if s.anonymous == nil || anonymous == nil || !s.anonymous.Grants.spec.Equal(anonymous.Grants.spec) {
			s.anonymous = anonymous
		}
		s.static = keys
		s.mayOpen = static.OpenWithoutKeys && anonymous == nil && len(keys) == 0
	})
	return nil
}

// change replaces the state by a changed copy.
func (r *Registry) change(f func(*state)) {
	r.changing.Lock()
	defer r.changing.Unlock()
	was := r.state.Load()
	s := *was
	f(&s)
	r.state.Store(&s)
	if r.options.OnChange == nil {
		return
	}
	if was.static != nil {
		r.reportChanges(was.static, s.static)
	}
	if was.read {
		r.reportChanges(was.stored, s.stored)
	}
}

// reportRead calls OnRead.
func (r *Registry) reportRead() {
	if r.options.OnRead == nil {
		return
	}
	s := r.state.Load()
	sum := Summary{Stored: len(s.stored), Anonymous: s.anonymous != nil}
	for _, c := range s.stored {
		if c.name() != "" {
			sum.Names = append(sum.Names, c.name())
		}
	}
	slices.Sort(sum.Names)
	i, _ := s.withoutKeys()
	sum.Open = i == open
	r.options.OnRead(sum)
}

// reportChanges calls OnChange for each difference, in the order of the ids.
func (r *Registry) reportChanges(was, is map[string]credential) {
	for _, id := range slices.Sorted(maps.Keys(was)) {
		before, name := was[id], was[id].name()
		after, stays := is[id]
		switch {
		case !stays:
			r.options.OnChange(Change{"revoked", id, name})
		case !before.equals(after):
			r.options.OnChange(Change{"changed", id, after.name()})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(is)) {
		if _, existed := was[id]; !existed {
			r.options.OnChange(Change{"created", id, is[id].name()})
		}
	}
}

// newCredential compiles a key. The error says why the key is not valid.
func newCredential(k Key, mark store.Mark) (c credential, err error) {
	if err := k.Validate(); err != nil {
		return c, err
	}
	grants := k.Grants.compile()
	c = credential{mark: mark, secrets: []*Identity{{KeyID: k.ID, Name: k.Name, Grants: grants, ExpiresAt: k.ExpiresAt, hash: k.Hash}}}
	if !k.PreviousHash.IsZero() {
		previous := *c.secrets[0]
		previous.hash = k.PreviousHash
		if previous.ExpiresAt.IsZero() || k.PreviousUntil.Before(previous.ExpiresAt) {
			previous.ExpiresAt = k.PreviousUntil
		}
		c.secrets = append(c.secrets, &previous)
	}
	return c, nil
}

// Authenticate returns the sender of a request with the token; the token is "" if the request has
// no credentials, and any text if it has credentials of a different kind.
//
// ErrUnauthenticated: there is no such valid key. ErrNotReady: the answer needs the stored keys,
// which are unknown now. A registry with OpenWithoutKeys and without other static access then also
// returns an identity, which may see the status and nothing else: it says why no partition can be
// read.
func (r *Registry) Authenticate(token string) (*Identity, error) {
	s, now := r.state.Load(), time.Now()
	if i, err := s.withoutKeys(); i != nil {
		return i, err
	}
	if token == "" {
		if s.anonymous == nil {
			return nil, ErrUnauthenticated
		}
		return s.anonymous, nil
	}
	t, ok := splitToken(token)
	if !ok {
		return nil, ErrUnauthenticated
	}
	var secret [keyBytes + sumBytes]byte
	copy(secret[:], t.secret)
	hash := Hash(sha256.Sum256(secret[:]))
	return r.find(s, t.ID, &hash, now)
}

// withoutKeys returns the sender of every request while there is no key or nobody knows whether
// there is one, with the error of Authenticate; nil if requests need a key.
func (s *state) withoutKeys() (*Identity, error) {
	switch {
	case !s.mayOpen, s.read && len(s.stored) > 0:
		return nil, nil
	case !s.read:
		return starting, ErrNotReady
	}
	return open, nil
}

// BySecret returns the holder of a key for a request that has proved by other means that its sender
// had the secret with this hash, such as a sealed cookie. The identity ends with this secret: when the
// key is revoked or expires, and after a rotation when the old secret ends. The errors are those
// of Authenticate.
func (r *Registry) BySecret(id string, secret Hash) (*Identity, error) {
	s := r.state.Load()
	if i, err := s.withoutKeys(); i != nil {
		return i, err
	}
	return r.find(s, id, &secret, time.Now())
}

// ByID returns the holder of a valid key for a request that has proved by other means to come from
// the holder, such as a certificate. While there is no key, that is the sender of every request, with any id. The errors are
// those of Authenticate.
func (r *Registry) ByID(id string) (*Identity, error) {
	s, now := r.state.Load(), time.Now()
	if i, err := s.withoutKeys(); i != nil {
		return i, err
	}
	c, err := r.credential(s, id, now)
	switch {
	case err != nil:
		return nil, err
	case len(c.secrets) == 0 || c.secrets[0].expired(now):
		return nil, ErrUnauthenticated
	}
	return c.secrets[0], nil
}

// find returns the valid identity with the id and the hash.
func (r *Registry) find(s *state, id string, hash *Hash, now time.Time) (*Identity, error) {
	c, err := r.credential(s, id, now)
	if err != nil {
		return nil, err
	}
	for _, i := range c.secrets {
		if i.hash.equals(hash) && !i.expired(now) {
			return i, nil
		}
	}
	return nil, ErrUnauthenticated
}

// credential returns the key with the id, without secrets if there is none. ErrNotReady: the
// stored keys are not known now.
func (r *Registry) credential(s *state, id string, now time.Time) (credential, error) {
	if c, found := s.static[id]; found {
		return c, nil
	}
	if !s.read || now.Sub(s.provenAt) > r.options.MaxStale {
		return credential{}, ErrNotReady
	}
	return s.stored[id], nil
}

// Current reports whether an identity that Authenticate has returned is still valid with the same
// grants. Long answers ask at least each second, so that they end within five seconds after the
// key was revoked or has expired.
func (r *Registry) Current(i *Identity) bool {
	s := r.state.Load()
	switch {
	case i == starting:
		return s.mayOpen && !s.read
	case i == open:
		return s.mayOpen && s.read && len(s.stored) == 0
	case i.KeyID == "":
		return i == s.anonymous
	}
	now, err := r.find(s, i.KeyID, &i.hash, time.Now())
	return err == nil && (now == i || now.Grants.spec.Equal(i.Grants.spec))
}

// HasAdmin reports whether a valid key has the role admin, as far as the keys are known.
func (r *Registry) HasAdmin() bool {
	s, now := r.state.Load(), time.Now()
	for _, keys := range []map[string]credential{s.static, s.stored} {
		for _, c := range keys {
			if slices.ContainsFunc(c.secrets, func(i *Identity) bool { return i.Grants.IsAdmin() && !i.expired(now) }) {
				return true
			}
		}
	}
	return false
}

// Ready reports whether every key can be judged now.
func (r *Registry) Ready() bool {
	s := r.state.Load()
	return s.read && (s.mayOpen && len(s.stored) == 0 || time.Since(s.provenAt) <= r.options.MaxStale)
}
