package partition

import (
	"context"
	"fmt"
)

// LineageEntries is how many of a replica's newest entries CheckLineage needs.
const LineageEntries = 8

// CheckLineage checks that source still has the entries that a replica copied from an origin.
// newest are the replica's newest entries of the origin (Reader.Newest). For each of them, source
// must have the same revision and time, or a later revision of the key, or must have collected
// tombstones up to the revision. Otherwise CheckLineage fails with ErrSetBack: source was set back
// in time, and a copy from source would mix two histories.
func CheckLineage(ctx context.Context, source Reader, origin Origin, newest []Entry) error {
	if len(newest) == 0 {
		return nil
	}
	keys := make([]Key, len(newest))
	for i := range newest {
		keys[i] = newest[i].Key
	}
	standing, err := source.GetSmall(ctx, keys, 0)
	if err != nil {
		return err
	}
	byKey := make(map[Key]*Entry, len(standing))
	for i := range standing {
		byKey[standing[i].Key] = &standing[i]
	}
	var absent []*Entry
	for i := range newest {
		e := &newest[i]
		switch now := byKey[e.Key]; {
		case now == nil:
			absent = append(absent, e)
		case now.Revision < e.Revision, now.Revision == e.Revision && (now.Origin != e.Origin || now.ModifiedAt != e.ModifiedAt):
			return fmt.Errorf("%w: it holds %q at %d, where its copy holds %d", ErrSetBack, e.Key, now.Revision, e.Revision)
		}
	}
	if len(absent) == 0 {
		return nil
	}
	return checkCollected(ctx, source, origin, absent)
}

// checkCollected checks that collecting tombstones explains each absent entry: up to the entry's
// revision at its origin, or in a later epoch, in which another master may have deleted the key.
func checkCollected(ctx context.Context, source Reader, origin Origin, absent []*Entry) error {
	at, err := source.Positions(ctx)
	if err != nil {
		return err
	}
	for _, e := range absent {
		collected := at.Origins[origin].Collected
		for _, other := range at.Origins {
			if other.Collected.Epoch() > e.Revision.Epoch() {
				collected = max(collected, other.Collected)
			}
		}
		if collected < e.Revision {
			return fmt.Errorf("%w: it lacks %q, which its copy holds at %d", ErrSetBack, e.Key, e.Revision)
		}
	}
	return nil
}
