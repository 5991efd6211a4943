package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// rig is a running store on memory partitions p0, p1, ….
type rig struct {
	*store.Store
	parts []*memory.Partition
}

func options() store.Options {
	return store.Options{
		Poll:    5 * time.Millisecond,
		Timeout: 2 * time.Second,
		Logger:  slog.New(slog.DiscardHandler),
	}
}

// newRig starts a store over n partitions; the first ones are masters.
func newRig(t *testing.T, n int, o store.Options, masters ...string) *rig {
	t.Helper()
	r := &rig{}
	for i := range n {
		r.parts = append(r.parts, memory.New(fmt.Sprintf("p%d", i)))
	}
	r.start(t, o, masters...)
	return r
}

func (r *rig) start(t *testing.T, o store.Options, masters ...string) {
	t.Helper()
	o.Masters = masters
	for _, p := range r.parts {
		o.Partitions = append(o.Partitions, p)
	}
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Store = s
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	eventually(t, "a writable master", func() bool {
		for _, p := range s.Status().Partitions {
			if p.Writable {
				return true
			}
		}
		return false
	})
}

// eventually waits for a condition, with a deadline.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("no %s within 10 s", what)
		case <-tick.C:
		}
	}
}

func (r *rig) put(t *testing.T, name, value string) store.Entry {
	t.Helper()
	w, err := r.Put(t.Context(), store.Entry{Key: store.User.Key(name), Value: []byte(value)})
	if err != nil {
		t.Fatalf("Put(%s): %v", name, err)
	}
	return w.Entry
}

// level copies everything from each master to every other partition.
func (r *rig) level(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	for _, o := range r.Origins() {
		var source *memory.Partition
		for _, p := range r.parts {
			if p.Name() == string(o) {
				source = p
			}
		}
		for _, p := range r.parts {
			if p != source {
				copyAll(t, ctx, source, p, o)
			}
			at, err := p.Positions(ctx)
			if err != nil {
				t.Fatal(err)
			}
			r.Observe(p.Name(), at)
		}
	}
}

func copyAll(t *testing.T, ctx context.Context, source, target *memory.Partition, o store.Origin) {
	t.Helper()
	at, err := target.Positions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	from := at.Origins[o].Revision
	snap, err := source.Snapshot(ctx, o, from)
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	head := snap.Position()
	c := partition.Copy{Origin: o, From: from, To: head.Revision, Goal: head.Revision, SyncedAt: head.SyncedAt}
	for {
		es, err := snap.Next(ctx, 1000, 1<<20)
		if err != nil {
			break
		}
		c.Entries = append(c.Entries, es...)
	}
	if err := target.Apply(ctx, c); err != nil {
		t.Fatal(err)
	}
}

func TestPutSaysWhetherTheKeyIsNew(t *testing.T) {
	r := newRig(t, 1, options())
	key := store.User.Key("a")
	for i, want := range []bool{true, false, false} {
		w, err := r.Put(t.Context(), store.Entry{Key: key, ContentType: "text/plain", Value: fmt.Appendf(nil, "v%d", i)})
		if err != nil || w.Created != want {
			t.Fatalf("put %d: created %v, %v; want %v", i, w.Created, err, want)
		}
		got, err := r.Get(t.Context(), key, store.ReadOptions{Consistency: store.FromMaster})
		if err != nil || string(got.Entry.Value) != fmt.Sprintf("v%d", i) || got.Entry.Revision != w.Entry.Revision {
			t.Fatalf("get after put %d: %+v, %v; want revision %d", i, got.Entry, err, w.Entry.Revision)
		}
	}
	err := r.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error { v.Delete(key); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if w, err := r.Put(t.Context(), store.Entry{Key: key}); err != nil || !w.Created {
		t.Fatalf("put after delete: created %v, %v", w.Created, err)
	}
}

// TestUpdateIsExactUnderConcurrency increments a counter by conditional writes from many
// goroutines over two processes: each success must count once.
func TestUpdateIsExactUnderConcurrency(t *testing.T) {
	r := newRig(t, 1, options())
	other := &rig{parts: []*memory.Partition{r.parts[0].Reopen()}}
	other.start(t, options())
	key := store.User.Key("counter")
	const workers, rounds = 16, 50
	var group sync.WaitGroup
	for w := range workers {
		s := []*rig{r, other}[w%2]
		group.Go(func() {
			for range rounds {
				err := s.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error {
					e, _ := v.Get(key)
					v.Put(store.Entry{Key: key, Value: append(e.Value[:len(e.Value):len(e.Value)], 'x')})
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				if _, err := s.Put(t.Context(), store.Entry{Key: store.User.Key("noise")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	got, err := r.Get(t.Context(), key, store.ReadOptions{})
	if err != nil || len(got.Entry.Value) != workers*rounds {
		t.Fatalf("counted %d, %v; want %d", len(got.Entry.Value), err, workers*rounds)
	}
}

// TestReplacedDatabaseIsJoinedAnew replaces a replica by an empty database and by a foreign
// one while the store runs.
func TestReplacedDatabaseIsJoinedAnew(t *testing.T) {
	r := newRig(t, 1, options())
	swap := &swapped{}
	swap.set(memory.New("p1"))
	if err := r.Add(swap); err != nil {
		t.Fatal(err)
	}
	eventually(t, "join", func() bool { return r.Replicas()[1].Err == nil })

	foreign := memory.New("p1")
	_, err := foreign.Join(t.Context(), partition.Cluster{ID: "other", Name: "p1", Epoch: 1, Masters: []string{"p9"}, Slots: make([]uint16, store.Slots)})
	if err != nil {
		t.Fatal(err)
	}
	swap.set(nil)
	eventually(t, "outage", func() bool { return r.Replicas()[1].Err != nil })
	swap.set(foreign)
	eventually(t, "refusal", func() bool { return r.Status().Partitions[1].State == store.Refused })
	swap.set(memory.New("p1"))
	eventually(t, "join of the empty one", func() bool { return r.Replicas()[1].Err == nil })
}

// swapped is a partition whose database can be replaced; nil is an outage.
type swapped struct {
	partition.Partition
	mu sync.Mutex
	to *memory.Partition
}

func (s *swapped) set(p *memory.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = p
}

func (s *swapped) now() (*memory.Partition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.to == nil {
		return nil, partition.ErrUnavailable
	}
	return s.to, nil
}

func (*swapped) Name() string                    { return "p1" }
func (*swapped) Kind() string                    { return "memory" }
func (*swapped) MaxValueBytes() int64            { return 1 << 20 }
func (*swapped) Warnings() []string              { return nil }
func (*swapped) Close() error                    { return nil }
func (s *swapped) Prepare(context.Context) error { _, err := s.now(); return err }

func (s *swapped) Cluster(ctx context.Context) (partition.Cluster, error) {
	p, err := s.now()
	if err != nil {
		return partition.Cluster{}, err
	}
	return p.Cluster(ctx)
}

func (s *swapped) Join(ctx context.Context, c partition.Cluster) (partition.Cluster, error) {
	p, err := s.now()
	if err != nil {
		return partition.Cluster{}, err
	}
	return p.Join(ctx, c)
}

func (s *swapped) Positions(ctx context.Context) (partition.Positions, error) {
	p, err := s.now()
	if err != nil {
		return partition.Positions{}, err
	}
	return p.Positions(ctx)
}

var errPlanned = errors.New("planned")

func TestUpdateErrorAbortsItAlone(t *testing.T) {
	r := newRig(t, 1, options())
	release := make(chan struct{})
	r.parts[0].Fail(func(op string) error { // hold the first commit so that the other writes queue together
		if op == memory.OpCommit {
			<-release
		}
		return nil
	})
	var group sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		key := store.User.Key(fmt.Sprint("k", i))
		group.Go(func() {
			errs[i] = r.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error {
				v.Put(store.Entry{Key: key, Value: []byte("x")})
				if i%3 == 0 {
					return errPlanned
				}
				return nil
			})
		})
	}
	close(release)
	group.Wait()
	for i, err := range errs {
		if (i%3 == 0) != errors.Is(err, errPlanned) || i%3 != 0 && err != nil {
			t.Errorf("update %d: %v", i, err)
		}
		_, err := r.Get(t.Context(), store.User.Key(fmt.Sprint("k", i)), store.ReadOptions{})
		if (i%3 == 0) != errors.Is(err, store.ErrNotFound) {
			t.Errorf("entry of update %d: %v", i, err)
		}
	}
}

func TestUpdateSeesEarlierWritesOfItsBatch(t *testing.T) {
	r := newRig(t, 1, options())
	a, b := store.User.Key("{t}a"), store.User.Key("{t}b")
	err := r.Update(t.Context(), []store.Key{a, b}, store.UpdateOptions{}, func(v *store.Tx) error {
		first := v.Put(store.Entry{Key: a, Value: []byte("1")})
		again, ok := v.Get(a)
		if !ok || again.Revision != first.Revision || first.Revision != v.Revision() {
			return fmt.Errorf("got %+v, %v after writing %+v at %d", again, ok, first, v.Revision())
		}
		if _, deleted := v.Delete(b); deleted {
			return errors.New("deleted what was not there")
		}
		v.Put(store.Entry{Key: b, Value: []byte("2")})
		if _, deleted := v.Delete(b); !deleted {
			return errors.New("did not find what it wrote")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Get(t.Context(), b, store.ReadOptions{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted key: %v", err)
	}
}

func TestUpdateRefusesKeysOfDifferentMasters(t *testing.T) {
	r := newRig(t, 2, options(), "p0", "p1")
	a := store.User.Key("a")
	b := a
	for i := 0; r.Master(b) == r.Master(a); i++ {
		b = store.User.Key(fmt.Sprint("b", i))
	}
	run := 0
	err := r.Update(t.Context(), []store.Key{a, b}, store.UpdateOptions{}, func(*store.Tx) error { run++; return nil })
	if !errors.Is(err, store.ErrDifferentMasters) || run != 0 {
		t.Fatalf("%v, ran %d times", err, run)
	}
	x, y := store.User.Key("{tag}x"), store.Space("lock").Key("{tag}y")
	if r.Master(x) != r.Master(y) {
		t.Errorf("keys of one tag have masters %s and %s", r.Master(x), r.Master(y))
	}
}

func TestUpdateThatWritesNothingClaimsNothing(t *testing.T) {
	r := newRig(t, 1, options())
	r.put(t, "a", "1")
	before, _ := r.parts[0].Positions(t.Context())
	if err := r.Update(t.Context(), []store.Key{store.User.Key("a")}, store.UpdateOptions{}, func(v *store.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	after, _ := r.parts[0].Positions(t.Context())
	if before.Origins["p0"] != after.Origins["p0"] {
		t.Errorf("the position went from %+v to %+v", before.Origins["p0"], after.Origins["p0"])
	}
}

func TestUnknownOutcomeIsSaidAndNotGuessed(t *testing.T) {
	r := newRig(t, 1, options())
	r.parts[0].Fail(func(op string) error {
		if op == memory.OpCommitted {
			return errPlanned
		}
		return nil
	})
	_, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a")})
	if !errors.Is(err, store.ErrOutcomeUnknown) || errors.Is(err, store.ErrMasterUnavailable) {
		t.Fatalf("Put: %v; want ErrOutcomeUnknown, and not that nothing was stored", err)
	}
}

func TestDeadMasterRefusesWritesAndReadsGoOn(t *testing.T) {
	r := newRig(t, 3, options())
	r.put(t, "a", "1")
	r.level(t)
	r.parts[0].Fail(func(string) error { return partition.ErrUnavailable })
	eventually(t, "unreachable master", func() bool { return r.Status().Partitions[0].State == store.Unreachable })
	_, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a")})
	var me *store.MasterError
	if !errors.Is(err, store.ErrMasterUnavailable) || !errors.As(err, &me) || me.Master != "p0" || me.RetryAfter <= 0 {
		t.Errorf("Put: %v", err)
	}
	for range 50 {
		if got, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{}); err != nil || got.Partition == "p0" {
			t.Fatalf("Get: %+v, %v", got, err)
		}
	}
	if _, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{Consistency: store.FromMaster}); !errors.Is(err, store.ErrMasterUnavailable) {
		t.Errorf("Get from the master: %v", err)
	}
	r.parts[0].Fail(nil)
	eventually(t, "write to the returned master", func() bool {
		_, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a")})
		return err == nil
	})
}

func TestReadFallsBackAtOnce(t *testing.T) {
	r := newRig(t, 3, options())
	r.put(t, "a", "1")
	r.level(t)
	r.parts[1].Fail(func(op string) error {
		if op == memory.OpGet || op == memory.OpList {
			return partition.ErrUnavailable
		}
		return nil
	})
	for range 50 {
		if got, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{}); err != nil || got.Partition == "p1" {
			t.Fatalf("Get: %+v, %v", got, err)
		}
		if page, err := r.List(t.Context(), store.ListOptions{Space: store.User}); err != nil || page.Partition == "p1" || len(page.Entries) != 1 {
			t.Fatalf("List: %+v, %v", page, err)
		}
	}
}

// logged is a log that can be read while it is written.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestDamagedCopyIsNotServed(t *testing.T) {
	var log logged
	o := options()
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r := newRig(t, 2, o)
	e := r.put(t, "a", "good")
	r.level(t)
	e.Value = []byte("evil")
	r.parts[1].Plant(e)
	for range 30 {
		got, err := r.Get(t.Context(), e.Key, store.ReadOptions{})
		if err != nil || string(got.Entry.Value) != "good" {
			t.Fatalf("Get: %q from %s, %v", got.Entry.Value, got.Partition, err)
		}
		page, err := r.List(t.Context(), store.ListOptions{Space: store.User, Values: true})
		if err != nil || string(page.Entries[0].Value) != "good" {
			t.Fatalf("List: %+v, %v", page, err)
		}
	}
	if _, err := r.Get(t.Context(), e.Key, store.ReadOptions{Partition: "p1"}); err == nil {
		t.Error("the damaged copy was served when asked for by name")
	}
	if n := strings.Count(log.String(), "damaged entry"); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
}

func TestFillingPartitionServesNoReads(t *testing.T) {
	r := newRig(t, 2, options())
	r.put(t, "a", "1")
	for range 50 {
		if got, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{}); err != nil || got.Partition != "p0" {
			t.Fatalf("Get: %+v, %v", got, err)
		}
	}
	if st := r.Status().Partitions[1]; st.State != store.Filling || st.Readable {
		t.Errorf("status of the empty partition: %+v", st)
	}
	r.level(t)
	eventually(t, "read from the filled partition", func() bool {
		got, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{})
		return err == nil && got.Partition == "p1" && got.Staleness >= 0
	})
}

func TestStatusIsReadableOnceEveryOriginIs(t *testing.T) {
	r := newRig(t, 2, options(), "p0", "p1")
	eventually(t, "readable status", func() bool { return r.Status().Readable() })
	if st := r.Status(); st.Partitions[0].Readable || st.Partitions[1].Readable {
		t.Errorf("a partition that lacks an origin is readable: %+v", st)
	}
	r.parts[1].Fail(func(string) error { return partition.ErrUnavailable })
	eventually(t, "unreadable status", func() bool { return !r.Status().Readable() })
	if st := r.Status(); !st.Writable() {
		t.Errorf("the other master is not writable: %+v", st)
	}
}

func TestExpiredEntryIsGoneBeforeItIsSwept(t *testing.T) {
	var mu sync.Mutex
	now := time.Now().Add(time.Hour) // the master's clock is far from ours
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	r := &rig{parts: []*memory.Partition{memory.New("p0", memory.Clock(clock)), memory.New("p1")}}
	r.start(t, options())
	key := store.User.Key("a")
	err := r.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error {
		v.Put(store.Entry{Key: key, ExpiresAt: v.Now().Add(time.Minute)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.level(t)
	for _, p := range r.parts {
		if _, err := r.Get(t.Context(), key, store.ReadOptions{Partition: p.Name()}); err != nil {
			t.Errorf("before it expires, from %s: %v", p.Name(), err)
		}
	}
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	for _, p := range r.parts {
		eventually(t, "expiry on "+p.Name(), func() bool {
			_, err := r.Get(t.Context(), key, store.ReadOptions{Partition: p.Name()})
			return errors.Is(err, store.ErrNotFound)
		})
	}
	page, err := r.List(t.Context(), store.ListOptions{Space: store.User})
	if err != nil || len(page.Entries) != 0 {
		t.Errorf("List shows what expired: %+v, %v", page, err)
	}
	if w, err := r.Put(t.Context(), store.Entry{Key: key}); err != nil || !w.Created {
		t.Errorf("Put over an expired entry: created %v, %v", w.Created, err)
	}
}

func TestMasterBehindItsCopiesTakesNoWrites(t *testing.T) {
	s := newBehindStore(t)
	if _, err := s.Put(t.Context(), store.Entry{Key: store.User.Key("c")}); !errors.Is(err, store.ErrMasterUnavailable) || !strings.Contains(err.Error(), "lost") {
		t.Errorf("Put: %v", err)
	}
}

// TestMasterBehindItsCopiesAnswersNoReads of the writes it has lost: these reads need the
// master; the replica answers all others.
func TestMasterBehindItsCopiesAnswersNoReads(t *testing.T) {
	s := newBehindStore(t)
	key := store.User.Key("a")
	isAway := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrMasterUnavailable) || !strings.Contains(err.Error(), "lost") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for name, o := range map[string]store.ReadOptions{
		"master":  {Consistency: store.FromMaster},
		"bounded": {Consistency: store.Bounded, MaxStaleness: time.Nanosecond}, // fresher than any replica
		"session": {Consistency: store.InSession, Session: store.VectorOf(store.Mark{Origin: "p0", Revision: partition.Floor(1) + 9})},
	} {
		_, err := s.Get(t.Context(), key, o)
		isAway("Get "+name, err)
		_, err = s.List(t.Context(), store.ListOptions{Space: store.User, ReadOptions: o})
		isAway("List "+name, err)
		s.GetMany(t.Context(), []store.Key{key}, o, func(_ int, _ store.Read, err error) { isAway("GetMany "+name, err) })
	}
	var few *store.CopiesError
	if _, err := s.Get(t.Context(), key, store.ReadOptions{Consistency: store.Quorum, Copies: 2}); !errors.As(err, &few) || few.Answered != 1 {
		t.Errorf("quorum of 2: %v", err)
	}
	for range 20 {
		if r, err := s.Get(t.Context(), key, store.ReadOptions{}); err != nil || r.Partition != "p1" || string(r.Entry.Value) != "1" {
			t.Fatalf("any: %v %v", r, err)
		}
		if page, err := s.List(t.Context(), store.ListOptions{Space: store.User}); err != nil || len(page.Entries) != 2 {
			t.Fatalf("list: %v %v", page, err)
		}
		if page, err := s.Union(t.Context(), store.ListOptions{Space: store.User}); err != nil || len(page.Entries) != 2 {
			t.Fatalf("union: %v %v", page, err)
		}
		if page, err := s.Changes(t.Context(), store.ChangeToken{}, store.ChangeOptions{Space: store.User}); err != nil || len(page.Entries) != 2 {
			t.Fatalf("changes: %v %v", page, err)
		}
	}
	if r, err := s.Get(t.Context(), key, store.ReadOptions{Partition: "p0"}); !errors.Is(err, store.ErrNotFound) || r.Staleness >= 0 {
		t.Errorf("of the partition by its name: staleness %v, %v", r.Staleness, err)
	}
	if st := s.Status(); st.Partitions[0].Readable || !st.Readable() {
		t.Errorf("readable: %v, the master %v", st.Readable(), st.Partitions[0].Readable)
	}
}

// newBehindStore is a store whose master p0 was set back to an empty state.
func newBehindStore(t *testing.T) *store.Store {
	t.Helper()
	r := newRig(t, 2, options())
	r.put(t, "a", "1")
	r.put(t, "b", "2")
	r.level(t)
	row, err := r.parts[0].Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	blank := memory.New("p0") // an older state of the master returns
	if _, err := blank.Join(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	again := &rig{parts: []*memory.Partition{blank, r.parts[1].Reopen()}}
	o := options()
	o.Masters = []string{"p0"}
	for _, p := range again.parts {
		o.Partitions = append(o.Partitions, p)
	}
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; s.Close() })
	eventually(t, "state behind", func() bool { return s.Status().Partitions[0].State == store.Behind })
	return s
}

func TestForeignPartitionsAreRefused(t *testing.T) {
	first := newRig(t, 2, options())
	foreign := memory.New("p1")
	_, err := foreign.Join(t.Context(), partition.Cluster{ID: "other", Name: "p1", Epoch: 1, Masters: []string{"p9"}, Slots: make([]uint16, store.Slots)})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]partition.Partition{
		"of another cluster": foreign,
		"shared by two":      shared{first.parts[1].Reopen()},
	} {
		t.Run(name, func(t *testing.T) {
			mixed := &rig{parts: []*memory.Partition{first.parts[0].Reopen()}}
			mixed.start(t, options())
			if err := mixed.Add(p); err != nil {
				t.Fatal(err)
			}
			eventually(t, "refusal", func() bool {
				st := mixed.Status().Partitions[1]
				return st.State == store.Refused && errors.Is(st.Err, partition.ErrRefused)
			})
		})
	}
}

// shared is a database that belongs to p1, configured under another name.
type shared struct{ *memory.Partition }

func (shared) Name() string { return "p2" }

func TestCloseAnswersWhatWasAccepted(t *testing.T) {
	o := options()
	r := &rig{parts: []*memory.Partition{memory.New("p0")}}
	o.Partitions = []partition.Partition{r.parts[0]}
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	eventually(t, "a writable master", func() bool { return s.Status().Partitions[0].Writable })
	entered, release := make(chan struct{}, 64), make(chan struct{})
	r.parts[0].Fail(func(op string) error {
		if op == memory.OpCommit {
			entered <- struct{}{}
			<-release
		}
		return nil
	})
	answers := make(chan error, 10)
	for i := range cap(answers) {
		go func() {
			_, err := s.Put(t.Context(), store.Entry{Key: store.User.Key(fmt.Sprint(i))})
			answers <- err
		}()
	}
	<-entered
	cancel()
	close(release)
	accepted := 0
	for range cap(answers) {
		switch err := <-answers; {
		case err == nil:
			accepted++
		case !errors.Is(err, store.ErrClosed):
			t.Errorf("Put: %v", err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	page, more, err := r.parts[0].List(t.Context(), partition.Span{From: "k/", To: "k0", Limit: 100})
	if err != nil || more || len(page) != accepted || accepted == 0 {
		t.Errorf("%d stand, %d were accepted, %v", len(page), accepted, err)
	}
	s.Close()
}

func TestCopyReachesEveryReachablePartition(t *testing.T) {
	r := newRig(t, 3, options())
	r.put(t, "a", "1")
	r.level(t)
	e := r.put(t, "a", "2")
	r.parts[0].Fail(func(op string) error {
		if op == memory.OpApply {
			t.Error("the master was given its own entries")
		}
		return nil
	})
	if held, err := r.Copy(t.Context(), e, store.EveryReachable); err != nil || held != 3 {
		t.Errorf("held by %d, %v", held, err)
	}
	for _, p := range r.parts {
		if got, err := r.Get(t.Context(), e.Key, store.ReadOptions{Partition: p.Name()}); err != nil || string(got.Entry.Value) != "2" {
			t.Errorf("%s has %q, %v", p.Name(), got.Entry.Value, err)
		}
	}
	if at, err := r.parts[1].Positions(t.Context()); err != nil || !at.Origins["p0"].Holds(e.Revision) {
		t.Errorf("the position is %+v, and %d is held, %v", at.Origins["p0"], e.Revision, err)
	}
	e = r.put(t, "a", "3")
	r.parts[2].Fail(func(op string) error {
		if op == memory.OpApply {
			return partition.ErrUnavailable
		}
		return nil
	})
	if held, err := r.Copy(t.Context(), e, store.EveryReachable); !errors.Is(err, partition.ErrUnavailable) || held != 2 {
		t.Errorf("with one failing: held by %d, %v", held, err)
	}
}

func TestAddedPartitionJoinsWithoutRestart(t *testing.T) {
	r := newRig(t, 1, options())
	r.put(t, "a", "1")
	added := memory.New("p1")
	if err := r.Add(added); err != nil {
		t.Fatal(err)
	}
	r.parts = append(r.parts, added)
	eventually(t, "joined partition", func() bool { return r.Replicas()[1].Err == nil })
	r.level(t)
	if st := r.Status().Partitions[1]; st.State != store.Ready || !st.Readable {
		t.Errorf("status: %+v", st)
	}
	if err := r.Add(memory.New("p1")); err == nil {
		t.Error("a second p1 was taken")
	}
}

// TestNoPartitionIsUsedBeforeItsClusterIsKnown: a sync process could write into a
// database of another cluster.
func TestNoPartitionIsUsedBeforeItsClusterIsKnown(t *testing.T) {
	r := &rig{}
	var s atomic.Pointer[store.Store]
	var early atomic.Int64
	for i := range 3 {
		p := memory.New(fmt.Sprintf("p%d", i))
		r.parts = append(r.parts, p)
		p.Fail(func(op string) error {
			if op != memory.OpCluster || s.Load() == nil {
				return nil
			}
			if s.Load().Replicas()[i].Err == nil {
				early.Add(1)
			}
			return nil
		})
	}
	o := options()
	o.Masters = []string{"p0"}
	for _, p := range r.parts {
		o.Partitions = append(o.Partitions, p)
	}
	opened, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	s.Store(opened)
	if err := opened.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := early.Load(); n > 0 {
		t.Errorf("%d times a partition was given before its cluster was asked for", n)
	}
	for _, peer := range opened.Replicas() {
		if peer.Err != nil {
			t.Errorf("%s: %v", peer.Name(), peer.Err)
		}
	}
}

// TestWritesThatNeedCopiesShareThem: while a replica catches up for a write, the writes
// that arrive meanwhile share the next round.
func TestWritesThatNeedCopiesShareThem(t *testing.T) {
	r := newRig(t, 2, options())
	r.put(t, "a", "1")
	r.level(t)
	var applies atomic.Int64
	entered, goOn := make(chan struct{}), make(chan struct{})
	r.parts[1].Fail(func(op string) error {
		if op == memory.OpApply && applies.Add(1) == 1 {
			close(entered)
			<-goOn
		}
		return nil
	})
	var group sync.WaitGroup
	copied := func(e store.Entry) {
		group.Go(func() {
			if held, err := r.Copy(t.Context(), e, 2); err != nil || held != 2 {
				t.Errorf("held by %d, %v", held, err)
			}
		})
	}
	copied(r.put(t, "first", "1"))
	<-entered
	for i := range 50 {
		copied(r.put(t, fmt.Sprint("k", i), "1"))
	}
	close(goOn)
	group.Wait()
	if n := applies.Load(); n > 50/2 {
		t.Errorf("%d copies of 51 writes", n)
	}
}

// TestCopyThatTheSyncProcessMadeCounts: the sync process moves the position between the
// reading of the position and the Apply.
func TestCopyThatTheSyncProcessMadeCounts(t *testing.T) {
	r := newRig(t, 2, options())
	r.put(t, "a", "1")
	r.level(t)
	e := r.put(t, "a", "2")
	var moved atomic.Bool
	r.parts[1].Fail(func(op string) error {
		if op == memory.OpApply && moved.CompareAndSwap(false, true) {
			r.level(t)
		}
		return nil
	})
	if held, err := r.Copy(t.Context(), e, 2); err != nil || held != 2 {
		t.Errorf("held by %d, %v", held, err)
	}
}

// TestReplicaThatLacksTooMuchIsNoCopy: the sync process fills the replica, and the write
// stands.
func TestReplicaThatLacksTooMuchIsNoCopy(t *testing.T) {
	r := newRig(t, 3, options())
	r.put(t, "a", "1")
	r.level(t)
	behind := r.parts[2]
	for i := range 5000 {
		r.parts[0].Plant(store.Entry{Key: store.User.Key(fmt.Sprint(i)), Origin: "p0", Revision: partition.Floor(1) + store.Revision(1000+i)})
	}
	at, err := behind.Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.parts[0].Commit(t.Context(), partition.Batch{Epoch: 1, Revisions: 7000}); err != nil {
		t.Fatal(err)
	}
	e := r.put(t, "b", "1")
	if held, err := r.Copy(t.Context(), e, 2); !errors.Is(err, partition.ErrTooFar) || held != 1 {
		t.Errorf("held by %d, %v", held, err)
	}
	if now, err := behind.Positions(t.Context()); err != nil || now.Origins["p0"].Revision != at.Origins["p0"].Revision {
		t.Errorf("the position went from %+v to %+v, %v", at, now, err)
	}
}

// TestCopyIsJudgedByThePositionOfNow: another process has copied much and collected
// tombstones since this process read the replica's positions.
func TestCopyIsJudgedByThePositionOfNow(t *testing.T) {
	o := options()
	o.Poll = time.Hour
	r := newRig(t, 2, o)
	r.put(t, "a", "1")
	r.level(t)
	gone := r.put(t, "b", "1")
	copyAll(t, t.Context(), r.parts[0], r.parts[1], "p0")
	for _, p := range r.parts {
		if _, err := p.Collect(t.Context(), "p0", gone.Revision); err != nil {
			t.Fatal(err)
		}
	}
	if held, err := r.Copy(t.Context(), r.put(t, "c", "1"), 2); err != nil || held != 2 {
		t.Errorf("held by %d, %v", held, err)
	}
}
