package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/catchup"
	"github.com/runnelkv/runnel/store/internal/cluster"
	"github.com/runnelkv/runnel/store/internal/commit"
	"github.com/runnelkv/runnel/store/internal/guard"
	"github.com/runnelkv/runnel/store/partition"
)

// Update runs fn over the current entries of the keys on their master and commits the
// entries that fn wrote, all or none. Once Update returns nil they are durable. The keys
// are distinct. fn does no I/O and may run more than once. An error of fn aborts this
// Update alone and is returned unchanged.
//
// ErrDifferentMasters: the keys have more than one master. A *LockedError: a lock protects a key that
// fn wrote, and o.Fences does not hold its fence. ErrMasterUnavailable, a
// *TooLargeError or a *QuotaError: nothing was stored. ErrOutcomeUnknown: the update is stored completely or not at all. When ctx
// ends before a commit has begun, nothing is stored and the error is that of ctx.
func (s *Store) Update(ctx context.Context, keys []Key, o UpdateOptions, fn func(*Tx) error) error {
	u := s.requests.Take()
	defer s.requests.Release(u)
	u.SetUpdate(keys, fn, !o.WithoutValues, o.Bytes)
	u.Appends, u.Halts = o.Appends, o.Halts
	u.SetFences(o.Fences)
	return s.commit(ctx, u)
}

// Tx is the argument of an Update's function. It gives access to the current entries of the declared keys on their master,
// under the row lock that orders all writers of that master, and collects the writes: see Get, Put, Delete and Append. A Tx is
// valid only inside the function. Using a key that was not declared panics.
type Tx = commit.Tx

// Fence names a lock, and the fence that its holder got with the lock. A write with a fence takes
// effect only while the lock is held with that fence. The check is part of the write's transaction.
type Fence = guard.Fence

// UpdateOptions says how an Update runs. The zero value reads the current entries with
// their values.
type UpdateOptions struct {
	// WithoutValues spares reading the current values: Tx.Get returns entries without them.
	WithoutValues bool
	// Fences lets the Update succeed only while each of these locks is held with its fence: otherwise
	// the error is a *StaleFenceError. The locks share the master of the keys: see ErrDifferentMasters.
	Fences []Fence
	// Bytes is the size of the values that fn writes. They count towards the memory of
	// waiting writes and towards the size of a commit.
	Bytes int64
	// Appends is the largest number of entries that fn writes by Tx.Append.
	Appends int
	// Halts lets Store.Halt stop the Update.
	Halts bool
}

// PutResult is the outcome of a Put.
type PutResult struct {
	Entry   Entry // as stored
	Created bool  // there was no live entry before
}

// Put writes an entry unconditionally. Of e only Key, ContentType, Metadata and Value
// count. Put is the fastest write: it needs no function and reads no value. Its errors are
// those of Update.
func (s *Store) Put(ctx context.Context, e Entry) (PutResult, error) {
	u := s.requests.Take()
	defer s.requests.Release(u)
	u.SetPut(&e)
	if limit := s.MaxValueBytes(); e.Size > limit {
		return PutResult{}, &TooLargeError{Limit: limit}
	}
	if err := s.commit(ctx, u); err != nil {
		return PutResult{}, err
	}
	entry, created, _ := u.Result()
	return PutResult{Entry: entry, Created: created}, nil
}

// Write is a write for UpdateEach, of a single key unless Keys is set. Err and Created are results.
type Write struct {
	// Entry is written unconditionally, as by Put, unless Update is set. Entry.Key is the
	// key in both cases.
	Entry Entry
	// Update is the function of an Update without values. If the function puts
	// Entry.Value, the size of that value counts towards queue and commit.
	Update func(*Tx) error
	// Keys, if not nil, are the keys of the Update, with Options; Entry does not count then. Without
	// Keys, of Options only Fences count.
	Keys    []Key
	Options UpdateOptions

	// Err is the error that Put or Update would have returned. When Err is nil and Update
	// is not set, Entry is the entry as stored and Created says that no live entry
	// existed before.
	Err     error
	Created bool

	key     [1]Key
	request commit.Request
	pending bool // the outcome is not known yet
}

// UpdateEach makes many independent writes: the failure of a write does not affect the
// rest. All are queued at once, so that writes to the same master share commits, and
// writes to the same key keep their order. UpdateEach returns when every outcome is known.
// Writes beyond the room in a master's queue fail with ErrMasterUnavailable.
func (s *Store) UpdateEach(ctx context.Context, writes []Write) {
	for i := range writes {
		writes[i].pending = true
	}
	for c := s.cluster.Map(); ; {
		s.updateBy(ctx, c, writes)
		var moved *Write
		for i := range writes {
			if w := &writes[i]; w.hasMoved() {
				moved, w.pending = w, true
			}
		}
		if moved == nil {
			return
		}
		if c = s.nextMap(ctx, c, moved.request.Keys[0], moved.Err); c == nil {
			return
		}
	}
}

// hasMoved reports whether the write failed, without effect, by a map that may be an old one.
func (w *Write) hasMoved() bool {
	return errors.Is(w.Err, backend.ErrMoving) || errors.Is(w.Err, partition.ErrStaleEpoch) || isHalted(w.Err)
}

// updateBy makes the pending writes by the map c.
func (s *Store) updateBy(ctx context.Context, c *cluster.Map, writes []Write) {
	g := commit.NewGroup(len(writes) + 1) // updateBy itself counts until all writes are queued
	queued := make(map[*commit.Committer][]*commit.Request, 1)
	limit := s.MaxValueBytes()
	for i := range writes {
		w := &writes[i]
		if !w.pending {
			g.FinishOne()
			continue
		}
		u := w.newRequest(g)
		m, err := s.committerOf(ctx, c, u)
		if err == nil && w.Update == nil && int64(len(w.Entry.Value)) > limit {
			err = &TooLargeError{Limit: limit}
		}
		if err != nil {
			u.SetOutcome(err)
			continue
		}
		queued[m] = append(queued[m], u)
	}
	committers := make([]*commit.Committer, 0, len(queued))
	for c, us := range queued {
		c.Submit(us...)
		committers = append(committers, c)
	}
	g.FinishOne()
	g.AwaitOutcomes(ctx, committers...)
	for i := range writes {
		writes[i].takeResult()
	}
}

func (w *Write) newRequest(g *commit.Group) *commit.Request {
	u := &w.request
	*u = commit.Request{}
	switch {
	case w.Update == nil:
		e := w.Entry
		u.SetPut(&e)
	case w.Keys != nil:
		u.SetUpdate(w.Keys, w.Update, !w.Options.WithoutValues, w.Options.Bytes)
		u.Appends, u.Halts = w.Options.Appends, w.Options.Halts
	default:
		w.key[0] = w.Entry.Key
		u.SetUpdate(w.key[:], w.Update, false, int64(len(w.Entry.Value)))
	}
	u.SetFences(w.Options.Fences)
	u.JoinGroup(g)
	return u
}

func (w *Write) takeResult() {
	if !w.pending {
		return
	}
	e, created, err := w.request.Result()
	w.pending = false
	if w.Err = err; err == nil && w.Update == nil {
		w.Entry, w.Created = e, created
	}
}

// Master is the name of the key's master, "" while the cluster map is unknown.
func (s *Store) Master(k Key) string {
	c := s.cluster.Map()
	if c == nil {
		return ""
	}
	return c.Master(k)
}

// commit hands a request to the committer of its master and waits for the outcome. A request whose slot has moved is
// routed again.
func (s *Store) commit(ctx context.Context, u *commit.Request) (err error) {
	for c := s.cluster.Map(); ; {
		err = s.commitBy(ctx, c, u)
		if c = s.nextMap(ctx, c, u.Keys[0], err); c == nil {
			return err
		}
	}
}

// nextMap returns the map by which a write of the key is to be made again after err; nil: err stands.
func (s *Store) nextMap(ctx context.Context, c *cluster.Map, k Key, err error) *cluster.Map {
	isStale := errors.Is(err, partition.ErrStaleEpoch)
	if !isStale && !errors.Is(err, backend.ErrMoving) && !isHalted(err) {
		return nil
	}
	next := s.cluster.AwaitMaster(ctx, c, func(c *cluster.Map) bool { return !c.IsMoving(k) })
	if b := s.backends.Named(c.Master(k)); next == nil && isStale && b != nil {
		b.NoteCommit(err) // the master refuses writes of its own epoch
	}
	return next
}

// isHalted reports whether the known map halts a write. A later map may not.
func isHalted(err error) bool {
	_, halted := errors.AsType[*HaltedError](err)
	return halted
}

func (s *Store) commitBy(ctx context.Context, c *cluster.Map, u *commit.Request) error {
	m, err := s.committerOf(ctx, c, u)
	if err != nil {
		return err
	}
	return m.Commit(ctx, u)
}

// committerOf returns the committer of the request's keys and sets the request's epoch, both by
// the map c.
func (s *Store) committerOf(ctx context.Context, c *cluster.Map, u *commit.Request) (*commit.Committer, error) {
	if c == nil {
		return nil, &backend.MasterError{Master: s.options.Masters[0], RetryAfter: s.options.Poll, Err: backend.ErrNotReached}
	}
	name := c.Master(u.Keys[0])
	if slices.ContainsFunc(u.Keys[1:], func(k Key) bool { return c.Master(k) != name }) {
		return nil, ErrDifferentMasters
	}
	if u.Halts && c.Halted != "" {
		return nil, &HaltedError{Reason: c.Halted}
	}
	if slices.ContainsFunc(u.Keys, c.IsMoving) || !c.IsConfirmed() {
		return nil, &backend.MasterError{Master: name, RetryAfter: s.options.Poll, Err: backend.ErrMoving}
	}
	for _, m := range *s.committers.Load() {
		if m.Master.Name() == name {
			if !m.Master.IsWritable() {
				s.cluster.AdmitMaster(ctx, m.Master)
			}
			u.Epoch = c.EpochOf(name)
			return m, nil
		}
	}
	return nil, &backend.MasterError{Master: name, RetryAfter: s.options.Poll, Err: backend.ErrUnknownPartition}
}

// Secure returns nil once a majority of the voters durably holds, by position, each write that a mark names and everything
// that its master wrote before: no loss of a minority of the partitions can then undo the write. Before the first change of
// the cluster map all configured partitions are voters. Secure does not need the sync process. The error, at the latest after
// the timeout of a database operation, says why a write is not known to be held; the write stands on its master.
func (s *Store) Secure(ctx context.Context, marks ...Mark) error {
	voters := s.voters()
	if voters == nil {
		return errors.New("no partition that belongs to a cluster was reached")
	}
	errs := make([]error, len(marks))
	var group sync.WaitGroup
	for i, m := range marks {
		group.Go(func() { errs[i] = s.copier.Secure(ctx, m.Origin, m.Revision, voters) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// Voters returns the number of partitions a majority of which Secure needs. With three or more, a promotion keeps what Secure
// has acknowledged. Voters is 0 until a partition was reached.
func (s *Store) Voters() int { return len(s.voters()) }

// voters returns the names of the voters: those of the cluster map or, before its first change, all configured partitions.
// Without a map there are none.
func (s *Store) voters() []string {
	c := s.cluster.Map()
	if c == nil {
		return nil
	}
	if c.Voters != nil {
		return c.Voters
	}
	all := s.backends.All()
	names := make([]string, len(all))
	for i, b := range all {
		names[i] = b.Name()
	}
	return names
}

// EveryReachable asks Copy for all partitions that this process can reach.
const EveryReachable = catchup.EveryReachable

// Copy makes further partitions catch up with a committed entry, concurrently, until want
// partitions hold the entry durably; the master counts. Copy does not need the sync
// process. It returns the number of partitions that hold the entry, at least 1. That is
// less than want if too few partitions can catch up within the timeout of a database
// operation. A partition that fails, is incomplete, or is too far behind for a single
// transaction is replaced by another. The error joins the failures; it is nil when want
// partitions hold the entry, or, with EveryReachable, all that are reachable.
func (s *Store) Copy(ctx context.Context, e Entry, want int) (held int, err error) {
	return s.copier.Copy(ctx, e, want)
}

// CheckProtection returns an error unless locks may protect keys: binaries that would ignore the protection may still
// write to a partition.
func (s *Store) CheckProtection() error {
	for _, b := range s.backends.All() {
		if !b.State().IsPrepared {
			continue
		}
		if err := b.KnownSchema().CheckGuards(); err != nil {
			return fmt.Errorf("%s: %w", b.Name(), err)
		}
	}
	return nil
}

// countGuards counts the locks that protect keys of a master, in the background, and then calls done.
func (s *Store) countGuards(m *backend.Backend, done func()) {
	started := s.background(func() {
		defer done()
		c := s.cluster.Map()
		ctx, cancel := context.WithTimeout(context.Background(), s.options.Timeout)
		defer cancel()
		err := m.CountGuards(ctx, c.EpochOf(m.Name()), func(k Key) bool { return c.Master(k) == m.Name() && !c.IsMoving(k) })
		if err != nil && !errors.Is(err, partition.ErrStaleEpoch) {
			s.options.Logger.Warn("the locks that protect keys cannot be counted: until they are, writes look for locks", "partition", m.Name(), "error", err)
		}
	})
	if !started {
		done()
	}
}
