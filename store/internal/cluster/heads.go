package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
)

// A master that was set back in time (a crash without durability, an older backup) would
// issue revisions again, and reads would lack the lost writes. A former master that was set
// back lacks writes of its own that no position shows. compareHead finds both: such a partition
// takes no writes and answers no reads of its entries until nothing is missing any more.

// compareHead compares the newest own revision of a present or former master with the revisions
// that the rest of the partitions hold, or held, and that this process has committed, and then
// their entries.
func (r *Register) compareHead(ctx context.Context, master *backend.Backend) {
	if !master.IsReadable() {
		return
	}
	if !r.isOrigin(master.Name()) {
		master.NoteNoMaster()
		return
	}
	origin := partition.Origin(master.Name())
	highest, holder := master.NewestSeen(), "this process"
	for _, b := range r.backends.All() {
		if at, ok := b.Position(origin); ok && b != master && at.Revision >= highest {
			highest, holder = at.Revision, b.Name()
		}
	}
	own := master.CompleteUpTo(origin)
	if own < highest { // the master may have been read before the replica
		master.PollPositions(ctx)
		own = master.CompleteUpTo(origin)
	}
	switch {
	case master.Observed() == nil:
	case own < highest:
		master.SetBehind(fmt.Errorf("its newest revision is %d, but %s has seen revision %d of it", own, holder, highest))
	default:
		master.SetBehind(r.checkLineages(ctx, master))
	}
}

// lineagePair names a master and a replica.
type lineagePair struct{ master, replica string }

// lineage is the result of comparing a master's entries with a replica's copies.
type lineage struct {
	joins [2]int64 // of the master and the replica at the time of the comparison
	err   error    // partition.ErrSetBack, or nil
}

// checkLineages compares a master with its replicas: once after either has joined, because
// another database may have taken its place, and as long as they differ. Later changes are
// found by the sync process with each copy, and by each commit from the revisions seen.
func (r *Register) checkLineages(ctx context.Context, master *backend.Backend) error {
	origin := partition.Origin(master.Name())
	var found error
	for _, b := range r.backends.All() {
		if b == master {
			continue
		}
		pair := lineagePair{master.Name(), b.Name()}
		known := r.lineageOf(pair)
		joins := [2]int64{master.Joins(), b.Joins()}
		if at, _ := b.Position(origin); b.IsReadable() && at.Revision > 0 && (known.joins != joins || known.err != nil) {
			err := r.checkLineage(ctx, master, b)
			if err == nil || errors.Is(err, partition.ErrSetBack) {
				known = lineage{joins, err}
				r.setLineage(pair, known)
			}
		} else if b.IsReadable() && at.Revision == 0 {
			known.err = nil // the replica was emptied, or never held anything
			r.setLineage(pair, known)
		}
		if found == nil && known.err != nil {
			found = fmt.Errorf("compared with %s: %w", b.Name(), known.err)
		}
	}
	return found
}

func (r *Register) checkLineage(ctx context.Context, master, replica *backend.Backend) error {
	ctx, cancel := context.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	newest, err := replica.Newest(ctx, partition.Origin(master.Name()), partition.LineageEntries)
	if err != nil {
		return err
	}
	return partition.CheckLineage(ctx, master, partition.Origin(master.Name()), newest)
}

func (r *Register) lineageOf(p lineagePair) lineage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lineages[p]
}

func (r *Register) setLineage(p lineagePair, l lineage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lineages[p] = l
}

// SetBack records that a master lacks entries of its own that a replica holds, as partition.CheckLineage has found. The
// master takes no writes until these entries are back, or the replica is filled afresh.
func (r *Register) SetBack(origin, replica string, err error) {
	if b := r.backends.Named(origin); b != nil {
		r.setLineage(lineagePair{origin, replica}, lineage{err: err})
		b.SetBehind(fmt.Errorf("compared with %s: %w", replica, err))
	}
}
