package sync

import (
	"context"
	"errors"

	"github.com/runnelkv/runnel/store/partition"
)

// checkLineage checks that the source holds what the target has copied of the origin
// before; the store is told of an origin that does not. Nothing is known of a
// source that is itself amid a catch-up: it may hold an older entry of a key that changed twice.
func (s *Syncer) checkLineage(ctx context.Context, j *job, source partition.Position) error {
	if j.at.Revision == 0 || !j.direct() && !source.Whole() {
		return nil
	}
	bound, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	newest, err := s.newest(bound, j)
	if err != nil {
		return err
	}
	err = partition.CheckLineage(bound, j.from, j.origin, newest)
	if errors.Is(err, partition.ErrSetBack) && j.direct() {
		s.cluster.SetBack(string(j.origin), j.to.Name(), err)
	}
	return j.fromSource(err)
}

// newest are the newest entries of the origin that the target holds: as remembered
// from the last copy, if nothing has moved the target since.
func (s *Syncer) newest(ctx context.Context, j *job) ([]partition.Entry, error) {
	s.mu.Lock()
	newest, at := j.lane.newest, j.lane.newestAt
	s.mu.Unlock()
	if at == j.at.Revision && len(newest) > 0 {
		return newest, nil
	}
	return j.to.Newest(ctx, j.origin, partition.LineageEntries)
}

// remember keeps the newest of the entries that took the target from one position to
// another. Syncer.mu is held.
func (l *lane) remember(entries []partition.Entry, from, to partition.Revision) {
	newest := make([]partition.Entry, 0, partition.LineageEntries)
	for i := len(entries) - 1; i >= 0 && len(newest) < cap(newest); i-- {
		e := &entries[i]
		newest = append(newest, partition.Entry{Key: e.Key, Origin: e.Origin, Revision: e.Revision, ModifiedAt: e.ModifiedAt})
	}
	if l.newestAt == from {
		newest = append(newest, l.newest[:min(len(l.newest), cap(newest)-len(newest))]...)
	}
	l.newest, l.newestAt = newest, to
}
