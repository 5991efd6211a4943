package store

import (
	"context"

	"github.com/runnelkv/runnel/store/partition"
)

// View is a partition's live entries of all origins as of one moment. A single goroutine uses a View at a time, and closes it.
type View struct {
	Partition string
	Now       Instant // the partition's clock when the view was opened
	view      partition.View
	store     *Store
}

// View opens a view of a partition; "": of the first readable one. ErrUnknownPartition, ErrNoPartition, a *NotLevelError, or
// the error of the partition: there is no view.
func (s *Store) View(ctx context.Context, name string) (*View, error) {
	for _, b := range s.backends.All() {
		if name != b.Name() && (name != "" || !b.IsReadable() || b.MayLackWrites()) {
			continue
		}
		if err := b.State().Err; err != nil {
			return nil, err
		}
		v, err := b.View(ctx)
		if err != nil {
			return nil, err
		}
		if err := checkLevel(b.Name(), v.Cluster(), v.Positions()); err != nil {
			_ = v.Close() // nothing was written
			return nil, err
		}
		return &View{Partition: b.Name(), Now: v.Positions().Now, view: v, store: s}, nil
	}
	if name == "" {
		return nil, ErrNoPartition
	}
	return nil, ErrUnknownPartition
}

// checkLevel fails unless a partition holds the entries of all origins as of one moment.
func checkLevel(name string, c partition.Cluster, at partition.Positions) error {
	for _, o := range c.Origins() {
		p := at.Origins[o]
		if string(o) == name && !p.CatchingUp() {
			continue
		}
		if !p.Whole() || p.Revision < c.GaveAway(o) {
			return &NotLevelError{Partition: name, Origin: o}
		}
	}
	return nil
}

// List reads the entries of a space whose names follow after, in the order of their names, at most limit, with their values.
func (v *View) List(ctx context.Context, space Space, after string, limit int) (entries []Entry, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, v.store.options.Timeout)
	defer cancel()
	span := partition.Span{From: space.Key(after), To: partition.PrefixEnd(space.Key("")), Limit: limit}
	if after != "" {
		span.From += "\x00"
	}
	return v.view.List(ctx, span)
}

// Close ends the view.
func (v *View) Close() error { return v.view.Close() }
