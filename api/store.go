package api

import (
	"context"
	"time"

	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
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
	// MaxValueBytes is the largest accepted value, in bytes.
	MaxValueBytes() int64
	// Status returns the known state of the partitions without asking them.
	Status() store.Status
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
	// Master returns the name of the key's master.
	Master(key store.Key) string
}

var _ Store = (*store.Store)(nil)

// Syncer controls the sync process of this process.
type Syncer interface {
	// Trigger makes a pass, or joins the pass in progress, and reports the result.
	Trigger(ctx context.Context) (wire.SyncReport, error)
	// SyncStatus returns the state of the passes so far.
	SyncStatus() SyncStatus
}

// SyncStatus is the state of the sync process.
type SyncStatus struct {
	Running  bool // passes are made by this process, or by another while this process stands by
	Standby  bool // another process holds the lease
	LastPass time.Time
	NextPass time.Time     // when the schedule's next pass is due; zero: no pass is due
	Took     time.Duration // duration of the last pass
	Passes   int64         // since the process started
	Targets  []wire.SyncTarget
}
