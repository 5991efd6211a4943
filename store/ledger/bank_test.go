package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/ledger"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

const (
	bankAccounts = 10
	bankBalance  = 1000
)

// TestBankKeepsItsTotal: random transfers between 10 accounts, on a single master and on three, with databases that fail and
// lose answers, and with masters that move, leave the total as it was and no balance below zero. Every partition that is level
// has the same total meanwhile.
func TestBankKeepsItsTotal(t *testing.T) {
	t.Run("one master", func(t *testing.T) { runBank(t, newBank(t, 3, "p0"), nil) })
	t.Run("three masters", func(t *testing.T) { runBank(t, newBank(t, 3, "p0", "p1", "p2"), nil) })
	t.Run("masters that move", func(t *testing.T) {
		b := newBank(t, 3, "p0", "p1")
		runBank(t, b, func(ctx context.Context, rng *rand.Rand) {
			masters := b.rig.ClusterMap().Masters
			from, to := masters[rng.IntN(len(masters))].Name, fmt.Sprintf("p%d", rng.IntN(3))
			q := store.MoveRequest{From: from, To: to}
			if from == to {
				return
			}
			_ = b.rig.Move(ctx, q, func(store.MoveStage) {}) // may be refused or aborted
		})
	})
}

// TestSeveralProcessesKeepTheTotal: three processes on the same partitions, each with a worker, transfer between the same accounts.
func TestSeveralProcessesKeepTheTotal(t *testing.T) {
	b := newBank(t, 3, "p0", "p1")
	banks := []*bank{b}
	for range 2 {
		r := &storetest.Rig{}
		for _, p := range b.rig.Parts {
			r.Parts = append(r.Parts, p.Reopen())
		}
		r.Start(t, storetest.Options(), "p0", "p1")
		other := &bank{Ledger: ledger.New(r.Store, ledger.Options{Every: 5 * time.Millisecond, Grace: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}), rig: r}
		other.work(t)
		banks = append(banks, other)
	}
	ids := b.apart(t, bankAccounts, "p0", "p1")
	b.open(t, bankBalance, ids...)
	ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	var group sync.WaitGroup
	posted := make([]int64, 2*len(banks))
	for w := range posted {
		group.Go(func() { posted[w] = transferAtRandom(ctx, t, banks[w/2], ids, rand.New(rand.NewPCG(1, uint64(w)))) })
	}
	group.Wait()
	if slices.Contains(posted, 0) {
		t.Errorf("a process has posted nothing: %v", posted)
	}
	if r := b.wantSound(t); r.Sums["EUR"].Balances.Int64() != bankAccounts*bankBalance {
		t.Errorf("the total is %s", &r.Sums["EUR"].Balances)
	}
}

// runBank makes transfers for a second; disturb is called again and again meanwhile.
func runBank(t *testing.T, b *bank, disturb func(context.Context, *rand.Rand)) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var ids []string
	for i := range bankAccounts {
		ids = append(ids, fmt.Sprintf("account %d", i))
	}
	b.open(t, bankBalance, ids...)
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	var group sync.WaitGroup
	if disturb == nil {
		failSometimes(t, b.rig.Parts, seed)
	} else {
		group.Go(func() {
			for rng := rand.New(rand.NewPCG(seed, 99)); ctx.Err() == nil; {
				disturb(ctx, rng)
				time.Sleep(time.Millisecond)
			}
		})
	}
	var posted, verified atomic.Int64
	for w := range 16 {
		group.Go(func() { posted.Add(transferAtRandom(ctx, t, b, ids, rand.New(rand.NewPCG(seed, uint64(w))))) })
	}
	group.Go(func() { verified.Add(verifyMeanwhile(ctx, t, b)) })
	group.Wait()
	for _, p := range b.rig.Parts {
		p.Fail(nil)
	}
	r := b.wantSound(t)
	if r.Sums["EUR"].Balances.Int64() != bankAccounts*bankBalance {
		t.Errorf("the total is %s", &r.Sums["EUR"].Balances)
	}
	if posted.Load() < 50 || verified.Load() == 0 {
		t.Errorf("%d transfers were posted, and %d partitions verified meanwhile", posted.Load(), verified.Load())
	}
	t.Logf("%d transfers were posted, and %d partitions verified meanwhile", posted.Load(), verified.Load())
}

// failSometimes lets two commits in 100 fail, half of them after they have taken effect.
func failSometimes(t *testing.T, parts []*memory.Partition, seed uint64) {
	t.Helper()
	for i, p := range parts {
		var mu sync.Mutex
		rng := rand.New(rand.NewPCG(seed, uint64(1000+i)))
		p.Fail(func(op string) error {
			mu.Lock()
			defer mu.Unlock()
			if (op == memory.OpCommit || op == memory.OpCommitted) && rng.IntN(100) == 0 {
				return partition.ErrUnavailable
			}
			return nil
		})
	}
}

// transferAtRandom makes transfers until ctx ends, repeats those of unknown outcome, and returns the number of posted transfers.
func transferAtRandom(ctx context.Context, t *testing.T, b *bank, ids []string, rng *rand.Rand) (posted int64) {
	for n := 0; ctx.Err() == nil; n++ {
		from, to := ids[rng.IntN(len(ids))], ids[rng.IntN(len(ids))]
		if from == to {
			continue
		}
		o := order(from, to, fmt.Sprintf("%p-%d", rng, n), 1+rng.Int64N(200))
		o.Async = rng.IntN(8) == 0
		for {
			done, _, err := b.Transfer(t.Context(), o)
			if errors.Is(err, store.ErrOutcomeUnknown) || errors.Is(err, store.ErrMasterUnavailable) || errors.Is(err, store.ErrNoPartition) {
				time.Sleep(time.Millisecond)
				continue
			}
			if _, failed := errors.AsType[*ledger.FailedError](err); err != nil && !failed {
				t.Errorf("%+v: %v", o, err)
			}
			if done.Status == ledger.Posted {
				posted++
			}
			break
		}
	}
	return posted
}

// verifyMeanwhile verifies partitions until ctx ends, and returns how many were level.
func verifyMeanwhile(ctx context.Context, t *testing.T, b *bank) (verified int64) {
	for i := 0; ctx.Err() == nil; i++ {
		name := b.rig.Parts[i%len(b.rig.Parts)].Name()
		r, err := b.Verify(t.Context(), name)
		if err != nil {
			continue
		}
		verified++
		if len(r.Faults) > 0 {
			t.Errorf("%s meanwhile: %s", name, strings.Join(r.Faults, "; "))
			return verified
		}
		for id := range bankAccounts {
			a, _, err := b.Account(t.Context(), fmt.Sprintf("account %d", id), store.ReadOptions{Partition: name})
			if err == nil && (a.Balance < 0 || a.Available() < 0) {
				t.Errorf("%+v", a)
			}
		}
	}
	return verified
}

// TestVerifyFindsPlantedDamage changes entries behind the ledger's back: each change is found, and Halt stops the ledger
// until it is lifted.
func TestVerifyFindsPlantedDamage(t *testing.T) {
	for what, plant := range map[string]func(*partition.Entry) bool{
		"more money":            replaceIn("account/{ann}", `"balance":40`, `"balance":41`),
		"less world":            replaceIn("world/", `"EUR":-`, `"EUR":-1`),
		"another amount":        replaceIn("history/{ann}", `"amount":-60`, `"amount":-61`),
		"a credit of the payee": replaceIn("credit/", `"amount":60`, `"amount":61`),
		"a record":              replaceIn("transfer/{ann}", `"status":"POSTED"`, `"status":"FAILED"`),
		"held money":            replaceIn("account/{ann}", `"balance":40`, `"balance":40,"held":1`),
		"a checksum":            func(e *partition.Entry) bool { e.Checksum++; return strings.HasPrefix(string(e.Key), "account/{bob}") },
	} {
		t.Run(what, func(t *testing.T) {
			b := newBank(t, 1)
			b.open(t, 100, "ann")
			b.open(t, 0, "bob")
			o := order("ann", "bob", "1", 60)
			o.Async = true
			if _, _, err := b.Transfer(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			b.wantSound(t)
			if !plantIn(t, b, plant) {
				t.Fatal("nothing was planted")
			}
			r, err := b.Verify(t.Context(), "p0")
			if err != nil || len(r.Faults) == 0 {
				t.Fatalf("%+v, %v", r, err)
			}
			if err := b.Halt(t.Context(), r.Faults[0]); err != nil {
				t.Fatal(err)
			}
			_, _, err = b.Transfer(t.Context(), order("ann", "bob", "2", 1))
			if _, halted := errors.AsType[*store.HaltedError](err); !halted {
				t.Errorf("a transfer while the ledger is halted: %v", err)
			}
			if err := b.Halt(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			if _, _, err = b.Transfer(t.Context(), deposit("ann", "3", 1)); err != nil {
				t.Error(err)
			}
		})
	}
}

// replaceIn returns a fault that changes the values of keys with a prefix.
func replaceIn(prefix, old, new string) func(*partition.Entry) bool {
	return func(e *partition.Entry) bool {
		if !strings.HasPrefix(string(e.Key), prefix) || !strings.Contains(string(e.Value), old) {
			return false
		}
		e.Value = []byte(strings.Replace(string(e.Value), old, new, 1))
		e.Size, e.Checksum = int64(len(e.Value)), partition.Checksum(e.Value)
		return true
	}
}

// plantIn plants a fault into the first entry that it fits.
func plantIn(t *testing.T, b *bank, fault func(*partition.Entry) bool) bool {
	t.Helper()
	entries, _, err := b.rig.Parts[0].List(t.Context(), partition.Span{Limit: 1000, Values: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if fault(&e) {
			b.rig.Parts[0].Plant(e)
			return true
		}
	}
	return false
}
