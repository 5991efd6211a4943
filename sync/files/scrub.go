package files

import (
	"bytes"
	"context"
	"sort"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// scrubState is the progress of the present round of reading every copy.
type scrubState struct {
	after *partition.ChunkHash // the last chunk that was read; nil: a round begins
	began time.Time            // of the round
	clean bool                 // every copy of the round was read
}

// scrubUntil reads copies of chunks at the configured rate, until a round is complete or the time is over.
// A damaged copy is restored from another.
func (k *Keeper) scrubUntil(ctx context.Context, in *inventory, end time.Time) error {
	if k.options.ScrubRate < 0 {
		return nil
	}
	if k.scrub.after == nil {
		k.scrub = scrubState{began: time.Now(), clean: true}
		k.update(func(s *Status) { s.Scrubbed = 0 })
	}
	for i := in.indexAfter(k.scrub.after); ; i++ {
		if i == len(in.refs) {
			if k.scrub.clean {
				k.update(func(s *Status) { s.VerifiedAt = k.scrub.began })
			}
			k.scrub.after = nil
			return nil
		}
		if !time.Now().Before(end) {
			return nil
		}
		ref := &in.refs[i]
		began := time.Now()
		v, err := k.service.VerifyChunk(ctx, ref.hash, int64(ref.size), int(ref.copies))
		if err != nil {
			return err
		}
		if len(v.Lost) > 0 && len(v.Away) == 0 {
			k.log.Error("a chunk of a file is damaged in every copy", "chunk", ref.hash.String())
		}
		k.scrub.clean = k.scrub.clean && v.IsClean() && len(v.Away) == 0
		k.scrub.after = &ref.hash
		k.update(func(s *Status) { s.Scrubbed++ })
		read := time.Duration(float64(v.Whole+v.Damaged) * float64(ref.size) / float64(k.options.ScrubRate) * float64(time.Second))
		if err := k.pace(ctx, max(time.Since(began), read-time.Since(began))); err != nil {
			return err
		}
	}
}

// indexAfter returns the index of the first reference after a hash; nil: 0.
func (in *inventory) indexAfter(after *partition.ChunkHash) int {
	if after == nil {
		return 0
	}
	return sort.Search(len(in.refs), func(i int) bool { return bytes.Compare(in.refs[i].hash[:], after[:]) > 0 })
}
