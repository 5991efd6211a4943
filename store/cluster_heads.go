package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnelkv/runnel/store/partition"
)

// A master that was set back in time (a crash without durability, an older backup) would
// issue revisions again, and its reads would lack the lost writes. compareHead finds such a
// master: it takes no writes and answers no reads until nothing is missing any more.

// compareHead compares a master's newest revision with the revisions of it that replicas
// hold, or held, and that this process has committed, and then their entries.
func (s *Store) compareHead(ctx context.Context, master *backend) {
	if !master.isReadable.Load() {
		return
	}
	if !s.isMaster(master.Name()) {
		master.mayLackWrites.Store(false)
		return
	}
	origin := Origin(master.Name())
	highest, holder := Revision(master.newestSeen.Load()), "this process"
	for _, b := range *s.backends.Load() {
		if at, ok := b.position(origin); ok && b != master && at.Revision >= highest {
			highest, holder = at.Revision, b.Name()
		}
	}
	own := master.completeUpTo(origin)
	if own < highest { // the master may have been read before the replica
		master.pollPositions(ctx)
		own = master.completeUpTo(origin)
	}
	switch {
	case master.observed.Load() == nil:
	case own < highest:
		master.setBehind(fmt.Errorf("its newest revision is %d, but %s has seen revision %d of it", own, holder, highest))
	default:
		master.setBehind(s.checkLineages(ctx, master))
	}
}

// lineage is the result of comparing a master's entries with a replica's copies.
type lineage struct {
	joins [2]int64 // of the master and the replica at the time of the comparison
	err   error    // partition.ErrSetBack, or nil
}

// checkLineages compares a master with its replicas: once after either has joined, because
// another database may have taken its place, and as long as they differ. Later changes are
// found by the sync process with each copy, and by each commit from the revisions seen.
func (s *Store) checkLineages(ctx context.Context, master *backend) error {
	origin := Origin(master.Name())
	var found error
	for _, b := range *s.backends.Load() {
		if b == master {
			continue
		}
		known := master.lineageOf(b.Name())
		joins := [2]int64{master.joins.Load(), b.joins.Load()}
		if at, _ := b.position(origin); b.isReadable.Load() && at.Revision > 0 && (known.joins != joins || known.err != nil) {
			err := s.checkLineage(ctx, master, b)
			if err == nil || errors.Is(err, partition.ErrSetBack) {
				known = lineage{joins, err}
				master.setLineage(b.Name(), known)
			}
		} else if b.isReadable.Load() && at.Revision == 0 {
			known.err = nil // the replica was emptied, or never held anything
			master.setLineage(b.Name(), known)
		}
		if found == nil && known.err != nil {
			found = fmt.Errorf("compared with %s: %w", b.Name(), known.err)
		}
	}
	return found
}

func (s *Store) checkLineage(ctx context.Context, master, replica *backend) error {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	newest, err := replica.Newest(ctx, Origin(master.Name()), partition.LineageEntries)
	if err != nil {
		return err
	}
	return partition.CheckLineage(ctx, master, Origin(master.Name()), newest)
}

func (b *backend) lineageOf(replica string) lineage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lineages[replica]
}

func (b *backend) setLineage(replica string, l lineage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lineages == nil {
		b.lineages = make(map[string]lineage)
	}
	b.lineages[replica] = l
}

// SetBack reports that a master lacks entries of its own that a replica holds, as
// partition.CheckLineage has found. The master takes no writes until it holds these
// entries, or the replica is filled afresh.
func (s *Store) SetBack(origin, replica string, err error) {
	if b := s.backend(origin); b != nil {
		b.setLineage(replica, lineage{err: err})
		b.setBehind(fmt.Errorf("compared with %s: %w", replica, err))
	}
}
