package apitest

import (
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/access"
)

// Keys are API keys for tests, by their tokens. The token "" holds the grants of requests without a key.
type Keys struct {
	mu    sync.Mutex // guards the fields below
	known map[string]*access.Identity
	err   error // instead of every answer
}

// NewKeys returns keys with these grants. The token of each key is its name.
func NewKeys(t testing.TB, specs map[string]access.Spec) *Keys {
	t.Helper()
	k := &Keys{known: map[string]*access.Identity{}}
	for name, spec := range specs {
		g, err := spec.Compile()
		if err != nil {
			t.Fatal(err)
		}
		k.known[name] = &access.Identity{KeyID: name, Name: name, Grants: g}
	}
	return k
}

// Authenticate returns the identity of a key that was not revoked and has not expired.
func (k *Keys) Authenticate(token string) (*access.Identity, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return nil, k.err
	}
	if i := k.known[token]; i != nil && (i.ExpiresAt.IsZero() || time.Now().Before(i.ExpiresAt)) {
		return i, nil
	}
	return nil, access.ErrUnauthenticated
}

// ByID is Authenticate, since the id of a key is its token.
func (k *Keys) ByID(id string) (*access.Identity, error) { return k.Authenticate(id) }

// BySecret is Authenticate: keys of tests do not change their secrets.
func (k *Keys) BySecret(id string, _ access.Hash) (*access.Identity, error) {
	return k.Authenticate(id)
}

// Current reports whether Authenticate would return the identity.
func (k *Keys) Current(i *access.Identity) bool {
	now, err := k.Authenticate(i.KeyID)
	return err == nil && now == i
}

// Ready reports whether Fail was not called.
func (k *Keys) Ready() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err == nil
}

// Revoke makes a key invalid.
func (k *Keys) Revoke(token string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.known, token)
}

// Expire lets a key expire after a while.
func (k *Keys) Expire(token string, after time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := *k.known[token]
	i.ExpiresAt = time.Now().Add(after)
	k.known[token] = &i
}

// Fail makes every answer the error, or ends that if err is nil.
func (k *Keys) Fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}
