package keys

import (
	"context"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/lock"
)

// Service serves single keys, lists of keys and the classic paths.
type Service struct {
	*exchange.Shared
	store Store
}

// Store is the part of the store that keys use.
type Store interface {
	lock.Store
	Get(ctx context.Context, key store.Key, o store.ReadOptions) (store.Read, error)
	Union(ctx context.Context, o store.ListOptions) (store.Page, error)
	Put(ctx context.Context, e store.Entry) (store.PutResult, error)
	UpdateEach(ctx context.Context, changes []store.Write)
	Copy(ctx context.Context, e store.Entry, want int) (held int, err error)
	Secure(ctx context.Context, marks ...store.Mark) error
	Master(key store.Key) string
	MaxValueBytes() int64
	Status() store.Status
}

// New returns a Service.
func New(s *exchange.Shared, keys Store) *Service { return &Service{s, keys} }
