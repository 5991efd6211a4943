package apitest

import (
	"context"
	"log/slog"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/store"
)

// broken is a store of which every read fails, or panics.
type broken struct {
	api.Store
	err error
}

func (b broken) CheckName(string) error { return nil }

func (b broken) Get(context.Context, store.Key, store.ReadOptions) (store.Read, error) {
	if b.err == nil {
		panic("a mistake at 10.0.0.5")
	}
	return store.Read{}, b.err
}

func (b broken) Status() store.Status { return store.Status{} }

func (b broken) ClusterMap() *store.ClusterMap { return nil }

// NewBroken returns a node on a store of which every read fails with err, or panics if err is nil.
func NewBroken(err error, change ...func(*api.Options)) *Node {
	o := api.Options{Store: broken{err: err}, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&o)
	}
	return &Node{Server: api.New(o)}
}
