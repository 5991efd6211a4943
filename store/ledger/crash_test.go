package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/ledger"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/store/partition/sqlite"
	runnelsync "github.com/runnelkv/runnel/sync"
)

// failpoint is a point of failure of an operation on the accounts of crashIDs.
type failpoint struct {
	name  string
	point string
	act   func(ctx context.Context, b *ledger.Ledger) error
	// want is the final status of the transfer "t" of the first account, and the balances of the three accounts.
	want     ledger.Status
	balances [3]int64
}

// crashIDs are accounts of which the first two are at p0 and the third at p1, each with 100.
var crashIDs = func() []string {
	ids := make([]string, 0, 3)
	for i := 0; len(ids) < 3; i++ {
		id := fmt.Sprintf("c%d", i)
		if (masterOf(id) == "p1") == (len(ids) == 2) {
			ids = append(ids, id)
		}
	}
	return ids
}()

// masterOf is the master of an account in a cluster of the masters p0 and p1.
func masterOf(id string) string {
	s, err := store.Open(store.Options{Partitions: []partition.Partition{memory.New("p0"), memory.New("p1")}, Masters: []string{"p0", "p1"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	if err := s.Connect(context.Background()); err != nil {
		panic(err)
	}
	return s.Master(store.Space("account").Key("{" + id + "}"))
}

func ref(id string) ledger.Ref { return ledger.Ref{Account: crashIDs[0], ID: id} }

// transferOf returns an operation that makes the transfer "t".
func transferOf(to int, amount int64, change func(*ledger.Order)) func(context.Context, *ledger.Ledger) error {
	return func(ctx context.Context, b *ledger.Ledger) error {
		o := order(crashIDs[0], crashIDs[to], "t", amount)
		if change != nil {
			change(&o)
		}
		_, _, err := b.Transfer(ctx, o)
		if _, failed := errors.AsType[*ledger.FailedError](err); failed {
			return nil
		}
		return err
	}
}

// frozen makes an operation with the payee frozen.
func frozen(act func(context.Context, *ledger.Ledger) error) func(context.Context, *ledger.Ledger) error {
	return func(ctx context.Context, b *ledger.Ledger) error {
		state := ledger.Frozen
		if _, err := b.Change(ctx, crashIDs[2], ledger.Patch{State: &state}, nil, ""); err != nil {
			return err
		}
		return act(ctx, b)
	}
}

// reversed makes the transfer "t" and takes it back.
func reversed(ctx context.Context, b *ledger.Ledger) error {
	if err := transferOf(2, 30, nil)(ctx, b); err != nil {
		return err
	}
	_, err := b.Reverse(ctx, ref("t"), "")
	if _, resolved := errors.AsType[*ledger.StateError](err); resolved {
		return nil
	}
	return err
}

// batched makes the transfer "t" in the midst of a batch.
func batched(ctx context.Context, b *ledger.Ledger) error {
	var orders []ledger.Order
	for i, to := range []int{1, 2, 1} {
		o := order(crashIDs[0], crashIDs[to], fmt.Sprint("t", i), 10)
		orders = append(orders, o)
	}
	orders[1].ID = "t"
	var errs []error
	for _, out := range b.Batch(ctx, orders) {
		errs = append(errs, out.Err)
	}
	return errors.Join(errs...)
}

func async(o *ledger.Order) { o.Async = true }
func held(o *ledger.Order)  { o.Hold = time.Millisecond }

// isLong asks for every combination, as make test-long does.
var isLong = os.Getenv("RUNNEL_TEST_LONG") == "1"

// failpoints is the table of all points.
var failpoints = []failpoint{
	{"parsed", "parsed", transferOf(2, 30, nil), ledger.Posted, [3]int64{70, 100, 130}},
	{"inside a transfer on one master", "debit", transferOf(1, 30, nil), ledger.Posted, [3]int64{70, 130, 100}},
	{"inside the debit", "debit", transferOf(2, 30, nil), ledger.Posted, [3]int64{70, 100, 130}},
	{"after the debit", "debited", transferOf(2, 30, nil), ledger.Posted, [3]int64{70, 100, 130}},
	{"after the record of a refusal", "refused", transferOf(2, 101, nil), ledger.Failed, [3]int64{100, 100, 100}},
	{"claimed by a worker", "claimed", transferOf(2, 30, async), ledger.Posted, [3]int64{70, 100, 130}},
	{"inside the credit", "credit", transferOf(2, 30, nil), ledger.Posted, [3]int64{70, 100, 130}},
	{"after the credit", "credited", transferOf(2, 30, nil), ledger.Posted, [3]int64{70, 100, 130}},
	{"after the payee has refused", "payee refused", frozen(transferOf(2, 30, nil)), ledger.Failed, [3]int64{100, 100, 100}},
	{"inside the refund", "refund", frozen(transferOf(2, 30, nil)), ledger.Failed, [3]int64{100, 100, 100}},
	{"after the refund", "after refund", frozen(transferOf(2, 30, nil)), ledger.Failed, [3]int64{100, 100, 100}},
	{"inside the completion", "posted", transferOf(2, 30, nil), ledger.Posted, [3]int64{70, 100, 130}},
	{"after the completion", "after posted", transferOf(2, 30, nil), ledger.Posted, [3]int64{70, 100, 130}},
	{"inside the expiry of a hold", "void", transferOf(2, 30, held), ledger.Voided, [3]int64{100, 100, 100}},
	{"after the expiry of a hold", "after void", transferOf(2, 30, held), ledger.Voided, [3]int64{100, 100, 100}},
	{"before a batch", "in a batch", batched, ledger.Posted, [3]int64{70, 120, 110}},
	{"inside a batch", "credit", batched, ledger.Posted, [3]int64{70, 120, 110}},
	{"after the beginning of a reversal", "after begin reversal", reversed, ledger.Posted, [3]int64{100, 100, 100}},
	{"after the transfer of a reversal", "after reversal", reversed, ledger.Posted, [3]int64{100, 100, 100}},
}

// prepareCrash opens the accounts.
func prepareCrash(ctx context.Context, b *ledger.Ledger) error {
	for _, id := range crashIDs {
		if _, _, err := b.Create(ctx, ledger.Account{ID: id, Currency: "EUR"}, ""); err != nil {
			return err
		}
		if _, _, err := b.Transfer(ctx, deposit(id, "opening", 100)); err != nil {
			return err
		}
	}
	return nil
}

// repeat makes an operation until it has an outcome.
func (f *failpoint) repeat(t *testing.T, b *ledger.Ledger) {
	t.Helper()
	storetest.Eventually(t, "outcome of "+f.name, func() bool {
		err := f.act(t.Context(), b)
		if err == nil {
			return true
		}
		if !errors.Is(err, store.ErrOutcomeUnknown) && !errors.Is(err, store.ErrMasterUnavailable) && !errors.Is(err, store.ErrNoPartition) {
			t.Fatalf("%s: %v", f.name, err)
		}
		return false
	})
}

// check waits for the final record and compares it, the balances and the books.
func (f *failpoint) check(t *testing.T, b *bank) {
	t.Helper()
	storetest.Eventually(t, "end of the transfer", func() bool {
		done, _, err := b.Lookup(t.Context(), ref("t"), store.ReadOptions{Consistency: store.FromMaster})
		return err == nil && done.Status == f.want && done.Reversing == nil
	})
	for range 2 { // a repetition changes nothing
		f.repeat(t, b.Ledger)
		for i, id := range crashIDs {
			if a := b.account(t, id); a.Balance != f.balances[i] || a.Held != 0 || a.Pending != 0 {
				t.Errorf("%s: %+v, want %d", f.name, a, f.balances[i])
			}
		}
	}
}

// TestMovesAtEachFailpoint moves the masters of payer or payee while an operation is at each point.
func TestMovesAtEachFailpoint(t *testing.T) {
	for i := range failpoints {
		f := &failpoints[i]
		for j, q := range []store.MoveRequest{{From: "p0", To: "p1"}, {From: "p1", To: "p0"}, {From: "p0", To: "p2"}} {
			if isLong || j == i%3 {
				t.Run(fmt.Sprintf("%s, %s to %s", f.name, q.From, q.To), func(t *testing.T) { f.moveMeanwhile(t, q) })
			}
		}
	}
}

// moveMeanwhile makes the operation of a failpoint, and a move while the operation is at the point.
func (f *failpoint) moveMeanwhile(t *testing.T, q store.MoveRequest) {
	b := newBank(t, 3, "p0", "p1")
	if err := prepareCrash(t.Context(), b.Ledger); err != nil {
		t.Fatal(err)
	}
	var moves sync.WaitGroup
	var moved, failed atomic.Int32
	disturbed := ledger.New(b.rig.Store, ledger.Options{Every: time.Millisecond, Grace: time.Millisecond, Logger: slog.New(slog.DiscardHandler), Failpoint: func(point string) {
		if point == f.point && moved.Add(1) == 1 {
			moves.Go(func() {
				if err := b.rig.Move(t.Context(), q, func(store.MoveStage) {}); err != nil {
					failed.Add(1)
				}
			})
		}
	}})
	ctx, stop := context.WithCancel(t.Context())
	moves.Go(func() { _ = disturbed.Run(ctx) })
	f.repeat(t, disturbed)
	storetest.Eventually(t, "the point "+f.point, func() bool { return moved.Load() > 0 || f.point == "claimed" || strings.Contains(f.point, "void") })
	stop()
	moves.Wait()
	f.check(t, b)
	b.wantSound(t)
	if failed.Load() > 0 {
		t.Log("the move was refused or aborted")
	}
}

// TestLostAnswersOfCommits loses the answer of each commit of a transfer in turn: the outcome is unknown, and a
// repetition finds the only effect.
func TestLostAnswersOfCommits(t *testing.T) {
	for i := range failpoints {
		f := &failpoints[i]
		for nth := range 4 {
			if isLong || nth == i%4 {
				t.Run(fmt.Sprintf("%s, commit %d", f.name, nth+1), func(t *testing.T) { f.loseAnswer(t, nth+1) })
			}
		}
	}
}

// loseAnswer makes the operation of a failpoint, and loses the answer of a commit.
func (f *failpoint) loseAnswer(t *testing.T, nth int) {
	b := newBank(t, 2, "p0", "p1")
	if err := prepareCrash(t.Context(), b.Ledger); err != nil {
		t.Fatal(err)
	}
	var commits atomic.Int32
	for _, p := range b.rig.Parts {
		p.Fail(func(op string) error {
			if op == memory.OpCommitted && commits.Add(1) == int32(nth) {
				return partition.ErrUnavailable
			}
			return nil
		})
	}
	f.repeat(t, b.Ledger)
	f.check(t, b)
	for _, p := range b.rig.Parts {
		p.Fail(nil)
	}
	b.wantSound(t)
}

// Environment of the child of TestKilledAtEachFailpoint: its folder and the name of its failpoint.
const (
	childFolder = "RUNNEL_LEDGER_FOLDER"
	childPoint  = "RUNNEL_LEDGER_FAILPOINT"
)

func TestMain(m *testing.M) {
	if folder := os.Getenv(childFolder); folder != "" {
		runChild(folder, os.Getenv(childPoint))
	}
	os.Exit(m.Run())
}

// openFiles opens a store on the two SQLite partitions of a folder.
func openFiles(folder string) (*store.Store, error) {
	var parts []partition.Partition
	for _, name := range []string{"p0", "p1"} {
		p, err := sqlite.Open(filepath.Join(folder, name), sqlengine.Options{Name: name})
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return store.Open(store.Options{Partitions: parts, Masters: []string{"p0", "p1"}, Poll: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
}

// runChild makes the operation of a failpoint and is killed at the point.
func runChild(folder, name string) {
	s, err := openFiles(folder)
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	go func() { _ = s.Run(ctx) }()
	for i := range failpoints {
		f := &failpoints[i]
		if f.name != name {
			continue
		}
		var armed atomic.Bool
		b := ledger.New(s, ledger.Options{Every: time.Millisecond, Grace: time.Millisecond, Failpoint: func(point string) {
			if point == f.point && armed.Load() {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // until the signal arrives
			}
		}})
		for err := prepareCrash(ctx, b); err != nil; err = prepareCrash(ctx, b) {
			time.Sleep(time.Millisecond) // the masters take no writes yet
		}
		armed.Store(true)
		go func() { _ = b.Run(ctx) }()
		err := f.act(ctx, b)
		time.Sleep(10 * time.Second) // for the points of workers
		panic(fmt.Sprint("the point was not reached: ", err))
	}
}

// TestKilledAtEachFailpoint kills a process by SIGKILL at each point, on SQLite. Another process completes the operation, and a
// client that repeats its request gets the final answer of the only effect.
func TestKilledAtEachFailpoint(t *testing.T) {
	for i := range failpoints {
		f := &failpoints[i]
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			child := exec.CommandContext(t.Context(), os.Args[0])
			child.Env = append(os.Environ(), childFolder+"="+folder, childPoint+"="+f.name)
			out, err := child.CombinedOutput()
			if status, ok := child.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
				t.Fatalf("the child ended otherwise: %v %s", err, out)
			}
			b := openBank(t, folder)
			f.repeat(t, b.Ledger)
			f.check(t, b)
			for _, name := range []string{"p0", "p1"} {
				storetest.Eventually(t, "sound books", func() bool {
					r, err := b.Verify(t.Context(), name)
					if err == nil && len(r.Faults) > 0 {
						t.Fatalf("%s: %v", name, r.Faults)
					}
					return err == nil && r.Accounts == 3
				})
			}
		})
	}
}

// openBank opens the ledger of a folder in this process, with worker and sync process.
func openBank(t *testing.T, folder string) *bank {
	t.Helper()
	s, err := openFiles(folder)
	if err != nil {
		t.Fatal(err)
	}
	b := &bank{Ledger: ledger.New(s, ledger.Options{Every: 5 * time.Millisecond, Grace: 5 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}), rig: &storetest.Rig{Store: s}}
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = s.Run(ctx) })
	group.Go(func() { _ = b.Run(ctx) })
	y := runnelsync.New(s, runnelsync.Options{Schedule: cron.Every(time.Second), Logger: slog.New(slog.DiscardHandler)})
	group.Go(func() { _ = y.Run(ctx) })
	t.Cleanup(func() {
		stop()
		group.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}
