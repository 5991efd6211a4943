package store_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// sessionRig is a set of processes over the same partitions, of which p0 and p1 are
// masters, with a sync process that takes single random steps.
type sessionRig struct {
	*testing.T
	*rand.Rand
	Parts     []*memory.Partition
	processes []*store.Store
	history   map[store.Key][]store.Entry // every state, oldest first
	log       []string
}

const sessionKeys = 8

func newSessionRig(t *testing.T, seed uint64) *sessionRig {
	r := &sessionRig{T: t, Rand: rand.New(rand.NewPCG(seed, 1)), history: map[store.Key][]store.Entry{}}
	for i := range 4 {
		r.Parts = append(r.Parts, memory.New(fmt.Sprint("p", i)))
	}
	o := storetest.Options()
	o.Poll, o.SessionWait, o.CacheBytes = 20*time.Millisecond, time.Millisecond, 1<<20
	for range 2 {
		one := &storetest.Rig{}
		for _, p := range r.Parts {
			one.Parts = append(one.Parts, p.Reopen())
		}
		one.Start(t, o, "p0", "p1")
		r.processes = append(r.processes, one.Store)
	}
	for _, p := range r.Parts { // complete, though empty
		for _, origin := range []store.Origin{"p0", "p1"} {
			r.copy(p, origin, 1000)
		}
	}
	for _, s := range r.processes {
		storetest.Eventually(t, "readable partitions", func() bool {
			return !slices.ContainsFunc(s.Status().Partitions, func(p store.PartitionStatus) bool { return !p.Readable })
		})
	}
	return r
}

func (r *sessionRig) note(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

// fail ends the test with the latest events.
func (r *sessionRig) fail(format string, args ...any) {
	r.Helper()
	r.Fatalf(format+"\n%s", append(args, strings.Join(r.log[max(0, len(r.log)-25):], "\n"))...)
}

func (r *sessionRig) must(err error) {
	if err != nil {
		r.Helper()
		r.Fatal(err)
	}
}

// target is a partition as seen by a process that changes the partition: either a process
// whose cache follows the change, or another process.
func (r *sessionRig) target(p *memory.Partition) partition.Target {
	for _, s := range r.processes {
		if r.IntN(3) == 0 {
			i := slices.IndexFunc(s.Replicas(), func(peer store.Replica) bool { return peer.Name() == p.Name() })
			return s.Replicas()[i]
		}
	}
	return p
}

func (r *sessionRig) positions(p *memory.Partition) partition.Positions {
	at, err := p.Positions(r.Context())
	r.must(err)
	return at
}

// copy makes a step of a copy to a target: up to n entries; the rest is left to later
// steps.
func (r *sessionRig) copy(target *memory.Partition, o store.Origin, n int) {
	if target.Name() == string(o) {
		return
	}
	at := r.positions(target).Origins[o]
	source := r.Parts[slices.IndexFunc(r.Parts, func(p *memory.Partition) bool { return p.Name() == string(o) })]
	snap, err := source.Snapshot(r.Context(), o, at.Revision)
	r.must(err)
	defer snap.Close()
	head := snap.Position()
	c := partition.Copy{Origin: o, From: at.Revision, Goal: max(at.Goal, head.Revision)}
	if c.Entries, err = snap.Next(r.Context(), n, 1<<20); err != io.EOF {
		r.must(err)
	}
	if _, next := snap.Next(r.Context(), 1, 1<<20); next != nil {
		c.To, c.SyncedAt = head.Revision, head.SyncedAt
	} else {
		c.To = c.Entries[len(c.Entries)-1].Revision
	}
	r.note("copy %s to %s: %d..%d of %d", o, target.Name(), c.From&0xffff, c.To&0xffff, c.Goal&0xffff)
	r.must(r.target(target).Apply(r.Context(), c))
}

// catchUp brings every reachable partition up to date, as Copy does.
func (r *sessionRig) catchUp(s *store.Store, e store.Entry) {
	held, err := s.Copy(r.Context(), e, store.EveryReachable)
	r.note("catch up with %d: %d", e.Revision&0xffff, held)
	if err != nil && !errors.Is(err, partition.ErrTooFar) {
		r.must(err)
	}
}

// collect removes the tombstones that all partitions have passed, or all but a single
// partition, which is then emptied and filled afresh.
func (r *sessionRig) collect(but *memory.Partition) {
	for _, o := range []store.Origin{"p0", "p1"} {
		if but != nil && but.Name() == string(o) {
			continue
		}
		least := store.Revision(1 << 62)
		for _, p := range r.Parts {
			at := r.positions(p).Origins[o]
			if at.Revision < at.Goal || at.SyncedAt == 0 && p.Name() != string(o) {
				return
			}
			if p != but {
				least = min(least, at.Revision)
			}
		}
		r.note("collect %s up to %d", o, least&0xffff)
		for _, p := range r.Parts {
			if p != but {
				_, err := p.Collect(r.Context(), o, least)
				r.must(err)
			}
		}
		if but != nil && r.positions(but).Origins[o].Revision < least {
			r.note("reset %s on %s", o, but.Name())
			r.must(r.target(but).Reset(r.Context(), o))
		}
	}
}

// client is a session: the newest known state of each key, and the token.
type client struct {
	token  store.Vector
	newest map[store.Key]store.Revision
}

func (r *sessionRig) write(c *client, s *store.Store) {
	key := store.User.Key(fmt.Sprint(r.IntN(sessionKeys)))
	var e store.Entry
	remove := r.IntN(3) == 0
	err := s.Update(r.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error {
		if e = (store.Entry{}); remove {
			e, _ = v.Delete(key)
		} else {
			e = v.Put(store.Entry{Key: key, Value: []byte("x")})
		}
		return nil
	})
	r.must(err)
	if e.Revision == 0 {
		return // the key did not exist
	}
	r.note("write %s: %s %d, deleted %v", key, e.Origin, e.Revision&0xffff, e.Deleted)
	r.history[key] = append(r.history[key], e)
	c.token, c.newest[key] = c.token.With(store.Mark{Origin: e.Origin, Revision: e.Revision}), e.Revision
}

func (r *sessionRig) read(c *client, s *store.Store) {
	key := store.User.Key(fmt.Sprint(r.IntN(sessionKeys)))
	o := store.ReadOptions{Session: c.token}
	switch r.IntN(6) {
	case 0:
		o.Consistency, o.Copies = store.Quorum, r.IntN(4)+1
	case 1:
		o.Consistency, o.MaxStaleness = store.Bounded, time.Hour
	}
	var got store.Read
	var err error
	if r.IntN(4) == 0 {
		s.GetMany(r.Context(), []store.Key{key}, o, func(_ int, one store.Read, e error) { got, err = one, e })
	} else {
		got, err = s.Get(r.Context(), key, o)
	}
	if errors.As(err, new(*store.CopiesError)) {
		return // a partition is being filled
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		r.fail("%v", err)
	}
	r.note("read %s from %s in %v: %+v, %v", key, got.Partition, c.token, got.Seen, err)
	r.check(c, key, got.Seen)
	c.token = c.token.With(got.Seen)
}

// check compares an answer about a key with the client's knowledge.
func (r *sessionRig) check(c *client, key store.Key, seen store.Mark) {
	if seen.Revision == 0 && c.newest[key] > 0 { // it has seen a deletion, though not the tombstone
		i := slices.IndexFunc(r.history[key], func(e store.Entry) bool { return e.Deleted && e.Revision >= c.newest[key] })
		if i < 0 {
			r.fail("%s is gone, the session knows %d of it", key, c.newest[key]&0xffff)
		}
		c.newest[key] = r.history[key][i].Revision
	}
	switch {
	case seen.Revision > 0 && seen.Revision < c.newest[key]:
		r.fail("%s is at %d, the session knows %d of it", key, seen.Revision&0xffff, c.newest[key]&0xffff)
	}
	c.newest[key] = max(c.newest[key], seen.Revision)
}

func (r *sessionRig) list(c *client, s *store.Store) {
	page, err := s.List(r.Context(), store.ListOptions{Space: store.User, ReadOptions: store.ReadOptions{Session: c.token}})
	if err != nil {
		r.fail("%v", err)
	}
	r.note("list from %q in %v: %v", page.Partition, c.token, page.Seen)
	for i := range sessionKeys {
		key := store.User.Key(fmt.Sprint(i))
		var seen store.Mark
		if j := slices.IndexFunc(page.Entries, func(e store.Entry) bool { return e.Key == key }); j >= 0 {
			seen = store.Mark{Origin: page.Entries[j].Origin, Revision: page.Entries[j].Revision}
		}
		r.check(c, key, seen)
	}
	c.token = c.token.Merge(page.Seen)
}

// TestSessionsNeverGoBack: a client reads through random partitions and processes, whatever
// their progress. It reads its own writes, and nothing older than it has read: entries,
// deletions, lists. Sync is delayed, stops during a catch-up, is overtaken by Copy,
// collects tombstones, and empties a partition that it fills afresh.
func TestSessionsNeverGoBack(t *testing.T) {
	base := uint64(time.Now().UnixNano())
	for i := range uint64(30) {
		seed := base + i
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := newSessionRig(t, seed)
			clients := []*client{{newest: map[store.Key]store.Revision{}}, {newest: map[store.Key]store.Revision{}}}
			for range 400 {
				c, s := clients[r.IntN(len(clients))], r.processes[r.IntN(len(r.processes))]
				p := r.Parts[r.IntN(len(r.Parts))]
				switch n := r.IntN(100); {
				case n < 25:
					r.write(c, s)
				case n < 60:
					r.read(c, s)
				case n < 68:
					r.list(c, s)
				case n < 88:
					r.copy(p, []store.Origin{"p0", "p1"}[r.IntN(2)], r.IntN(4)+1)
				case n < 92:
					if states := r.history[store.User.Key(fmt.Sprint(r.IntN(sessionKeys)))]; len(states) > 0 {
						r.catchUp(s, states[len(states)-1])
					}
				case n < 95:
					s.Observe(p.Name(), r.positions(p))
				case n < 98:
					r.collect(nil)
				default:
					r.collect(r.Parts[2+r.IntN(2)])
				}
			}
		})
	}
}

// TestSessionDoesNotBelieveAPartitionThatIsEmptied: a replica that missed collected
// tombstones is filled afresh. Entries that it lacks meanwhile are not reported absent to a
// session, even if this process knows an earlier position of the replica.
func TestSessionDoesNotBelieveAPartitionThatIsEmptied(t *testing.T) {
	for what, read := range map[string]func(*storetest.Rig, store.ReadOptions) (int, error){
		"Get": func(r *storetest.Rig, o store.ReadOptions) (int, error) {
			_, err := r.Get(t.Context(), store.User.Key("a"), o)
			return 1, err
		},
		"GetMany": func(r *storetest.Rig, o store.ReadOptions) (n int, err error) {
			r.GetMany(t.Context(), []store.Key{store.User.Key("a")}, o, func(_ int, _ store.Read, e error) { n, err = 1, e })
			return n, err
		},
		"quorum": func(r *storetest.Rig, o store.ReadOptions) (int, error) {
			o.Consistency, o.Copies = store.Quorum, 1
			_, err := r.Get(t.Context(), store.User.Key("a"), o)
			return 1, err
		},
		"List": func(r *storetest.Rig, o store.ReadOptions) (int, error) {
			page, err := r.List(t.Context(), store.ListOptions{Space: store.User, Prefix: "a", ReadOptions: o})
			return len(page.Entries), err
		},
	} {
		t.Run(what, func(t *testing.T) {
			o := storetest.Options()
			o.Poll, o.SessionWait, o.Read, o.Local = time.Hour, -1, store.ReadLocal, "p1"
			r := storetest.New(t, 2, o)
			e := r.MustPut(t, "a", "1")
			r.Level(t)
			for _, name := range []string{"b", "c", "d"} {
				r.MustPut(t, name, "1")
			}
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			before, err := r.Parts[1].Positions(t.Context())
			must(err)
			must(r.Parts[1].Reset(t.Context(), "p0"))
			in := store.ReadOptions{Session: store.VectorOf(store.Mark{Origin: e.Origin, Revision: e.Revision})}
			if n, err := read(r, in); err != nil || n != 1 {
				t.Errorf("emptied: %d found, %v", n, err)
			}
			must(r.Parts[1].Apply(t.Context(), partition.Copy{Origin: "p0", To: e.Revision + 1, Goal: e.Revision + 3}))
			r.Observe("p1", before) // as a sync process may that has read them earlier
			if n, err := read(r, in); err != nil || n != 1 {
				t.Errorf("being filled: %d found, %v", n, err)
			}
		})
	}
}

// TestSessionIsServedByTheMasterOrRefused: with its replicas behind, a session reads from
// the master. With the master away too, the session gets an error, while reads with Any
// succeed.
func TestSessionIsServedByTheMasterOrRefused(t *testing.T) {
	o := storetest.Options()
	o.SessionWait = 10 * time.Millisecond
	r := storetest.New(t, 3, o)
	r.MustPut(t, "a", "1")
	r.Level(t)
	e := r.MustPut(t, "a", "2")
	in := store.ReadOptions{Session: store.VectorOf(store.Mark{Origin: e.Origin, Revision: e.Revision})}
	for range 20 {
		if got, err := r.Get(t.Context(), e.Key, in); err != nil || got.Partition != "p0" || got.Entry.Revision != e.Revision {
			t.Fatalf("Get: %+v, %v", got, err)
		}
	}
	r.Parts[0].Fail(func(string) error { return partition.ErrUnavailable })
	storetest.Eventually(t, "unreachable master", func() bool { return r.Status().Partitions[0].State == store.Unreachable })
	var refused *store.SessionError
	if got, err := r.Get(t.Context(), e.Key, in); !errors.As(err, &refused) || refused.Master != "p0" || refused.RetryAfter <= 0 {
		t.Errorf("Get with the master away: %+v, %v", got, err)
	}
	if _, err := r.List(t.Context(), store.ListOptions{Space: store.User, ReadOptions: in}); !errors.As(err, &refused) {
		t.Errorf("List with the master away: %v", err)
	}
	if got, err := r.Get(t.Context(), e.Key, store.ReadOptions{}); err != nil || string(got.Entry.Value) != "1" {
		t.Errorf("Get without a session: %+v, %v", got, err)
	}
}

// TestSessionWaitsForAReplica: a replica that catches up while the session waits answers,
// even if the sync process of another process made the copy.
func TestSessionWaitsForAReplica(t *testing.T) {
	o := storetest.Options()
	o.Poll, o.SessionWait = time.Hour, 30*time.Second
	r := storetest.New(t, 2, o)
	r.MustPut(t, "a", "1")
	r.Level(t)
	e := r.MustPut(t, "a", "2")
	r.Parts[0].Fail(func(op string) error {
		if op == memory.OpGet {
			return partition.ErrUnavailable
		}
		return nil
	})
	answered := make(chan error, 1)
	go func() {
		got, err := r.Get(t.Context(), e.Key, store.ReadOptions{Session: store.VectorOf(store.Mark{Origin: e.Origin, Revision: e.Revision})})
		if err == nil && (got.Partition != "p1" || got.Entry.Revision != e.Revision) {
			err = fmt.Errorf("answered %+v", got)
		}
		answered <- err
	}()
	asked := make(chan struct{}, 100)
	r.Parts[1].Fail(func(op string) error {
		if op == memory.OpPositions {
			select {
			case asked <- struct{}{}:
			default:
			}
		}
		return nil
	})
	<-asked // the session waits, and reads positions
	storetest.CopyAll(t, t.Context(), r.Parts[0], r.Parts[1], "p0")
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// TestSessionsDoNotWaitInVainAgainAndAgain: while no replica advances, only the first
// session waits, and the master answers the next ones at once.
func TestSessionsDoNotWaitInVainAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := storetest.Options()
		o.Poll, o.SessionWait = time.Minute, time.Second
		r := storetest.New(t, 2, o)
		r.MustPut(t, "a", "1")
		r.Level(t)
		e := r.MustPut(t, "a", "2")
		in := store.ReadOptions{Session: store.VectorOf(store.Mark{Origin: e.Origin, Revision: e.Revision})}
		began := time.Now()
		for range 50 {
			if got, err := r.Get(t.Context(), e.Key, in); err != nil || got.Entry.Revision != e.Revision {
				t.Fatalf("Get: %+v, %v", got, err)
			}
			synctest.Wait()
		}
		if took := time.Since(began); took != o.SessionWait {
			t.Errorf("50 reads took %v, which is not one wait of %v", took, o.SessionWait)
		}
		r.Level(t)
		e = r.MustPut(t, "a", "3")
		in.Session = store.VectorOf(store.Mark{Origin: e.Origin, Revision: e.Revision})
		began = time.Now()
		for range 50 {
			if _, err := r.Get(t.Context(), e.Key, in); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != o.SessionWait {
			t.Errorf("after the replica had come further 50 reads took %v, not one more wait", took)
		}
	})
}

// TestLostWritesAreNotServedToTheirSession: a master that was replaced by an older state of
// itself does not answer sessions that have seen later writes.
func TestLostWritesAreNotServedToTheirSession(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	e := r.MustPut(t, "a", "1")
	seen := store.VectorOf(store.Mark{Origin: e.Origin, Revision: e.Revision + 1})
	var refused *store.SessionError
	for _, c := range []store.Consistency{store.Any, store.FromMaster} {
		if got, err := r.Get(t.Context(), e.Key, store.ReadOptions{Consistency: c, Session: seen}); !errors.As(err, &refused) {
			t.Errorf("%s: %+v, %v", c, got, err)
		}
	}
}

// TestBoundedReadsAreAsFreshAsTheyAsk: freshness follows from proven positions, not from
// contact.
func TestBoundedReadsAreAsFreshAsTheyAsk(t *testing.T) {
	o := storetest.Options()
	o.SessionWait = -1
	r := storetest.New(t, 3, o)
	e := r.MustPut(t, "a", "1")
	r.Level(t)
	synced := time.Now()
	in := func(max time.Duration) store.ReadOptions {
		return store.ReadOptions{Consistency: store.Bounded, MaxStaleness: max}
	}
	asked := map[string]bool{}
	for range 60 {
		got, err := r.Get(t.Context(), e.Key, in(time.Hour))
		if err != nil || got.Staleness < 0 || got.Partition != "p0" && got.Staleness == 0 {
			t.Fatalf("within an hour: %+v, %v", got, err)
		}
		asked[got.Partition] = true
	}
	if len(asked) != 3 {
		t.Errorf("only %v were asked within an hour", asked)
	}
	storetest.Eventually(t, "some staleness", func() bool { return time.Since(synced) > 30*time.Millisecond })
	for range 20 { // polls alone make the replicas no fresher
		if got, err := r.Get(t.Context(), e.Key, in(20*time.Millisecond)); err != nil || got.Partition != "p0" {
			t.Fatalf("within 20 ms: %+v, %v", got, err)
		}
	}
	r.Parts[0].Fail(func(string) error { return partition.ErrUnavailable })
	storetest.Eventually(t, "unreachable master", func() bool { return r.Status().Partitions[0].State == store.Unreachable })
	var stale *store.StalenessError
	if got, err := r.Get(t.Context(), e.Key, in(20*time.Millisecond)); !errors.As(err, &stale) {
		t.Errorf("with the master away: %+v, %v", got, err)
	}
	if _, err := r.Get(t.Context(), e.Key, in(time.Hour)); err != nil {
		t.Errorf("within an hour, with the master away: %v", err)
	}
}

func TestQuorumAnswersWithTheNewest(t *testing.T) {
	r := storetest.New(t, 3, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	e := r.MustPut(t, "a", "2")
	in := func(copies int) store.ReadOptions {
		return store.ReadOptions{Consistency: store.Quorum, Copies: copies}
	}
	for range 10 {
		if got, err := r.Get(t.Context(), e.Key, in(store.AllCopies)); err != nil || got.Entry.Revision != e.Revision || got.Partition != "p0" || got.Staleness != 0 {
			t.Fatalf("all: %+v, %v", got, err)
		}
	}
	r.Parts[2].Fail(func(op string) error {
		if op == memory.OpGet {
			return partition.ErrUnavailable
		}
		return nil
	})
	for range 10 { // a replacement for the failing partition is asked
		if got, err := r.Get(t.Context(), e.Key, in(store.MajorityOfCopies)); err != nil || got.Entry.Revision != e.Revision {
			t.Fatalf("quorum: %+v, %v", got, err)
		}
	}
	var few *store.CopiesError
	if _, err := r.Get(t.Context(), e.Key, in(3)); !errors.As(err, &few) || few.Answered != 2 || few.Asked != 3 {
		t.Errorf("3 of which one fails: %v", err)
	}
	for _, n := range []int{0, -3, 4, 1 << 40} {
		if _, err := r.Get(t.Context(), e.Key, in(n)); !errors.As(err, &few) || few.Configured != 3 || few.Answered != 0 {
			t.Errorf("%d copies: %v", n, err)
		}
	}
	if _, err := r.Get(t.Context(), store.User.Key("none"), in(2)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no entry: %v", err)
	}
}

func TestReadsPreferTheNearestOrTheLocal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(op string) error {
			if op == memory.OpGet || op == memory.OpPositions {
				<-time.After(2 * time.Millisecond)
			}
			return nil
		}
		for _, choice := range []store.ReadChoice{store.ReadNearest, store.ReadLocal} {
			o := storetest.Options()
			o.Read, o.Local = choice, "p2"
			r := &storetest.Rig{}
			for i := range 3 {
				r.Parts = append(r.Parts, memory.New(fmt.Sprint("p", i)))
				if choice == store.ReadNearest && i != 2 || choice == store.ReadLocal && i == 2 {
					r.Parts[i].Fail(slow)
				}
			}
			r.Start(t, o)
			e := r.MustPut(t, "a", "1")
			r.Level(t)
			preferred := func() bool {
				for range 10 {
					if got, err := r.Get(t.Context(), e.Key, store.ReadOptions{}); err != nil || got.Partition != "p2" {
						return false
					}
				}
				return true
			}
			storetest.Eventually(t, string(choice)+" reads from p2", preferred)
			r.Parts[2].Fail(func(string) error { return partition.ErrUnavailable })
			if got, err := r.Get(t.Context(), e.Key, store.ReadOptions{}); err != nil || got.Partition == "p2" {
				t.Errorf("%s, with p2 away: %+v, %v", choice, got, err)
			}
		}
		if _, err := store.Open(store.Options{Partitions: []partition.Partition{memory.New("p0")}, Read: store.ReadLocal, Local: "p9"}); err == nil {
			t.Error("a local partition that is not there was taken")
		}
	})
}
