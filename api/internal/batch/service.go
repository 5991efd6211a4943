package batch

import (
	"context"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/store"
)

// Service serves batches and transactions.
type Service struct {
	*exchange.Shared
	store Store
}

// Store is the part of the store that batches and transactions use.
type Store interface {
	CheckName(name string) error
	Tag() store.ClusterTag
	MaxValueBytes() int64
	Master(key store.Key) string
	GetMany(ctx context.Context, keys []store.Key, o store.ReadOptions, each func(i int, r store.Read, err error))
	Update(ctx context.Context, keys []store.Key, o store.UpdateOptions, fn func(*store.Tx) error) error
	UpdateEach(ctx context.Context, changes []store.Write)
	Secure(ctx context.Context, marks ...store.Mark) error
}

// New returns a Service.
func New(s *exchange.Shared, batches Store) *Service { return &Service{s, batches} }

// largestBody bounds a body that is not streamed, in bytes.
func (s *Service) largestBody() int64 { return max(maxBatchBytes, s.largestLine()) }

// largestLine bounds an operation, in bytes. JSON may escape each byte of a value in six bytes.
func (s *Service) largestLine() int64 { return 6*s.store.MaxValueBytes() + 64<<10 }
