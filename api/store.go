package api

import (
	"context"
	"time"

	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// Store is what the API needs of a *store.Store.
type Store interface {
	Reader
	Writer
	Feed
	// CheckName returns a *store.KeyError unless name is a key.
	CheckName(name string) error
	// Tag is of the store's cluster, for its tokens; 0 while none is known.
	Tag() store.ClusterTag
	// Lost reports whether a session has seen writes that a restore has undone.
	Lost(session store.Vector) bool
	// MaxValueBytes is the largest value that is accepted.
	MaxValueBytes() int64
	// Status is what is known of the partitions, without asking them.
	Status() store.Status
}

// Reader reads from any partition, or from the one that the options ask for.
type Reader interface {
	Get(ctx context.Context, key store.Key, o store.ReadOptions) (store.Read, error)
	// GetMany reads many keys in few statements, and calls each for every one in order.
	GetMany(ctx context.Context, keys []store.Key, o store.ReadOptions, each func(i int, r store.Read, err error))
	List(ctx context.Context, o store.ListOptions) (store.Page, error)
	// Union lists all reachable partitions together.
	Union(ctx context.Context, o store.ListOptions) (store.Page, error)
}

// Writer writes on the keys' master.
type Writer interface {
	// Put writes whatever stood before.
	Put(ctx context.Context, e store.Entry) (store.PutResult, error)
	// Update runs fn over the current entries of the keys and commits what fn wrote.
	Update(ctx context.Context, keys []store.Key, o store.UpdateOptions, fn func(*store.Tx) error) error
	// UpdateEach makes many changes, each by itself, in shared commits.
	UpdateEach(ctx context.Context, changes []store.Write)
	// Copy brings a committed entry to further partitions until want hold it
	// (store.EveryReachable: all that can be reached), and says how many do.
	Copy(ctx context.Context, e store.Entry, want int) (held int, err error)
	// Master is the name of the key's master.
	Master(key store.Key) string
}

var _ Store = (*store.Store)(nil)

// Syncer is the sync process, where it runs in this process.
type Syncer interface {
	// Trigger runs a pass now, or joins the one that is running, and reports it.
	Trigger(ctx context.Context) (wire.SyncReport, error)
	// SyncStatus is what is known of the passes so far.
	SyncStatus() SyncStatus
}

// SyncStatus is the state of the sync process.
type SyncStatus struct {
	Running  bool // passes are made here: by this process, or by another while it stands by
	Standby  bool // another process holds the lease
	LastPass time.Time
	NextPass time.Time     // when the schedule's next one after it is due; zero: none is
	Took     time.Duration // of the last pass
	Passes   int64         // since the process started
	Targets  []wire.SyncTarget
}
