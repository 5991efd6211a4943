package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
)

// Copy brings a committed entry to further partitions now, side by side, until
// want of them hold it durably, its master included; it need not be the sync
// process that does. It returns how many do, at least 1: fewer than want when no
// other can take it, or not in the timeout of a database operation. A partition
// that fails has another tried in its place. Those that are being filled do not
// count: what they hold may go once more. The error says who failed; with
// as many copies as are wanted there is none.
func (s *Store) Copy(ctx context.Context, e Entry, want int) (held int, err error) {
	candidates := make(chan *member, len(*s.members.Load()))
	for _, m := range s.keepers(e.Origin) {
		candidates <- m
	}
	close(candidates)
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	placed := make([]bool, max(want-1, 0))
	errs := make([]error, len(placed))
	var group sync.WaitGroup
	for i := range placed {
		group.Go(func() {
			for m := range candidates {
				failure := s.place(ctx, m, []Entry{e})
				if failure == nil {
					placed[i] = true
					return
				}
				errs[i] = errors.Join(errs[i], failure)
			}
		})
	}
	group.Wait()
	held = 1
	for _, ok := range placed {
		if ok {
			held++
		}
	}
	if held >= want {
		return held, nil
	}
	return held, errors.Join(errs...)
}

// keepers are the partitions that can keep a copy of what an origin wrote, in
// random order.
func (s *Store) keepers(origin Origin) []*member {
	var keepers []*member
	for _, m := range *s.members.Load() {
		if m.Name() != string(origin) && m.reads.Load() && m.whole(origin) {
			keepers = append(keepers, m)
		}
	}
	rand.Shuffle(len(keepers), func(i, j int) { keepers[i], keepers[j] = keepers[j], keepers[i] })
	return keepers
}

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

// place brings entries to a member, except those that it wrote itself.
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
