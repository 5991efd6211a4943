package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Spread applies entries that are committed on their master to every other
// reachable partition now, side by side, instead of leaving it to the sync
// process. It returns how many partitions hold them durably, the master
// included; partitions that fail or are not reachable get them from sync later.
// The error says which reachable ones failed.
func (s *Store) Spread(ctx context.Context, entries []Entry) (reached int, err error) {
	members := *s.members.Load()
	errs := make([]error, len(members))
	var group sync.WaitGroup
	for i, m := range members {
		if !m.reads.Load() {
			continue
		}
		reached++
		group.Go(func() { errs[i] = s.place(ctx, m, entries) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			reached--
		}
	}
	return reached, errors.Join(errs...)
}

func (s *Store) place(ctx context.Context, m *member, entries []Entry) error {
	var others []Entry
	for _, e := range entries {
		if string(e.Origin) != m.Name() {
			others = append(others, e)
		}
	}
	if len(others) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	if err := m.Place(ctx, others); err != nil {
		return fmt.Errorf("place %d entries on %s: %w", len(others), m.Name(), err)
	}
	return nil
}
