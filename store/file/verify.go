package file

import (
	"context"
	"errors"
	"slices"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// Verification is the outcome of reading every copy of every chunk of a file.
type Verification struct {
	Chunks   int      // of the file
	Copies   int      // wanted of each chunk
	Whole    int      // copies that have the data of their hash
	Damaged  int      // copies that had other data
	Missing  int      // copies that the placement asks for and the partition did not hold
	Repaired int      // damaged and missing copies that were restored
	Lost     []int    // indexes of chunks without a whole copy, at most maxLost
	Away     []string // partitions that could not be asked
}

// maxLost bounds Verification.Lost.
const maxLost = 1000

// IsClean reports whether every chunk has a whole copy and nothing is left to restore.
func (v *Verification) IsClean() bool {
	return len(v.Lost) == 0 && v.Damaged+v.Missing == v.Repaired
}

// Verify reads every copy of every chunk on the partitions that can be used, compares data and hash,
// and restores damaged and missing copies.
func (f *File) Verify(ctx context.Context) (*Verification, error) {
	v := &Verification{Chunks: len(f.Chunks), Copies: f.Copies}
	for _, r := range f.f.store.Replicas() {
		if r.Err != nil {
			v.Away = append(v.Away, r.Name())
		}
	}
	if f.Inline {
		return v, nil // the entry has a checksum of its own, which every read checks
	}
	for i, s := range f.spans() {
		if err := f.f.verifyChunk(ctx, v, i, f.Chunks[i], s.end-s.begin); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// verifyChunk reads every copy of a chunk.
func (f *Service) verifyChunk(ctx context.Context, v *Verification, i int, hash partition.ChunkHash, size int64) error {
	var whole []byte
	var broken []store.Replica
	for n, r := range f.order(hash) {
		if r.Err != nil {
			continue
		}
		data, err := f.getFrom(ctx, r, hash, size, nil)
		switch {
		case err == nil:
			v.Whole++
			whole = data
		case errors.Is(err, errDamaged):
			v.Damaged++
			broken = append(broken, r)
		case errors.Is(err, partition.ErrNoChunk) && n < v.Copies:
			f.counts.missing.Add(1)
			v.Missing++
			broken = append(broken, r)
		case !errors.Is(err, partition.ErrNoChunk) && !slices.Contains(v.Away, r.Name()):
			v.Away = append(v.Away, r.Name())
		}
	}
	if whole == nil {
		if len(v.Lost) < maxLost {
			v.Lost = append(v.Lost, i)
		}
		return ctx.Err()
	}
	v.Repaired += f.repair(ctx, hash, whole, broken)
	return ctx.Err()
}

// Holders returns the partitions that hold each chunk with the indexes from first, at most
// partition.MaxTouchedChunks of them, and counts as a use of these chunks.
func (f *File) Holders(ctx context.Context, first int) ([][]string, error) {
	batch := f.Chunks[first:min(first+partition.MaxTouchedChunks, len(f.Chunks))]
	holders := make([][]string, len(batch))
	for _, r := range f.f.store.Replicas() {
		if r.Err != nil {
			continue
		}
		missing, err := r.TouchChunks(ctx, batch)
		if err != nil {
			continue // the partition cannot be asked
		}
		lacks := make(map[partition.ChunkHash]bool, len(missing))
		for _, hash := range missing {
			lacks[hash] = true
		}
		for i, hash := range batch {
			if !lacks[hash] {
				holders[i] = append(holders[i], r.Name())
			}
		}
	}
	return holders, ctx.Err()
}
