package file

import (
	"context"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// EachManifest calls f with every manifest, as of a moment at most maxStaleness before the call, or
// later. The first error ends the calls; so does a manifest that is not readable.
func (f *Service) EachManifest(ctx context.Context, maxStaleness time.Duration, each func(*Manifest) error) error {
	o := store.ListOptions{Space: store.Files, Values: true, Limit: store.MaxLimit,
		ReadOptions: store.ReadOptions{Consistency: store.Bounded, MaxStaleness: maxStaleness}}
	for {
		page, err := f.store.List(ctx, o)
		if err != nil {
			return fmt.Errorf("read the manifests: %w", err)
		}
		for i := range page.Entries {
			m, err := ParseManifest(page.Entries[i].Value)
			if err == nil {
				err = each(m)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", page.Entries[i].Key, err)
			}
		}
		if o.After = page.Next; o.After == "" {
			return nil
		}
	}
}

// ReadChunk reads a chunk from any partition that has a whole copy, and restores the damaged copies on
// the way. ErrNoCopy: no partition that answers has it.
func (f *Service) ReadChunk(ctx context.Context, hash partition.ChunkHash, size int64, copies int) ([]byte, error) {
	return f.getChunk(ctx, hash, size, copies, nil)
}

// RestoreChunk stores a chunk on a partition that lacks the chunk.
func (f *Service) RestoreChunk(ctx context.Context, r store.Replica, hash partition.ChunkHash, data []byte) error {
	err := f.putOn(ctx, r, hash, data)
	if err == nil {
		f.counts.repaired.Add(1)
	}
	return err
}

// VerifyChunk reads every copy of a chunk, and restores damaged and missing copies.
func (f *Service) VerifyChunk(ctx context.Context, hash partition.ChunkHash, size int64, copies int) (*Verification, error) {
	v := &Verification{Chunks: 1, Copies: copies}
	return v, f.verifyChunk(ctx, v, 0, hash, size)
}
