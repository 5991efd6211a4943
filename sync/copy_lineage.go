package sync

import (
	"context"
	"errors"

	"github.com/runnelkv/runnel/store/partition"
)

// checkLineage checks that the source holds the newest entries that the target has copied
// from the origin, and reports an origin that does not to the store. A source in a
// multi-step catch-up is not checked: it may hold an older entry of a key that changed twice.
func (s *Syncer) checkLineage(ctx context.Context, j *job, source partition.Position) error {
	if j.at.Revision == 0 || !j.isDirect() && !source.Whole() {
		return nil
	}
	bound, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	newest, err := s.newestEntries(bound, j)
	if err != nil {
		return err
	}
	err = partition.CheckLineage(bound, j.from, j.origin, newest)
	if errors.Is(err, partition.ErrSetBack) && j.isDirect() {
		s.cluster.SetBack(string(j.origin), j.to.Name(), err)
	}
	return j.sourceError(err)
}

// newestEntries returns the target's newest entries of the origin: as remembered
// from the last copy, if the target has not moved since.
func (s *Syncer) newestEntries(ctx context.Context, j *job) ([]partition.Entry, error) {
	s.mu.Lock()
	newest, at := j.stream.newest, j.stream.newestAt
	s.mu.Unlock()
	if at == j.at.Revision && len(newest) > 0 {
		return newest, nil
	}
	return j.to.Newest(ctx, j.origin, partition.LineageEntries)
}

// noteNewest remembers the newest of the entries that moved the target from one position to
// another. Syncer.mu is held.
func (st *stream) noteNewest(entries []partition.Entry, from, to partition.Revision) {
	newest := make([]partition.Entry, 0, partition.LineageEntries)
	for i := len(entries) - 1; i >= 0 && len(newest) < cap(newest); i-- {
		e := &entries[i]
		newest = append(newest, partition.Entry{Key: e.Key, Origin: e.Origin, Revision: e.Revision, ModifiedAt: e.ModifiedAt})
	}
	if st.newestAt == from {
		newest = append(newest, st.newest[:min(len(st.newest), cap(newest)-len(newest))]...)
	}
	st.newest, st.newestAt = newest, to
}
