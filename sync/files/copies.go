package files

import (
	"context"
	"errors"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/store/partition"
)

// restoreCopies copies chunks to the partitions that should hold them and do not, and drops copies
// beyond that once every partition of the placement holds the chunk.
func (k *Keeper) restoreCopies(ctx context.Context, in *inventory) error {
	index := make(map[string]int, len(in.replicas))
	all := true
	for i, r := range in.replicas {
		index[r.Name()] = i
		all = all && in.listed[i]
	}
	t := &totals{}
	surplus := make([][]partition.ChunkHash, len(in.replicas))
	for i := range in.refs {
		ref := &in.refs[i]
		if ref.held == 0 {
			if all {
				t.lost++
				k.log.Error("a chunk of a file is lost: no partition holds it", "chunk", ref.hash.String())
			}
			continue
		}
		var wanted uint64
		for _, r := range file.Order(in.replicas, ref.hash)[:min(int(ref.copies), len(in.replicas))] {
			wanted |= 1 << index[r.Name()]
		}
		if err := k.restore(ctx, in, ref, wanted, t); err != nil {
			return err
		}
		if beyond := ref.held &^ wanted; beyond != 0 && ref.held&wanted == wanted {
			for n := range in.replicas {
				if beyond&(1<<n) != 0 {
					surplus[n] = append(surplus[n], ref.hash)
				}
			}
		}
	}
	var unused int64
	for n, hashes := range surplus {
		if err := k.dropSurplus(ctx, in, n, hashes); err != nil {
			return err
		}
		unused += int64(len(k.marks[in.replicas[n].Name()]))
	}
	k.update(func(s *Status) { s.Missing, s.Lost, s.Unused = t.missing, t.lost, unused })
	return nil
}

// totals count the work that a pass leaves undone.
type totals struct{ missing, lost int64 }

// restore copies a chunk to the wanted partitions that lack it. A partition that was not listed is left to
// a later pass.
func (k *Keeper) restore(ctx context.Context, in *inventory, ref *reference, wanted uint64, t *totals) error {
	var data []byte
	for n, r := range in.replicas {
		bit := uint64(1) << n
		if wanted&bit == 0 || ref.held&bit != 0 {
			continue
		}
		if !in.listed[n] {
			t.missing++
			continue
		}
		began := time.Now()
		if data == nil {
			var err error
			if data, err = k.service.ReadChunk(ctx, ref.hash, int64(ref.size), int(ref.copies)); err != nil {
				t.missing++
				return k.skip(ctx, err)
			}
		}
		if err := k.service.RestoreChunk(ctx, r, ref.hash, data); err != nil {
			t.missing++
			if err := k.skip(ctx, err); err != nil {
				return err
			}
			continue
		}
		ref.held |= bit
		k.update(func(s *Status) { s.Copied++ })
		if err := k.pace(ctx, time.Since(began)); err != nil {
			return err
		}
	}
	return nil
}

// skip logs a chunk that cannot be read or stored now, which ends the pass only with ctx.
func (k *Keeper) skip(ctx context.Context, err error) error {
	if ctx.Err() == nil && !errors.Is(err, partition.ErrUnavailable) {
		k.log.Warn("a copy of a chunk is left for a later pass", "error", err)
	}
	return ctx.Err()
}

// dropSurplus drops chunks that a partition holds beyond the copies of its files, under the rules
// of unused chunks.
func (k *Keeper) dropSurplus(ctx context.Context, in *inventory, n int, hashes []partition.ChunkHash) error {
	r := in.replicas[n]
	c := &comparison{k: k, in: in, former: k.surplus[r.Name()], marks: make(marks)}
	k.surplus[r.Name()] = c.marks
	for _, hash := range hashes {
		info, found, err := find(ctx, r, hash)
		if err != nil {
			return k.skip(ctx, err)
		}
		if !found || !c.isDue(info, time.Now()) {
			continue
		}
		if err := k.drop(ctx, r, []partition.ChunkInfo{info}); err != nil {
			return k.skip(ctx, err)
		}
	}
	return nil
}

// find returns the state of a chunk on a partition.
func find(ctx context.Context, r store.Replica, hash partition.ChunkHash) (info partition.ChunkInfo, found bool, err error) {
	before := hash
	for i := len(before) - 1; i >= 0; i-- { // the hash below
		if before[i]--; before[i] != 0xff {
			break
		}
	}
	infos, err := r.ListChunks(ctx, &before, 1)
	if err != nil || len(infos) == 0 || infos[0].Hash != hash {
		return info, false, err
	}
	return infos[0], true, nil
}
