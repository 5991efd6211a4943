package ledger_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/ledger"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

const benchClients = 64

// benchShapes are the accounts of the benchmarks: many, and few that every transfer meets.
var benchShapes = []struct {
	name     string
	accounts int
}{{"spread", 10_000}, {"hot", 10}}

// BenchmarkTransfers makes transfers by 64 clients on a durable MariaDB: ns/op is the inverse of the throughput.
func BenchmarkTransfers(b *testing.B) {
	for _, shape := range benchShapes {
		b.Run(shape.name, func(b *testing.B) {
			l := newBenchLedger(b)
			prepareAccounts(b, l, shape.accounts)
			run := rand.Uint64()
			onClients(b, shape.accounts, func(n int64, from, to int) error {
				_, _, err := l.Transfer(context.Background(), order(fmt.Sprint("b", from), fmt.Sprint("b", to), fmt.Sprint(run, "-", n), 1))
				return err
			})
		})
	}
	b.Run("deposits", func(b *testing.B) {
		l := newBenchLedger(b)
		prepareAccounts(b, l, benchShapes[0].accounts)
		run := rand.Uint64()
		onClients(b, benchShapes[0].accounts, func(n int64, _, to int) error {
			_, _, err := l.Transfer(context.Background(), deposit(fmt.Sprint("b", to), fmt.Sprint(run, "-", n), 1))
			return err
		})
	})
}

// newBenchLedger returns a ledger on a shared MariaDB.
func newBenchLedger(b *testing.B) *ledger.Ledger {
	b.Helper()
	p := mysqltest.Prepared(b, mysqltest.Config(b, servers.MariaDB(b).Database(b)), sqlengine.Options{Name: "p0"})
	s, err := store.Open(store.Options{Partitions: []partition.Partition{p}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	b.Cleanup(func() { stop(); <-ended })
	for !s.Status().Writable() {
		time.Sleep(time.Millisecond)
	}
	return ledger.New(s, ledger.Options{})
}

// prepareAccounts opens accounts with money.
func prepareAccounts(b *testing.B, l *ledger.Ledger, n int) {
	b.Helper()
	var group sync.WaitGroup
	for w := range benchClients {
		group.Go(func() {
			for i := w; i < n; i += benchClients {
				id := fmt.Sprint("b", i)
				if _, _, err := l.Create(context.Background(), ledger.Account{ID: id, Currency: "EUR"}, ""); err != nil {
					b.Error(err)
				}
				if _, _, err := l.Transfer(context.Background(), deposit(id, "opening", 1<<40)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
}

// onClients calls transfer b.N times, by 64 clients.
func onClients(b *testing.B, accounts int, transfer func(n int64, from, to int) error) {
	b.Helper()
	var next atomic.Int64
	var group sync.WaitGroup
	b.ResetTimer()
	for w := range benchClients {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				from := rng.IntN(accounts)
				to := (from + 1 + rng.IntN(accounts-1)) % accounts
				if err := transfer(n, from, to); err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "transfers/s")
}

// BenchmarkPlainSQL is the plain way to do the same: a transaction for each transfer, which locks both accounts in the
// order of their ids, and writes the record and two lines of history.
func BenchmarkPlainSQL(b *testing.B) {
	for _, shape := range benchShapes {
		b.Run(shape.name, func(b *testing.B) {
			db := servers.Open(b, servers.MariaDB(b).Database(b))
			db.SetMaxOpenConns(benchClients)
			db.SetMaxIdleConns(benchClients)
			for _, statement := range []string{
				"CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)",
				"CREATE TABLE transfers (id BIGINT PRIMARY KEY, payer BIGINT NOT NULL, payee BIGINT NOT NULL, amount BIGINT NOT NULL)",
				"CREATE TABLE history (id BIGINT AUTO_INCREMENT PRIMARY KEY, account BIGINT NOT NULL, transfer BIGINT NOT NULL, amount BIGINT NOT NULL, balance BIGINT NOT NULL, KEY (account, id))",
			} {
				if _, err := db.Exec(statement); err != nil {
					b.Fatal(err)
				}
			}
			for i := range shape.accounts {
				if _, err := db.Exec("INSERT INTO accounts VALUES (?, ?)", i, 1<<40); err != nil {
					b.Fatal(err)
				}
			}
			onClients(b, shape.accounts, func(n int64, from, to int) error { return plainTransfer(db, n, from, to) })
		})
	}
}

func plainTransfer(db *sql.DB, n int64, from, to int) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	balances := make(map[int]int64, 2)
	for _, id := range []int{min(from, to), max(from, to)} {
		var balance int64
		if err := tx.QueryRow("SELECT balance FROM accounts WHERE id = ? FOR UPDATE", id).Scan(&balance); err != nil {
			return err
		}
		balances[id] = balance
	}
	if balances[from] < 1 {
		return errors.New("insufficient funds")
	}
	for _, s := range []struct {
		text string
		args []any
	}{
		{"UPDATE accounts SET balance = ? WHERE id = ?", []any{balances[from] - 1, from}},
		{"UPDATE accounts SET balance = ? WHERE id = ?", []any{balances[to] + 1, to}},
		{"INSERT INTO transfers VALUES (?, ?, ?, 1)", []any{n, from, to}},
		{"INSERT INTO history (account, transfer, amount, balance) VALUES (?, ?, -1, ?), (?, ?, 1, ?)", []any{from, n, balances[from] - 1, to, n, balances[to] + 1}},
	} {
		if _, err := tx.Exec(s.text, s.args...); err != nil {
			return err
		}
	}
	return tx.Commit()
}
