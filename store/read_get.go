package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/runnelkv/runnel/store/partition"
)

// patience is how long a partition may take to answer a read before the next
// one is asked. When nobody was faster, one gets the whole timeout.
const readPatience = time.Second

var errDamaged = errors.New("the stored value does not match its checksum")

// Get reads one entry. ErrNotFound when the partition that answered has no live
// entry of the key (the Read then says which one); ErrNoPartition when none can
// answer, or ErrMasterUnavailable when only the master was asked. A
// *SessionError, *StalenessError or *CopiesError when nobody who answers is what
// the options ask for.
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
	err = s.tryCandidates(ctx, &q, func(m *backend, wait time.Duration) (err error) {
		r, found, err = s.getFrom(ctx, m, k, &q, wait)
		return err
	})
	if err != nil {
		return Read{}, err
	}
	return r, found
}

// getFrom reads an entry from one member. found is ErrNotFound when it has no
// live one.
func (s *Store) getFrom(ctx context.Context, m *backend, k Key, q *readRequest, wait time.Duration) (r Read, found, err error) {
	proven, fill, began := m.syncedAt(q.origin), q.newFillToken(m), time.Now()
	e, ok, err := m.getIntact(ctx, k, wait)
	if err == nil && !ok && q.strict {
		e, ok, err = s.verifyAbsent(ctx, m, k, q, wait)
	}
	if err != nil {
		return Read{}, nil, err
	}
	r = Read{Partition: m.Name(), Staleness: s.age(m, q.origin, proven)}
	if q.tooStale(r.Staleness) {
		return Read{}, nil, errTooFarBehind
	}
	if ok {
		r.Seen = Mark{e.Origin, e.Revision}
	}
	if !ok || e.Deleted || e.ExpiresAt != 0 && !e.Live(s.nowAt(q.origin, began)) {
		return r, ErrNotFound, nil
	}
	s.cache.fill(fill, &e)
	r.Entry = e
	return r, nil, nil
}

// lookUp reads an entry through the member's reader and checks its value.
func (m *backend) getIntact(ctx context.Context, k Key, wait time.Duration) (Entry, bool, error) {
	e, found, err := m.batcher.get(ctx, k, wait)
	if err == nil && found && !e.Intact() {
		m.damages.report(&e)
		return Entry{}, false, fmt.Errorf("%s of %s: %w", k, m.Name(), errDamaged)
	}
	return e, found, err
}

// damages are the damaged entries of a member that were logged: each once, however often it is read.
type damageLog struct {
	log *slog.Logger // names the member

	mu       sync.Mutex
	reported map[Key]Revision
}

// maxDamages bounds what is kept; beyond it some are logged again.
const maxDamages = 10_000

func (d *damageLog) report(e *Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if revision, said := d.reported[e.Key]; said && revision == e.Revision {
		return
	}
	if len(d.reported) >= maxDamages || d.reported == nil {
		d.reported = make(map[Key]Revision)
	}
	d.reported[e.Key] = e.Revision
	d.log.Error("damaged entry: the stored value does not match its checksum; other copies are read in its place",
		"key", string(e.Key), "revision", int64(e.Revision))
}

// now is the clock of an origin, the one clock that decides expiry; rather a
// little early, as nothing may expire before its time.
func (s *Store) now(o Origin) Instant {
	if m := s.backend(string(o)); m != nil {
		now, _ := m.clock()
		return now
	}
	return partition.InstantOf(time.Now())
}

// nowAt is now as it was at a moment of this process. By the moment at which a read
// began it is decided what has expired: by a later one an entry could be gone that
// was renewed in time while its answer was on its way.
func (s *Store) nowAt(o Origin, at time.Time) Instant { return s.now(o).Add(-time.Since(at)) }

// staleness bounds how old what the member answers about an origin can be. It
// is zero for the origin itself unless that has lost writes, and negative while it is unknown.
func (s *Store) staleness(m *backend, o Origin) time.Duration { return s.age(m, o, m.syncedAt(o)) }

// age is staleness by what was proven of the member before it was read.
func (s *Store) age(m *backend, o Origin, proven Instant) time.Duration {
	switch {
	case m.Name() == string(o) && m.isComplete(o):
		return 0
	case m.Name() == string(o):
		return -1
	}
	return s.since(o, proven)
}

// since bounds how long ago the origin's clock was at an instant. It is negative
// for no instant, for one that the clock cannot have reached, because it was set
// back, and while the clock was never read: the clock of this host says nothing.
func (s *Store) since(o Origin, then Instant) time.Duration {
	m := s.backend(string(o))
	if then == 0 || m == nil {
		return -1
	}
	k := m.observed.Load()
	if k == nil {
		return -1
	}
	return k.clock.age(then)
}

// proven is the origin's clock at the last moment of which the member is known
// to have held everything of it.
func (m *backend) syncedAt(o Origin) Instant {
	at, _ := m.position(o)
	return at.SyncedAt
}

func isBreakerError(err error) bool {
	return errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests)
}
