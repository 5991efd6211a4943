package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/ledger"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// bank is a ledger over memory partitions, with its worker and a sync process.
type bank struct {
	*ledger.Ledger
	rig      *storetest.Rig
	stopSync func() // ends the sync process
}

// newBank starts a bank of n partitions; masters by default p0.
func newBank(t *testing.T, n int, masters ...string) *bank {
	t.Helper()
	b := newIdleBank(t, n, ledger.Options{Grace: 20 * time.Millisecond}, masters...)
	b.work(t)
	return b
}

// newIdleBank starts a bank without a worker.
func newIdleBank(t *testing.T, n int, o ledger.Options, masters ...string) *bank {
	t.Helper()
	r := storetest.New(t, n, storetest.Options(), masters...)
	for _, p := range r.Parts {
		if err := p.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	o.Every = 5 * time.Millisecond
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	b := &bank{Ledger: ledger.New(r.Store, o), rig: r, stopSync: func() {}}
	if n > 1 {
		b.stopSync = storetest.RunSync(t, r)
	}
	storetest.Eventually(t, "every partition filled", func() bool {
		for _, p := range r.Status().Partitions {
			if !p.Readable {
				return false
			}
		}
		return true
	})
	return b
}

// work runs the worker of the ledger until the test ends.
func (b *bank) work(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = b.Run(ctx) })
	t.Cleanup(func() { stop(); group.Wait() })
}

// open opens accounts with a balance.
func (b *bank) open(t *testing.T, balance int64, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if _, _, err := b.Create(t.Context(), ledger.Account{ID: id, Name: "Owner of " + id, Email: id + "@example.com", Currency: "EUR"}, "admin"); err != nil {
			t.Fatal(err)
		}
		if balance > 0 {
			if _, _, err := b.Transfer(t.Context(), deposit(id, "opening", balance)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func deposit(account, id string, amount int64) ledger.Order {
	return ledger.Order{Ref: ledger.Ref{Account: account, ID: id}, Postings: []ledger.Posting{{From: ledger.World, To: account, Amount: amount}}}
}

func order(from, to, id string, amount int64) ledger.Order {
	return ledger.Order{Ref: ledger.Ref{Account: from, ID: id}, Postings: []ledger.Posting{{From: from, To: to, Amount: amount}}}
}

func (b *bank) account(t *testing.T, id string) ledger.Account {
	t.Helper()
	var a ledger.Account
	storetest.Eventually(t, "read of "+id, func() (ok bool) {
		var err error
		a, _, err = b.Account(t.Context(), id, store.ReadOptions{Consistency: store.FromMaster})
		if err != nil && !errors.Is(err, store.ErrMasterUnavailable) {
			t.Fatal(err)
		}
		return err == nil
	})
	return a
}

// wantBalances compares the balances of accounts.
func (b *bank) wantBalances(t *testing.T, want map[string]int64) {
	t.Helper()
	for id, n := range want {
		if a := b.account(t, id); a.Balance != n {
			t.Errorf("%s has %d, want %d", id, a.Balance, n)
		}
	}
}

// wantSound waits until nothing is under way and every partition is level, and verifies each.
func (b *bank) wantSound(t *testing.T) *ledger.Report {
	t.Helper()
	return b.wantSoundOn(t, b.rig.Parts)
}

// wantSoundOn is wantSound for some of the partitions.
func (b *bank) wantSoundOn(t *testing.T, parts []*memory.Partition) *ledger.Report {
	t.Helper()
	storetest.Eventually(t, "end of every transfer", func() bool {
		p, err := b.Unfinished(t.Context(), "", 1, store.ReadOptions{Consistency: store.FromMaster})
		return err == nil && len(p.Page.Entries) == 0
	})
	var reports []*ledger.Report
	storetest.Eventually(t, "the same books on every partition", func() bool {
		reports = nil
		for _, p := range parts {
			r, err := b.Verify(t.Context(), p.Name())
			if _, behind := errors.AsType[*store.NotLevelError](err); behind {
				return false
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Faults) > 0 {
				t.Fatalf("%s:\n%s", p.Name(), strings.Join(r.Faults, "\n"))
			}
			reports = append(reports, r)
		}
		return !slices.ContainsFunc(reports, func(r *ledger.Report) bool {
			return r.Lines != reports[0].Lines || r.Transfers != reports[0].Transfers || r.Accounts != reports[0].Accounts
		})
	})
	return reports[0]
}

// apart returns n ids of accounts that lie at the named masters in turn.
func (b *bank) apart(t *testing.T, n int, masters ...string) (ids []string) {
	t.Helper()
	for i := 0; len(ids) < n; i++ {
		if i > 10_000 {
			t.Fatal("no ids")
		}
		id := fmt.Sprintf("a%d", i)
		if b.rig.Master(store.Space("account").Key("{"+id+"}")) == masters[len(ids)%len(masters)] {
			ids = append(ids, id)
		}
	}
	return ids
}
