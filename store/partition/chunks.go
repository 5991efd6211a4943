package partition

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// MaxChunkBytes is the largest size of a chunk.
const MaxChunkBytes = 8 << 20

// ChunkHash is the SHA-256 of a chunk's data, and the chunk's name.
type ChunkHash [sha256.Size]byte

// String is the hash in hex.
func (h ChunkHash) String() string { return hex.EncodeToString(h[:]) }

// HashChunk returns the name of a chunk.
func HashChunk(data []byte) ChunkHash { return sha256.Sum256(data) }

// ChunkInfo describes a stored chunk.
type ChunkInfo struct {
	Hash ChunkHash
	Size int64
	// TouchedAt changes with each use of the chunk, and only grows. It is at least the partition's
	// clock as of the last use.
	TouchedAt Instant
}

// Chunks is the part of a partition that stores pieces of files. Chunks have no origin, no revision,
// no position and no tombstone: the name of a chunk is the hash of its data, so any order and any
// repetition of these calls end in the same data. The partition does not compare data with names: a
// reader does. Every method fails with ErrRefused on tables that hold no chunks, see Schema.CheckChunks.
type Chunks interface {
	// PutChunk stores a chunk of 1 to MaxChunkBytes bytes durably, in place of damaged data of the
	// same name, and counts as a use. ErrTooLarge, without effect: the chunk exceeds MaxChunkBytes or
	// MaxValueBytes.
	PutChunk(ctx context.Context, hash ChunkHash, data []byte) error
	// GetChunk reads the data of a chunk into a buffer if the capacity suffices, and otherwise into new
	// memory, or fails with ErrNoChunk. A failed call may have changed the buffer.
	GetChunk(ctx context.Context, hash ChunkHash, buffer []byte) ([]byte, error)
	// TouchChunks durably counts as a use of those chunks that the partition holds, and returns the
	// missing chunks, in the order of hashes. At most MaxTouchedChunks.
	TouchChunks(ctx context.Context, hashes []ChunkHash) (missing []ChunkHash, err error)
	// ListChunks returns at most limit chunks in the order of their hashes, beginning with the first
	// hash after after; nil: with the first of all.
	ListChunks(ctx context.Context, after *ChunkHash, limit int) ([]ChunkInfo, error)
	// DropChunks removes those chunks that were not used since they were listed: a chunk with another
	// TouchedAt stays. It returns the number of removed chunks. At most MaxTouchedChunks.
	DropChunks(ctx context.Context, chunks []ChunkInfo) (int, error)
}

// MaxTouchedChunks is the largest number of chunks of a call of TouchChunks or DropChunks.
const MaxTouchedChunks = 1000

// CheckChunk fails unless a chunk has a permitted size.
func CheckChunk(hash ChunkHash, data []byte, maxValueBytes int64) error {
	switch limit := min(MaxChunkBytes, maxValueBytes); {
	case len(data) == 0:
		return fmt.Errorf("chunk %s is empty", hash)
	case int64(len(data)) > limit:
		return fmt.Errorf("%w: chunk %s has %d bytes and the limit is %d", ErrTooLarge, hash, len(data), limit)
	}
	return nil
}

// CheckChunkCount fails if a call names too many chunks.
func CheckChunkCount(n int) error {
	if n > MaxTouchedChunks {
		return fmt.Errorf("%d chunks in a call, over %d", n, MaxTouchedChunks)
	}
	return nil
}
