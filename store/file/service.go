package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// Store is the part of *store.Store that files use.
type Store interface {
	Get(ctx context.Context, key store.Key, o store.ReadOptions) (store.Read, error)
	List(ctx context.Context, o store.ListOptions) (store.Page, error)
	Update(ctx context.Context, keys []store.Key, o store.UpdateOptions, fn func(*store.Tx) error) error
	Copy(ctx context.Context, e store.Entry, want int) (held int, err error)
	MaxValueBytes() int64
	Replicas() []store.Replica
}

// Sizes in bytes.
const (
	InlineBytes       = 64 << 10 // largest file that is kept inside its manifest
	MinChunkBytes     = 64 << 10
	MaxChunkBytes     = partition.MaxChunkBytes
	DefaultChunkBytes = 1 << 20
)

// Options configures a Service. The zero value of a field means its default.
type Options struct {
	ChunkBytes int // of the chunks of new files, MinChunkBytes to MaxChunkBytes; default DefaultChunkBytes
	Copies     int // of new files without a number of their own; default 2; at most as many as there are partitions
	// Grace is how long a chunk that no manifest names is kept after its last use, default 1 h. An
	// upload publishes its manifest within a quarter of Grace after the last use of each of its chunks,
	// or fails. All processes of a cluster have the same Grace.
	Grace  time.Duration
	Logger *slog.Logger // default slog.Default()
}

// Service stores and reads files. Its methods are safe for concurrent use.
type Service struct {
	store   Store
	options Options
	log     *slog.Logger
	buffers sync.Pool // of *[]byte with ChunkBytes

	mu     sync.Mutex
	failed map[string]time.Time // partitions that failed lately, until when they are asked last

	counts counts
}

// counts are the Figures, while they are counted.
type counts struct {
	read, written, damaged, missing, repaired atomic.Int64
}

// Figures count since the start of the process.
type Figures struct {
	ChunksRead    int64 // read from a partition, and whole
	ChunksWritten int64 // stored on a partition
	Damaged       int64 // found with other data than their hash says
	Missing       int64 // not found where their placement says
	Repaired      int64 // restored in place of damaged or missing chunks
}

// New returns a Service.
func New(s Store, o Options) (*Service, error) {
	o.ChunkBytes = cmp.Or(o.ChunkBytes, DefaultChunkBytes)
	o.Copies = cmp.Or(o.Copies, 2)
	o.Grace = cmp.Or(o.Grace, time.Hour)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	switch {
	case o.ChunkBytes < MinChunkBytes || o.ChunkBytes > MaxChunkBytes:
		return nil, fmt.Errorf("chunks of %d bytes: want %d to %d", o.ChunkBytes, MinChunkBytes, MaxChunkBytes)
	case o.Copies < 1:
		return nil, fmt.Errorf("%d copies: want at least 1", o.Copies)
	case o.Grace < 0:
		return nil, fmt.Errorf("grace of %v", o.Grace)
	}
	f := &Service{store: s, options: o, log: o.Logger, failed: make(map[string]time.Time)}
	f.buffers.New = func() any { b := make([]byte, o.ChunkBytes); return &b }
	return f, nil
}

// Grace is Options.Grace.
func (f *Service) Grace() time.Duration { return f.options.Grace }

// Figures returns what the service has counted.
func (f *Service) Figures() Figures {
	c := &f.counts
	return Figures{ChunksRead: c.read.Load(), ChunksWritten: c.written.Load(), Damaged: c.damaged.Load(), Missing: c.missing.Load(), Repaired: c.repaired.Load()}
}

// Key is the key of the manifest of a file.
func Key(name string) store.Key { return store.Files.Key(name) }

var (
	// ErrTooFewPartitions: fewer partitions than the copies of the file can store a chunk now. Nothing
	// was published.
	ErrTooFewPartitions = errors.New("too few partitions can store a chunk")
	// ErrNoCopy: no partition that answers has a whole copy of a chunk.
	ErrNoCopy = errors.New("no partition that answers has a whole copy of a chunk")
	// ErrTooSlow: the upload could not be published within the grace time of its chunks.
	ErrTooSlow = errors.New("the upload could not be published in time")
	// ErrManifest: the manifest of a file is not readable.
	ErrManifest = errors.New("unreadable manifest")
)

// CopiesError says that more copies were asked for than there are partitions.
type CopiesError struct{ Asked, Partitions int }

// Error implements error.
func (e *CopiesError) Error() string {
	return fmt.Sprintf("%d copies, and there are %d partitions", e.Asked, e.Partitions)
}

// copies returns the number of copies of a new file; asked is 0 for the default.
func (f *Service) copies(asked int) (int, error) {
	n := len(f.store.Replicas())
	if asked == 0 {
		return min(f.options.Copies, n), nil
	}
	if asked > n {
		return 0, &CopiesError{asked, n}
	}
	return asked, nil
}
