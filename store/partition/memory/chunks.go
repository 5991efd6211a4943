package memory

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
)

// chunk is a stored chunk of a file.
type chunk struct {
	touchedAt partition.Instant
	data      []byte
}

// PutChunk implements partition.Chunks.
func (m *Partition) PutChunk(ctx context.Context, hash partition.ChunkHash, data []byte) error {
	if err := partition.CheckChunk(hash, data, m.MaxValueBytes()); err != nil {
		return m.wrap(OpPutChunk, err)
	}
	return m.update(ctx, OpPutChunk, func() error {
		m.db.chunks[hash] = chunk{m.db.touch(hash), bytes.Clone(data)}
		return nil
	})
}

// touch returns the time of a new use of a chunk.
func (db *database) touch(hash partition.ChunkHash) partition.Instant {
	return max(db.chunks[hash].touchedAt+1, db.instant())
}

// GetChunk implements partition.Chunks.
func (m *Partition) GetChunk(ctx context.Context, hash partition.ChunkHash, buffer []byte) (data []byte, err error) {
	err = m.view(ctx, OpGetChunk, func() error {
		c, held := m.db.chunks[hash]
		if !held {
			return fmt.Errorf("%w: %s", partition.ErrNoChunk, hash)
		}
		data = append(buffer[:0], c.data...)
		return nil
	})
	return data, err
}

// TouchChunks implements partition.Chunks.
func (m *Partition) TouchChunks(ctx context.Context, hashes []partition.ChunkHash) (missing []partition.ChunkHash, err error) {
	if err := partition.CheckChunkCount(len(hashes)); err != nil {
		return nil, m.wrap(OpTouchChunks, err)
	}
	err = m.update(ctx, OpTouchChunks, func() error {
		for _, hash := range hashes {
			if c, held := m.db.chunks[hash]; held {
				m.db.chunks[hash] = chunk{m.db.touch(hash), c.data}
			} else {
				missing = append(missing, hash)
			}
		}
		return nil
	})
	return missing, err
}

// ListChunks implements partition.Chunks.
func (m *Partition) ListChunks(ctx context.Context, after *partition.ChunkHash, limit int) (infos []partition.ChunkInfo, err error) {
	if limit < 1 {
		return nil, m.wrap(OpListChunks, fmt.Errorf("limit %d", limit))
	}
	err = m.view(ctx, OpListChunks, func() error {
		byHash := func(a, b partition.ChunkHash) int { return bytes.Compare(a[:], b[:]) }
		for _, hash := range slices.SortedFunc(maps.Keys(m.db.chunks), byHash) {
			if after != nil && byHash(hash, *after) <= 0 || len(infos) == limit {
				continue
			}
			c := m.db.chunks[hash]
			infos = append(infos, partition.ChunkInfo{Hash: hash, Size: int64(len(c.data)), TouchedAt: c.touchedAt})
		}
		return nil
	})
	return infos, err
}

// DropChunks implements partition.Chunks.
func (m *Partition) DropChunks(ctx context.Context, chunks []partition.ChunkInfo) (dropped int, err error) {
	if err := partition.CheckChunkCount(len(chunks)); err != nil {
		return 0, m.wrap(OpDropChunks, err)
	}
	err = m.update(ctx, OpDropChunks, func() error {
		for _, info := range chunks {
			if c, held := m.db.chunks[info.Hash]; held && c.touchedAt == info.TouchedAt {
				delete(m.db.chunks, info.Hash)
				dropped++
			}
		}
		return nil
	})
	return dropped, err
}
