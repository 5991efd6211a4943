package store_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// newMovable starts a store of n partitions on which masters can move.
func newMovable(t *testing.T, n int, masters ...string) *storetest.Rig {
	t.Helper()
	r := storetest.New(t, n, storetest.Options(), masters...)
	for _, p := range r.Parts {
		if err := p.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Eventually(t, "every partition joined", func() bool {
		for _, p := range r.Status().Partitions {
			if p.State != store.Ready && p.State != store.Filling {
				return false
			}
		}
		return true
	})
	storetest.RunSync(t, r)
	storetest.Eventually(t, "every partition filled", func() bool {
		for _, p := range r.Status().Partitions {
			if !p.Readable {
				return false
			}
		}
		return true
	})
	return r
}

// startProcess starts a further store on the same databases, as another process.
func startProcess(t *testing.T, r *storetest.Rig, poll time.Duration, masters ...string) *storetest.Rig {
	t.Helper()
	other := &storetest.Rig{}
	for _, p := range r.Parts {
		other.Parts = append(other.Parts, p.Reopen())
	}
	o := storetest.Options()
	o.Poll = poll
	other.Start(t, o, masters...)
	return other
}

func mustMove(t *testing.T, r *storetest.Rig, q store.MoveRequest) {
	t.Helper()
	moves, err := r.PlanMoves(q)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range moves {
		if err := r.Move(t.Context(), m, func(store.MoveStage) {}); err != nil {
			t.Fatalf("move %d slots from %s to %s: %v", len(m.Slots), m.From, m.To, err)
		}
	}
}

// counterUser increments counters and reads each back from its master.
type counterUser struct {
	s     *store.Store
	tag   string
	acked map[string]int
	made  *atomic.Int64 // increments of all users
}

func (u *counterUser) run(ctx context.Context, t *testing.T) {
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("%s-%d", u.tag, i%32)
		key := store.User.Key(name)
		want := u.acked[name] + 1
		err := u.s.Update(ctx, []store.Key{key}, store.UpdateOptions{Bytes: 8}, func(tx *store.Tx) error {
			now := 0
			if e, ok := tx.Get(key); ok {
				now, _ = strconv.Atoi(string(e.Value))
			}
			if now != want-1 {
				return fmt.Errorf("%s is %d, and %d was acknowledged", name, now, want-1)
			}
			tx.Put(store.Entry{Key: key, Value: []byte(strconv.Itoa(want))})
			return nil
		})
		if ctx.Err() != nil {
			u.acked[name] = -1 // unknown
			return
		}
		if err != nil {
			t.Errorf("increment: %v", err)
			return
		}
		u.acked[name] = want
		u.made.Add(1)
		got, err := u.s.Get(ctx, key, store.ReadOptions{Consistency: store.FromMaster})
		if ctx.Err() == nil && (err != nil || string(got.Entry.Value) != strconv.Itoa(want)) {
			t.Errorf("the master of %s has %q, %v; want %d", name, got.Entry.Value, err, want)
			return
		}
	}
}

// TestMovesLoseNothingUnderLoad moves slots to and fro while clients of two processes write; the second process learns
// nothing of the moves by itself.
func TestMovesLoseNothingUnderLoad(t *testing.T) {
	r := newMovable(t, 3, "p0", "p1")
	late := startProcess(t, r, time.Hour, "p0", "p1")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var made atomic.Int64
	var users []*counterUser
	var group sync.WaitGroup
	for i := range 4 {
		u := &counterUser{s: r.Store, tag: fmt.Sprint("near", i), acked: make(map[string]int), made: &made}
		if i%2 == 1 {
			u.s, u.tag = late.Store, fmt.Sprint("late", i)
		}
		users = append(users, u)
		group.Go(func() { u.run(ctx, t) })
	}
	for round := 0; (round < 5 || made.Load() < 500) && !t.Failed(); round++ {
		mustMove(t, r, store.MoveRequest{To: "p2"})
		mustMove(t, r, store.MoveRequest{From: "p0"})
		mustMove(t, r, store.MoveRequest{From: "p1", To: "p2"})
		if got := r.Status().Masters; len(got) != 1 || got[0] != "p2" {
			t.Errorf("the masters are %v, want p2 alone", got)
		}
		mustMove(t, r, store.MoveRequest{To: "p0"})
		mustMove(t, r, store.MoveRequest{To: "p1"})
		if got := r.Status().Masters; len(got) != 3 {
			t.Errorf("the masters are %v, want all three", got)
		}
		mustMove(t, r, store.MoveRequest{From: "p2"})
	}
	stop()
	group.Wait()
	for _, u := range users {
		for name, want := range u.acked {
			got, err := r.Get(t.Context(), store.User.Key(name), store.ReadOptions{Consistency: store.FromMaster})
			if want >= 0 && (err != nil || string(got.Entry.Value) != strconv.Itoa(want)) {
				t.Errorf("%s is %q, %v; %d was acknowledged", name, got.Entry.Value, err, want)
			}
		}
	}
}

// TestStaleProcessReadsFromNoFormerMaster: a process with an old map notices, before it answers, that the master has
// moved.
func TestStaleProcessReadsFromNoFormerMaster(t *testing.T) {
	r := newMovable(t, 2, "p0")
	late := startProcess(t, r, time.Hour, "p0")
	key := store.User.Key("a")
	var paused atomic.Bool // the copying, so that the former master does not get what is written after the move
	for _, p := range r.Parts {
		p.Fail(func(op string) error {
			if op == memory.OpApply && paused.Load() {
				return partition.ErrUnavailable
			}
			return nil
		})
	}
	r.MustPut(t, "a", "old")
	mustMove(t, r, store.MoveRequest{From: "p0", To: "p1"})
	paused.Store(true)
	r.MustPut(t, "a", "new")
	for name, read := range map[string]func() string{
		"get": func() string {
			got, _ := late.Get(t.Context(), key, store.ReadOptions{Consistency: store.FromMaster})
			return string(got.Entry.Value)
		},
		"bounded": func() string {
			got, _ := late.Get(t.Context(), key, store.ReadOptions{Consistency: store.Bounded})
			return string(got.Entry.Value)
		},
		"many": func() (value string) {
			late.GetMany(t.Context(), []store.Key{key}, store.ReadOptions{Consistency: store.FromMaster}, func(_ int, r store.Read, _ error) { value = string(r.Entry.Value) })
			return value
		},
		"list": func() string {
			page, _ := late.List(t.Context(), store.ListOptions{Space: store.User, Values: true, ReadOptions: store.ReadOptions{Consistency: store.FromMaster}})
			if len(page.Entries) == 0 {
				return ""
			}
			return string(page.Entries[0].Value)
		},
	} {
		if got := read(); got != "new" {
			t.Errorf("%s: the process that knows the old map reads %q", name, got)
		}
		paused.Store(false)
		r.MustPut(t, "a", "old")
		late = startProcess(t, r, time.Hour, "p0")
		mustMove(t, r, store.MoveRequest{From: r.Status().Masters[0], To: map[string]string{"p0": "p1", "p1": "p0"}[r.Status().Masters[0]]})
		paused.Store(true)
		r.MustPut(t, "a", "new")
	}
}

// TestMoveNeedsNoThirdPartition: a partition that is neither master is away, and a majority of the voters answers.
func TestMoveNeedsNoThirdPartition(t *testing.T) {
	r := newMovable(t, 3, "p0")
	mustMove(t, r, store.MoveRequest{From: "p0", To: "p1"}) // names the voters
	r.Parts[2].Fail(func(string) error { return partition.ErrUnavailable })
	if err := r.Move(t.Context(), store.MoveRequest{From: "p1", To: "p0"}, func(store.MoveStage) {}); err != nil {
		t.Error(err)
	}
}

// TestMoveThatCannotEndIsAborted: the new master takes no copies, and needs none before the move begins.
func TestMoveThatCannotEndIsAborted(t *testing.T) {
	r := newMovable(t, 3, "p0")
	r.Parts[1].Fail(func(op string) error {
		if op == memory.OpApply {
			return partition.ErrUnavailable
		}
		return nil
	})
	var last store.MoveStage
	err := r.Move(t.Context(), store.MoveRequest{From: "p0", To: "p1"}, func(s store.MoveStage) { last = s })
	if !errors.Is(err, store.ErrMoveAborted) || last != store.MoveAborted {
		t.Fatalf("the move ended with %v at %s", err, last)
	}
	if w, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a"), Value: []byte("1")}); err != nil || w.Entry.Origin != "p0" {
		t.Errorf("after the abort: %+v, %v", w, err)
	}
}

// TestMoveThatAnotherProcessAbortsSaysSo: a process aborts the move before the process that began the move ends it.
func TestMoveThatAnotherProcessAbortsSaysSo(t *testing.T) {
	r := newMovable(t, 3, "p0")
	var last store.MoveStage
	err := r.Move(t.Context(), store.MoveRequest{From: "p0", To: "p1"}, func(s store.MoveStage) {
		if last = s; s != store.MoveLevel {
			return
		}
		c, err := r.Parts[0].Cluster(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.Epoch, c.Moves = c.Epoch+1, nil
		c.Epochs = map[string]int64{"p0": c.Epoch}
		c.Accepted += 1 << 16
		c.Chosen = c.Accepted
		for _, p := range r.Parts {
			if _, err := p.Accept(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	})
	if !errors.Is(err, store.ErrMoveAborted) || last != store.MoveAborted {
		t.Errorf("the move ended with %v at %s", err, last)
	}
	if w, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a"), Value: []byte("1")}); err != nil || w.Entry.Origin != "p0" {
		t.Errorf("after the abort: %+v, %v", w, err)
	}
}

// TestFormerMasterThatWasEmptiedIsNoticed: its entries count still, and it would answer that they do not exist. The sync process
// fills it afresh.
func TestFormerMasterThatWasEmptiedIsNoticed(t *testing.T) {
	r := newMovable(t, 3, "p0")
	r.MustPut(t, "a", "1")
	mustMove(t, r, store.MoveRequest{From: "p0", To: "p1"})
	r.MustPut(t, "b", "1")
	late := &storetest.Rig{Parts: []*memory.Partition{memory.New("p0"), r.Parts[1].Reopen(), r.Parts[2].Reopen()}}
	if err := late.Parts[0].Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	late.Start(t, storetest.Options(), "p0")
	storetest.Eventually(t, "the state behind", func() bool { return late.Status().Partitions[0].State == store.Behind })
	for range 100 {
		got, err := late.Get(t.Context(), store.User.Key("a"), store.ReadOptions{})
		if err != nil || string(got.Entry.Value) != "1" {
			t.Fatalf("%s answered %q: %v", got.Partition, got.Entry.Value, err)
		}
	}
	err := late.Move(t.Context(), store.MoveRequest{From: "p1", To: "p0"}, func(store.MoveStage) {})
	if !errors.Is(err, store.ErrMoveRefused) {
		t.Errorf("a move to the emptied partition ended with %v", err)
	}
	storetest.RunSync(t, late)
	storetest.Eventually(t, "the state ready", func() bool { return late.Status().Partitions[0].State == store.Ready })
	got, err := late.Get(t.Context(), store.User.Key("a"), store.ReadOptions{Partition: "p0"})
	if err != nil || string(got.Entry.Value) != "1" {
		t.Errorf("filled afresh, a is %q: %v", got.Entry.Value, err)
	}
}

// TestMoveThatWasOutvotedOnceGoesOn: an attempt to begin the move reaches a single voter. The next attempt finds the map of
// the attempt, and must not take the move for that of another process.
func TestMoveThatWasOutvotedOnceGoesOn(t *testing.T) {
	r := newMovable(t, 3, "p0")
	for _, p := range r.Parts[1:] {
		var outvoted atomic.Bool
		p.Fail(func(op string) error {
			if op == memory.OpAccept && !outvoted.Swap(true) {
				return partition.ErrOutvoted
			}
			return nil
		})
	}
	if err := r.Move(t.Context(), store.MoveRequest{From: "p0", To: "p1"}, func(store.MoveStage) {}); err != nil {
		t.Error(err)
	}
	if got := r.Status().Masters; len(got) != 1 || got[0] != "p1" {
		t.Errorf("the masters are %v, want p1 alone", got)
	}
}

// TestMoveGoesOnWithoutItsProcess: whatever stage the process that moves has reached when it ends, a process that runs the
// store completes the move.
func TestMoveGoesOnWithoutItsProcess(t *testing.T) {
	for _, at := range []store.MoveStage{store.MoveBegun, store.MoveLevel} {
		r := newMovable(t, 3, "p0")
		mover := startProcess(t, r, 5*time.Millisecond, "p0")
		ctx, kill := context.WithCancel(t.Context())
		err := mover.Move(ctx, store.MoveRequest{From: "p0", To: "p1"}, func(s store.MoveStage) {
			if s == at {
				kill()
			}
		})
		if err == nil {
			t.Fatalf("the move was not ended at %s", at)
		}
		storetest.Eventually(t, "a write after the move", func() bool {
			w, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a"), Value: []byte("1")})
			return err == nil && w.Entry.Origin == "p1"
		})
	}
}

// TestCompetingMovesEndWell: of two moves of the same slots to different partitions one is refused, or both happen in turn.
func TestCompetingMovesEndWell(t *testing.T) {
	r := newMovable(t, 3, "p0")
	other := startProcess(t, r, 5*time.Millisecond, "p0")
	var group sync.WaitGroup
	errs := make([]error, 2)
	for i, s := range []*store.Store{r.Store, other.Store} {
		group.Go(func() {
			errs[i] = s.Move(t.Context(), store.MoveRequest{From: "p0", To: fmt.Sprint("p", i+1)}, func(store.MoveStage) {})
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, store.ErrMoveRefused) {
			t.Errorf("a move ended with %v", err)
		}
	}
	if errs[0] != nil && errs[1] != nil {
		t.Errorf("both moves were refused: %v", errs)
	}
	w, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a"), Value: []byte("1")})
	if err != nil || w.Entry.Origin == "p0" {
		t.Errorf("after the moves: %+v, %v", w, err)
	}
}

// TestMinorityThatSawAMoveIsReopened: a move that only its old master has accepted is forgotten, and that master goes on.
func TestMinorityThatSawAMoveIsReopened(t *testing.T) {
	r := newMovable(t, 3, "p0")
	mustMove(t, r, store.MoveRequest{From: "p0", To: "p1"}) // names the voters
	mover := startProcess(t, r, 5*time.Millisecond, "p0")
	for _, p := range mover.Parts {
		if p.Name() != "p1" {
			p.Fail(func(op string) error {
				if op == memory.OpAccept {
					return partition.ErrUnavailable
				}
				return nil
			})
		}
	}
	if err := mover.Move(t.Context(), store.MoveRequest{From: "p1", To: "p2"}, func(store.MoveStage) {}); !errors.Is(err, store.ErrNoMajority) {
		t.Fatalf("a move without a majority ended with %v", err)
	}
	storetest.Eventually(t, "a write afterwards", func() bool {
		_, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a"), Value: []byte("1")})
		return err == nil
	})
}

func TestMovesThatCannotBeginChangeNothing(t *testing.T) {
	r := newMovable(t, 3, "p0", "p1")
	epoch := r.Status().Epoch
	for name, c := range map[string]struct {
		q    store.MoveRequest
		says string
	}{
		"unknown from": {store.MoveRequest{From: "p9", To: "p1"}, "p9"},
		"unknown to":   {store.MoveRequest{From: "p0", To: "p9"}, "p9"},
		"no master":    {store.MoveRequest{From: "p2", To: "p1"}, "not a master"},
		"itself":       {store.MoveRequest{From: "p0", To: "p0"}, "already"},
		"other slots":  {store.MoveRequest{From: "p0", To: "p2", Slots: []store.Slot{0, 1, 2, 3, 4, 5, 6, 7}}, "of the 8 slots"},
	} {
		err := r.Move(t.Context(), c.q, func(store.MoveStage) {})
		if !errors.Is(err, store.ErrMoveRefused) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.Parts[2].Fail(func(string) error { return partition.ErrUnavailable })
	if err := r.Move(t.Context(), store.MoveRequest{From: "p0", To: "p1"}, func(store.MoveStage) {}); err == nil {
		t.Error("the first move needs every configured partition, and went on without one")
	}
	r.Parts[2].Fail(nil)
	if now := r.Status().Epoch; now != epoch {
		t.Errorf("the epoch is %d, and was %d", now, epoch)
	}
}

func TestMoveNeedsFinishedTables(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.Parts[0].PlantSchema(partition.Schema{Version: 5, OldestReader: 4, OldestWriter: 4})
	err := r.Move(t.Context(), store.MoveRequest{From: "p0", To: "p1"}, func(store.MoveStage) {})
	if !errors.Is(err, store.ErrMoveRefused) || !strings.Contains(err.Error(), "runnel migrate --finish") {
		t.Errorf("the move ended with %v", err)
	}
}

// TestHaltStopsUpdatesOfEveryProcess: after Halt no Update that can be halted is stored by any process, also by a process
// that does not know the map of the halt yet. Other writes go on.
func TestHaltStopsUpdatesOfEveryProcess(t *testing.T) {
	r := newMovable(t, 3, "p0", "p1")
	other := startProcess(t, r, time.Hour, "p0", "p1")
	key := store.User.Key("money")
	pay := func(s *store.Store) error {
		return s.Update(t.Context(), []store.Key{key}, store.UpdateOptions{Halts: true}, func(tx *store.Tx) error {
			tx.Put(store.Entry{Key: key, Value: []byte("1")})
			return nil
		})
	}
	if err := pay(other.Store); err != nil {
		t.Fatal(err)
	}
	if err := r.Halt(t.Context(), "the books are off"); err != nil {
		t.Fatal(err)
	}
	for i, s := range []*store.Store{r.Store, other.Store} {
		halted, ok := errors.AsType[*store.HaltedError](pay(s))
		if !ok || halted.Reason != "the books are off" || s.Halted() != halted.Reason {
			t.Errorf("process %d: %v, halted %q", i, halted, s.Halted())
		}
	}
	writes := []store.Write{{Keys: []store.Key{key}, Options: store.UpdateOptions{Halts: true}, Update: func(*store.Tx) error { return nil }}, {Entry: store.Entry{Key: key}}}
	if other.UpdateEach(t.Context(), writes); writes[1].Err != nil {
		t.Errorf("a write that cannot be halted: %v", writes[1].Err)
	}
	if _, ok := errors.AsType[*store.HaltedError](writes[0].Err); !ok {
		t.Errorf("UpdateEach: %v", writes[0].Err)
	}
	if err := r.Halt(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	for i, s := range []*store.Store{other.Store, r.Store} {
		if err := pay(s); err != nil {
			t.Errorf("process %d after the halt: %v", i, err)
		}
	}
}

// TestViewIsOfOneMoment: a view of a level partition lists all origins as of its opening, and a partition that is not level has none.
func TestViewIsOfOneMoment(t *testing.T) {
	r := storetest.New(t, 3, storetest.Options(), "p0", "p1")
	for i := range 20 {
		r.MustPut(t, fmt.Sprintf("%02d", i), "before")
	}
	notLevel, ok := errors.AsType[*store.NotLevelError](viewError(t, r, "p2"))
	if !ok || notLevel.Partition != "p2" {
		t.Errorf("a view of a partition that was never filled: %v", notLevel)
	}
	r.Level(t)
	v, err := r.View(t.Context(), "p2")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	r.MustPut(t, "03", "after")
	r.MustPut(t, "99", "after")
	r.Level(t)
	names, after := "", ""
	for more := true; more; {
		var entries []store.Entry
		if entries, more, err = v.List(t.Context(), store.User, after, 7); err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			after = store.Name(e.Key)
			names += after + " "
			if string(e.Value) != "before" {
				t.Errorf("%s is %s", e.Key, e.Value)
			}
		}
	}
	if want := "00 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 "; names != want {
		t.Errorf("listed %s", names)
	}
	if err := viewError(t, r, "nobody"); !errors.Is(err, store.ErrUnknownPartition) {
		t.Errorf("a view of an unknown partition: %v", err)
	}
}

func viewError(t *testing.T, r *storetest.Rig, name string) error {
	t.Helper()
	v, err := r.View(t.Context(), name)
	if err == nil {
		_ = v.Close()
	}
	return err
}
