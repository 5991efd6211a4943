package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnelkv/runnel/store/partition"
)

// lineage is the outcome of comparing a master with what a replica has copied of it.
type lineage struct {
	joins [2]int64 // of the master and the replica when they were compared
	err   error    // partition.ErrSetBack
}

// checkLineages compares a master with its replicas: once after either was joined, since
// another database may have taken its place, and as long as they differ. What goes on meanwhile
// the sync process finds with each copy, and each commit by the revisions that were seen.
func (s *Store) checkLineages(ctx context.Context, master *backend) error {
	origin := Origin(master.Name())
	var found error
	for _, m := range *s.backends.Load() {
		if m == master {
			continue
		}
		known := master.lineageOf(m.Name())
		joins := [2]int64{master.joins.Load(), m.joins.Load()}
		if at, _ := m.position(origin); m.isReadable.Load() && at.Revision > 0 && (known.joins != joins || known.err != nil) {
			err := s.checkLineage(ctx, master, m)
			if err == nil || errors.Is(err, partition.ErrSetBack) {
				known = lineage{joins, err}
				master.setLineage(m.Name(), known)
			}
		} else if m.isReadable.Load() && at.Revision == 0 {
			known.err = nil // it was emptied, or never held anything
			master.setLineage(m.Name(), known)
		}
		if found == nil && known.err != nil {
			found = fmt.Errorf("compared with %s: %w", m.Name(), known.err)
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

func (m *backend) lineageOf(replica string) lineage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lineages[replica]
}

func (m *backend) setLineage(replica string, l lineage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lineages == nil {
		m.lineages = make(map[string]lineage)
	}
	m.lineages[replica] = l
}

// foundSetBack notes what the sync process has found.
func (m *backend) reportSetBack(replica string, err error) {
	m.setLineage(replica, lineage{err: err})
	m.setBehind(fmt.Errorf("compared with %s: %w", replica, err))
}
