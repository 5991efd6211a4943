package api

import (
	"context"

	"github.com/runnelkv/runnel/api/internal/status"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
	"github.com/runnelkv/runnel/store/ledger"
)

// Store is the part of *store.Store that the API uses.
type Store interface {
	Reader
	Writer
	Feed
	// CheckName returns a *store.KeyError if name is not a valid key.
	CheckName(name string) error
	// Tag identifies the cluster in tokens; 0 while the cluster is unknown.
	Tag() store.ClusterTag
	// Lost reports whether the session has seen writes that a restore has undone.
	Lost(session store.Vector) bool
	// CheckProtection returns an error unless locks may protect keys.
	CheckProtection() error
	// MaxValueBytes is the largest accepted value, in bytes.
	MaxValueBytes() int64
	status.Store
	ledger.Store
}

// Reader reads from any partition that satisfies the options.
type Reader interface {
	Get(ctx context.Context, key store.Key, o store.ReadOptions) (store.Read, error)
	// GetMany reads many keys in few statements and calls each once for every key, in order.
	GetMany(ctx context.Context, keys []store.Key, o store.ReadOptions, each func(i int, r store.Read, err error))
	List(ctx context.Context, o store.ListOptions) (store.Page, error)
	// Union merges the lists of all reachable partitions.
	Union(ctx context.Context, o store.ListOptions) (store.Page, error)
}

// Writer writes on the masters of the keys.
type Writer interface {
	// Put stores an entry without reading the current entry.
	Put(ctx context.Context, e store.Entry) (store.PutResult, error)
	// Update runs fn with the current entries of keys and commits what fn wrote. fn may run more than once.
	Update(ctx context.Context, keys []store.Key, o store.UpdateOptions, fn func(*store.Tx) error) error
	// UpdateEach makes many independent changes in shared commits. Results and errors are in the elements.
	UpdateEach(ctx context.Context, changes []store.Write)
	// Copy copies a committed entry to further partitions until want partitions hold it (store.EveryReachable: all
	// reachable partitions). It returns the number of partitions that hold the entry.
	Copy(ctx context.Context, e store.Entry, want int) (held int, err error)
	// Secure returns nil once a majority of the voters holds the marked writes in order.
	Secure(ctx context.Context, marks ...store.Mark) error
	// Voters returns the number of voters, 0 while it is unknown.
	Voters() int
	// Master returns the name of the key's master.
	Master(key store.Key) string
}

var _ Store = (*store.Store)(nil)

// Feed reads changes. Its tokens are valid on every node.
type Feed interface {
	// ChangesNow returns the token after the latest change.
	ChangesNow(ctx context.Context) (store.ChangeToken, error)
	// Changes reads a page of changes after a token without waiting. The error is store.ErrForeignToken for a token of
	// another cluster, and store.ErrResync if changes after the token are lost.
	Changes(ctx context.Context, since store.ChangeToken, o store.ChangeOptions) (store.ChangePage, error)
	// Watch returns a reader that waits for changes. The caller closes it.
	Watch(since store.ChangeToken, o store.ChangeOptions) *store.Watch
}

// Keys authenticate requests, without asking a database. *access.Registry implements Keys.
type Keys interface {
	// Authenticate returns the sender of a request with the token; the token is "" if the request has no credentials,
	// and any text if it has credentials of a different kind. The error is access.ErrUnauthenticated, or
	// access.ErrNotReady while the keys could not be read. With ErrNotReady there may be an identity, for the status alone.
	Authenticate(token string) (*access.Identity, error)
	// BySecret returns the holder of the secret with this hash, for a request that has proved by a sealed cookie to
	// come from the holder.
	BySecret(id string, secret access.Hash) (*access.Identity, error)
	// ByID returns the holder of a key for a request that has proved by a certificate to come from the holder.
	ByID(id string) (*access.Identity, error)
	// Current reports whether an identity is still valid with the same grants. Long answers ask each second.
	Current(i *access.Identity) bool
	// Ready reports whether every key can be judged now.
	Ready() bool
}

var _ Keys = (*access.Registry)(nil)

// Syncer controls the sync process of this process.
type Syncer = status.Syncer

// SyncStatus is the state of the sync process.
type SyncStatus = status.SyncStatus
