package partition

import (
	"context"
	"fmt"
)

// LineageEntries is how many of its newest entries a replica is compared by.
const LineageEntries = 8

// CheckLineage checks that source still holds what a replica copied of an origin: newest
// are the newest entries of the origin that the replica holds (Reader.Newest). Each must
// stand on source with the same revision and time, or be followed there by a later revision of its key, or
// be old enough to be collected. Otherwise the error is ErrSetBack: source was set
// back in time, and a copy from there would mix two histories.
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

// checkCollected checks that entries that are absent can be: tombstones of their
// origin are collected up to there, or those of a later epoch, in which another master may have
// deleted the key.
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
