package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
)

// EveryReachable asks Copy for all partitions that this process can reach.
const EveryReachable = -1

// Copy brings a committed entry to further partitions now, side by side, until
// want of them hold it durably, its master included; it need not be the sync
// process that does. It returns how many do, at least 1: fewer than want when no
// other can take it, or not in the timeout of a database operation. A partition
// that fails has another tried in its place. Those that are being filled do not
// count, and take nothing. The error says who failed; with as many copies as are
// wanted, or with EveryReachable on each that can be reached, there is none.
func (s *Store) Copy(ctx context.Context, e Entry, want int) (held int, err error) {
	keepers := s.keepers(e.Origin)
	if want == EveryReachable {
		want = 1 + len(keepers)
	}
	candidates := make(chan *member, len(keepers))
	for _, m := range keepers {
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
				failure := m.place(ctx, e)
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

// keepers are the partitions that can be asked to keep a copy of what an origin
// wrote, in random order, those last that are not known to be whole: what they
// are they know themselves.
func (s *Store) keepers(origin Origin) []*member {
	var keepers []*member
	for _, m := range *s.members.Load() {
		if m.Name() != string(origin) && m.reads.Load() {
			keepers = append(keepers, m)
		}
	}
	rand.Shuffle(len(keepers), func(i, j int) { keepers[i], keepers[j] = keepers[j], keepers[i] })
	slices.SortStableFunc(keepers, func(a, b *member) int {
		switch wholeA, wholeB := a.whole(origin), b.whole(origin); {
		case wholeA == wholeB:
			return 0
		case wholeA:
			return -1
		}
		return 1
	})
	return keepers
}

// place brings an entry of another origin to the member.
func (m *member) place(ctx context.Context, e Entry) error {
	if err := m.Place(ctx, []Entry{e}); err != nil {
		return fmt.Errorf("place %s %d on %s: %w", e.Origin, e.Revision, m.Name(), err)
	}
	return nil
}
