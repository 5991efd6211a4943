package file

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// putChunk stores a chunk durably, side by side, on the first partitions in the order of placement that can
// take the chunk; as many as copies says.
func (f *Service) putChunk(ctx context.Context, hash partition.ChunkHash, data []byte, copies int) error {
	candidates := f.usableFirst(f.order(hash))
	outcomes := make(chan error, len(candidates))
	next, stored := 0, 0
	start := func() {
		r := candidates[next]
		next++
		go func() { outcomes <- f.putOn(ctx, r, hash, data) }()
	}
	for range min(copies, len(candidates)) {
		start()
	}
	var failures []error
	for running := next; running > 0; {
		err := <-outcomes
		running--
		if err == nil {
			stored++
			continue
		}
		failures = append(failures, err)
		if next < len(candidates) && ctx.Err() == nil {
			start()
			running++
		}
	}
	if stored < copies {
		return fmt.Errorf("%w: %d of %d stored chunk %s: %w", ErrTooFewPartitions, stored, copies, hash, errors.Join(failures...))
	}
	return nil
}

// putOn stores a chunk on a partition.
func (f *Service) putOn(ctx context.Context, r store.Replica, hash partition.ChunkHash, data []byte) error {
	if r.Err != nil {
		return fmt.Errorf("%s: %w", r.Name(), r.Err)
	}
	err := r.PutChunk(ctx, hash, data)
	if f.noteOutcome(r.Name(), err); err == nil {
		f.counts.written.Add(1)
	}
	return err
}

// getChunk reads a chunk of a size from the first partition that has a whole copy, and restores the
// damaged copies, and missing copies among the first copies partitions of the placement.
func (f *Service) getChunk(ctx context.Context, hash partition.ChunkHash, size int64, copies int, buffer []byte) ([]byte, error) {
	placed := f.order(hash)
	holders := make(map[string]bool, copies)
	for _, r := range placed[:min(copies, len(placed))] {
		holders[r.Name()] = true
	}
	var failures []error
	var broken []store.Replica
	for _, r := range f.usableFirst(placed) {
		if r.Err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", r.Name(), r.Err))
			continue
		}
		data, err := f.getFrom(ctx, r, hash, size, buffer)
		if err == nil {
			f.repair(ctx, hash, data, broken)
			return data, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		failures = append(failures, err)
		switch {
		case errors.Is(err, errDamaged):
			broken = append(broken, r)
		case errors.Is(err, partition.ErrNoChunk) && holders[r.Name()]:
			f.counts.missing.Add(1)
			broken = append(broken, r)
		}
	}
	return nil, fmt.Errorf("%w %s: %w", ErrNoCopy, hash, errors.Join(failures...))
}

// errDamaged: a partition holds other data than the hash says.
var errDamaged = errors.New("damaged chunk")

// getFrom reads a chunk from a partition, and compares data and hash.
func (f *Service) getFrom(ctx context.Context, r store.Replica, hash partition.ChunkHash, size int64, buffer []byte) ([]byte, error) {
	data, err := r.GetChunk(ctx, hash, buffer)
	if f.noteOutcome(r.Name(), err); err != nil {
		return nil, err
	}
	if int64(len(data)) != size || partition.HashChunk(data) != hash {
		f.counts.damaged.Add(1)
		f.log.Error("damaged chunk", "partition", r.Name(), "chunk", hash.String())
		return nil, fmt.Errorf("%w %s on %s", errDamaged, hash, r.Name())
	}
	f.counts.read.Add(1)
	return data, nil
}

// repair stores a whole chunk on partitions where it is damaged or missing.
func (f *Service) repair(ctx context.Context, hash partition.ChunkHash, data []byte, broken []store.Replica) (repaired int) {
	for _, r := range broken {
		if err := f.putOn(ctx, r, hash, data); err != nil {
			f.log.Warn("chunk could not be restored", "partition", r.Name(), "chunk", hash.String(), "error", err)
			continue
		}
		repaired++
		f.counts.repaired.Add(1)
		f.log.Info("chunk restored", "partition", r.Name(), "chunk", hash.String())
	}
	return repaired
}

// touch counts as a use of the chunks of a manifest on every partition that can be used, so that no
// collection removes them before the manifest is published, and stores further copies where fewer
// than copies partitions hold a chunk.
func (f *Service) touch(ctx context.Context, m *Manifest, copies int) error {
	for first := 0; first < len(m.Chunks); first += partition.MaxTouchedChunks {
		batch := m.Chunks[first:min(first+partition.MaxTouchedChunks, len(m.Chunks))]
		held, err := f.touchBatch(ctx, batch)
		if err != nil {
			return err
		}
		for i, hash := range batch {
			if held[i] >= copies {
				continue
			}
			data, err := f.getChunk(ctx, hash, m.ChunkSize(first+i), copies, nil)
			if err == nil {
				err = f.putChunk(ctx, hash, data, copies)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// touchBatch returns how many partitions hold each chunk.
func (f *Service) touchBatch(ctx context.Context, batch []partition.ChunkHash) ([]int, error) {
	held := make([]int, len(batch))
	for _, r := range f.store.Replicas() {
		if r.Err != nil {
			continue
		}
		missing, err := r.TouchChunks(ctx, batch)
		if f.noteOutcome(r.Name(), err); err != nil {
			f.log.Warn("chunks could not be kept from collection", "partition", r.Name(), "error", err)
			continue
		}
		lacks := make(map[partition.ChunkHash]bool, len(missing))
		for _, hash := range missing {
			lacks[hash] = true
		}
		for i, hash := range batch {
			if !lacks[hash] {
				held[i]++
			}
		}
	}
	return held, ctx.Err()
}
