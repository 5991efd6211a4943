package partition

import "context"

// View is a consistent view of a whole partition: everything in a View is as of the same moment. A View
// is used by a single goroutine at a time. An open View costs the database memory or disk for
// everything that is written meanwhile.
type View interface {
	// Cluster returns the cluster row.
	Cluster() Cluster
	// Positions returns the positions of all origins. Now, and SyncedAt of the partition's own
	// origin, are the partition's clock, read before the view was opened.
	Positions() Positions
	// Snapshot streams the view's entries of an origin after a revision. The caller closes the
	// snapshot before opening the next; a snapshot that is closed before its end may end the view.
	Snapshot(ctx context.Context, origin Origin, after Revision) (Snapshot, error)
	// List reads the live entries of a span with their values, in the order of their keys. Values and Bytes of
	// the span are ignored. more says that further entries may follow. No snapshot of the view is open.
	List(ctx context.Context, s Span) (entries []Entry, more bool, err error)
	// Close ends the view.
	Close() error
}
