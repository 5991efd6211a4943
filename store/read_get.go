package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

var errDamaged = errors.New("the stored value does not match its checksum")

// Get reads an entry. ErrNotFound: the partition that answered, which Read names, has no
// live entry of the key. ErrNoPartition: no partition can answer. ErrMasterUnavailable:
// only the master was asked. A *SessionError, *StalenessError or *CopiesError: no partition
// that answers satisfies the options.
func (s *Store) Get(ctx context.Context, k Key, o ReadOptions) (r Read, err error) {
	c := s.cluster.Load()
	if c == nil {
		return Read{}, ErrNoPartition
	}
	if o.Consistency == Quorum && o.Partition == "" {
		return s.getQuorum(ctx, c, k, o)
	}
	q := s.newReadRequest(c, Origin(c.master(k)), o)
	if r, ok := q.readCached(k); ok {
		return r, nil
	}
	found := ErrNotFound
	err = s.tryCandidates(ctx, &q, func(b *backend, wait time.Duration) (err error) {
		r, found, err = s.getFrom(ctx, b, k, &q, wait)
		return err
	})
	if err != nil {
		return Read{}, err
	}
	return r, found
}

// getFrom reads an entry from a backend. found is ErrNotFound if the backend has no live
// entry of the key.
func (s *Store) getFrom(ctx context.Context, b *backend, k Key, q *readRequest, wait time.Duration) (r Read, found, err error) {
	synced, token, began := b.syncedAt(q.origin), q.newFillToken(b), time.Now()
	e, ok, err := b.getIntact(ctx, k, wait)
	if err == nil && !ok && q.strict {
		var again bool
		if again, err = s.mustReadAgain(ctx, b, q); again {
			e, ok, err = b.getIntact(ctx, k, wait)
		}
	}
	if err != nil {
		return Read{}, nil, err
	}
	r = Read{Partition: b.Name(), Staleness: s.age(b, q.origin, synced)}
	if q.tooStale(r.Staleness) {
		return Read{}, nil, errTooFarBehind
	}
	if ok {
		r.Seen = Mark{e.Origin, e.Revision}
	}
	if !ok || e.Deleted || e.ExpiresAt != 0 && !e.Live(s.nowAt(q.origin, began)) {
		return r, ErrNotFound, nil
	}
	s.cache.fillEntry(token, &e)
	r.Entry = e
	return r, nil, nil
}

// getIntact reads an entry through the batcher. A damaged value is reported, and an error.
func (b *backend) getIntact(ctx context.Context, k Key, wait time.Duration) (Entry, bool, error) {
	e, found, err := b.batcher.Lookup(ctx, k, wait)
	if err == nil && found && !e.Intact() {
		b.damages.logDamage(&e)
		return Entry{}, false, fmt.Errorf("%s of %s: %w", k, b.Name(), errDamaged)
	}
	return e, found, err
}

// damageLog logs each damaged entry of a backend once, however often it is read.
type damageLog struct {
	log *slog.Logger // names the partition

	mu       sync.Mutex // guards reported
	reported map[Key]Revision
}

// maxDamages bounds the entries that are remembered. Beyond it some are logged again.
const maxDamages = 10_000

func (d *damageLog) logDamage(e *Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if revision, ok := d.reported[e.Key]; ok && revision == e.Revision {
		return
	}
	if len(d.reported) >= maxDamages || d.reported == nil {
		d.reported = make(map[Key]Revision)
	}
	d.reported[e.Key] = e.Revision
	d.log.Error("damaged entry: the stored value does not match its checksum; other copies are read in its place",
		"key", string(e.Key), "revision", int64(e.Revision))
}

// now is a lower bound of the origin's clock, which alone decides the expiry of its
// entries: nothing expires too early.
func (s *Store) now(o Origin) Instant {
	if b := s.backend(string(o)); b != nil {
		return b.clock()
	}
	return partition.InstantOf(time.Now())
}

// nowAt is now at an earlier moment of this process. Expiry is decided as of the moment at
// which a read began: an entry may have been renewed in time while its answer was in
// transit.
func (s *Store) nowAt(o Origin, at time.Time) Instant { return s.now(o).Add(-time.Since(at)) }

// staleness bounds the staleness of a backend's answers about an origin. It is zero for the
// origin's own backend unless that has lost writes, and negative while unknown.
func (s *Store) staleness(b *backend, o Origin) time.Duration { return s.age(b, o, b.syncedAt(o)) }

// age is staleness by a syncedAt that was loaded before the backend was read.
func (s *Store) age(b *backend, o Origin, synced Instant) time.Duration {
	if b.Name() != string(o) {
		return s.since(o, synced)
	}
	if b.isComplete(o) {
		return 0
	}
	return -1
}

// since bounds the time since the origin's clock showed an instant. It is negative for the
// zero instant, for an instant that the clock cannot have reached because it was set back,
// and while the clock was never read; the clock of this host is no substitute.
func (s *Store) since(o Origin, then Instant) time.Duration {
	b := s.backend(string(o))
	if then == 0 || b == nil {
		return -1
	}
	k := b.observed.Load()
	if k == nil {
		return -1
	}
	return k.clock.age(then)
}
