package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/store/partition"
)

// reference is a chunk that manifests name.
type reference struct {
	hash   partition.ChunkHash
	size   int32
	copies int16  // the most that a manifest asks for
	held   uint64 // the partitions that hold it, as bits by their index in inventory.replicas
}

// inventory is what a pass knows.
type inventory struct {
	began    time.Time       // before the manifests were read
	refs     []reference     // sorted by hash, each once
	replicas []store.Replica // in the order of the configuration
	listed   []bool          // the chunks of a replica were listed
}

// maxPartitions is the number of bits in reference.held.
const maxPartitions = 64

func (k *Keeper) readInventory(ctx context.Context) (*inventory, error) {
	in := &inventory{began: time.Now(), replicas: k.store.Replicas()}
	if len(in.replicas) > maxPartitions {
		return nil, fmt.Errorf("chunks of files are kept on at most %d partitions", maxPartitions)
	}
	in.listed = make([]bool, len(in.replicas))
	err := k.service.EachManifest(ctx, k.service.Grace()/4, func(m *file.Manifest) error {
		for i, hash := range m.Chunks {
			in.refs = append(in.refs, reference{hash: hash, size: int32(m.ChunkSize(i)), copies: int16(m.Copies)})
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(in.refs, func(a, b reference) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	in.refs = mergeEqual(in.refs)
	var total int64
	for i := range in.refs {
		total += int64(in.refs[i].size)
	}
	k.update(func(s *Status) { s.Chunks, s.Bytes = int64(len(in.refs)), total })
	return in, nil
}

// mergeEqual merges neighbours of the same hash.
func mergeEqual(refs []reference) []reference {
	merged := refs[:0]
	for _, r := range refs {
		if n := len(merged); n > 0 && merged[n-1].hash == r.hash {
			merged[n-1].copies = max(merged[n-1].copies, r.copies)
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}

// mark is the state of a chunk when a pass first found it unused.
type mark struct {
	touchedAt partition.Instant
	at        time.Time // with a monotonic part
}

// marks are the unused chunks of a partition. Chunks beyond maxMarks wait for a later pass.
type marks map[partition.ChunkHash]mark

const maxMarks = 200_000

// compare lists the chunks of a partition, notes which references it holds, and drops chunks that no
// manifest names.
func (k *Keeper) compare(ctx context.Context, in *inventory, i int) error {
	r := in.replicas[i]
	if r.Err != nil {
		return nil
	}
	c := &comparison{k: k, in: in, bit: 1 << i, former: k.marks[r.Name()], marks: make(marks)}
	var after *partition.ChunkHash
	for {
		infos, err := r.ListChunks(ctx, after, partition.MaxTouchedChunks)
		if errors.Is(err, partition.ErrUnavailable) || errors.Is(err, partition.ErrRefused) {
			k.log.Warn("the chunks of a partition cannot be listed", "partition", r.Name(), "error", err)
			return ctx.Err()
		}
		if err != nil || len(infos) == 0 {
			in.listed[i] = err == nil
			k.marks[r.Name()] = c.marks
			return err
		}
		if err := k.drop(ctx, r, c.unused(infos)); err != nil {
			return err
		}
		after = &infos[len(infos)-1].Hash
		if err := k.pace(ctx, 0); err != nil {
			return err
		}
	}
}

// comparison merges the sorted chunks of a partition with the sorted references.
type comparison struct {
	k      *Keeper
	in     *inventory
	bit    uint64
	next   int // the first reference that was not compared
	former marks
	marks  marks
}

// unused notes the chunks that manifests name, marks the rest, and returns those that may be dropped.
func (c *comparison) unused(infos []partition.ChunkInfo) (due []partition.ChunkInfo) {
	now := time.Now()
	for _, info := range infos {
		for c.next < len(c.in.refs) && bytes.Compare(c.in.refs[c.next].hash[:], info.Hash[:]) < 0 {
			c.next++
		}
		if c.next < len(c.in.refs) && c.in.refs[c.next].hash == info.Hash {
			c.in.refs[c.next].held |= c.bit
			continue
		}
		if c.isDue(info, now) {
			due = append(due, info)
		}
	}
	return due
}

// isDue marks an unused chunk, and reports whether it was in the same state a grace time before the
// manifests were read.
func (c *comparison) isDue(info partition.ChunkInfo, now time.Time) bool {
	m, marked := c.former[info.Hash]
	if !marked || m.touchedAt != info.TouchedAt {
		m = mark{info.TouchedAt, now}
	}
	if c.in.began.Sub(m.at) >= c.k.service.Grace() {
		return true
	}
	if len(c.marks) < maxMarks {
		c.marks[info.Hash] = m
	}
	return false
}

// drop removes chunks of a partition that were not used since they were listed.
func (k *Keeper) drop(ctx context.Context, r store.Replica, due []partition.ChunkInfo) error {
	for len(due) > 0 {
		n := min(len(due), dropBatch)
		began := time.Now()
		dropped, err := r.DropChunks(ctx, due[:n])
		if err != nil {
			return err
		}
		k.update(func(s *Status) { s.Dropped += int64(dropped) })
		due = due[n:]
		if err := k.pace(ctx, time.Since(began)); err != nil {
			return err
		}
	}
	return nil
}

// dropBatch is the number of chunks that are dropped in a transaction.
const dropBatch = 50

// pace waits as long as a step took, so that the work takes half of the time at most, and renews the
// lease.
func (k *Keeper) pace(ctx context.Context, took time.Duration) error {
	if time.Since(k.renewed) > k.options.Interval/2 {
		if err := k.acquire(ctx); err != nil {
			return err
		}
	}
	if took <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(took):
		return nil
	}
}
