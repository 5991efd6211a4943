package status

import (
	"context"
	"sync"
	"time"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// Service reports the state of the store and of the sync process.
type Service struct {
	*exchange.Shared
	store   Store
	syncer  Syncer // nil: the sync process runs elsewhere
	files   func() *wire.FilesStatus
	node    string
	version string
	started time.Time
	moving  sync.Mutex // held while a request moves slots
}

// Options configures a Service.
type Options struct {
	Store  Store
	Syncer Syncer // nil: the sync process runs elsewhere
	// Files is the state of the work on the chunks of files; nil: the work is done elsewhere.
	Files   func() *wire.FilesStatus
	Node    string // name of this process
	Version string // of the program
}

// Store is the part of the store that the status uses.
type Store interface {
	// Status returns the known state of the partitions without asking them.
	Status() store.Status
	// ClusterMap returns the map that this process knows; nil until a partition was reached.
	ClusterMap() *store.ClusterMap
	// PlanMoves returns the moves that a request stands for. The error is store.ErrMoveRefused.
	PlanMoves(q store.MoveRequest) ([]store.MoveRequest, error)
	// Move moves slots and calls progress at each stage. A move that has begun goes on without its process.
	Move(ctx context.Context, q store.MoveRequest, progress func(store.MoveStage)) error
	// Promote replaces a lost master and calls progress at each stage. A promotion that has begun goes on without its process.
	Promote(ctx context.Context, q store.PromoteRequest, progress func(store.PromoteStage)) (store.Promoted, error)
}

// New returns a Service.
func New(s *exchange.Shared, o Options) *Service {
	return &Service{Shared: s, store: o.Store, syncer: o.Syncer, files: o.Files, node: o.Node, version: o.Version, started: time.Now()}
}

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
