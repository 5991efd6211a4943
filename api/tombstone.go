package api

import (
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// tombstoneOf is the tombstone that a view with one key has just written.
func tombstoneOf(v *store.View, key store.Key, master store.Origin) store.Entry {
	return store.Entry{
		Key: key, Origin: master, Revision: v.Revision(), Deleted: true,
		ModifiedAt: v.Now(), Checksum: partition.Checksum(nil),
	}
}
