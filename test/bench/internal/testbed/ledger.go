package testbed

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/ledger"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysql"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/bench/internal/report"
)

const (
	hotAccounts   = 10
	ledgerClients = 64 // that open the accounts
	riches        = 1 << 40
)

// StartLedgers starts the systems that transfer money, each with so many accounts: the ledger on a single master and on two,
// and plain transactions. All are in this process, on the MariaDB server of the testbed.
func (s *Testbed) StartLedgers(ctx context.Context, accounts int) ([]*System, error) {
	if s.Database == nil {
		return nil, errors.New("there is no MariaDB server")
	}
	var systems []*System
	for _, c := range []struct {
		name  string
		start func(context.Context, string, int) (*System, error)
	}{
		{report.OurLedger, s.startLedger("partition-0")},
		{report.TwoLedgers, s.startLedger("partition-0", "partition-1")},
		{report.PlainLedger, s.startPlainLedger},
	} {
		system, err := c.start(ctx, c.name, accounts)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		system.Name, system.Processes = c.name, []*Process{s.Database.process}
		systems = append(systems, system)
	}
	return systems, nil
}

// startLedger returns a function that starts a ledger with masters, a database each.
func (s *Testbed) startLedger(masters ...string) func(context.Context, string, int) (*System, error) {
	return func(ctx context.Context, name string, accounts int) (*System, error) {
		db, err := s.openStore(ctx, s.Partitions(name, report.OnMariaDB, len(masters)), masters)
		if err != nil {
			return nil, err
		}
		return ledgerOn(ctx, db, masters, accounts)
	}
}

// ledgerOn opens the accounts of a ledger, which have the masters in turn.
func ledgerOn(ctx context.Context, db *store.Store, masters []string, accounts int) (*System, error) {
	l := ledger.New(db, ledger.Options{Logger: slog.New(slog.DiscardHandler)})
	ids := accountsOf(db, masters, accounts)
	if err := onClients(len(ids), func(i int) error { return openAccount(ctx, l, ids[i]) }); err != nil {
		return nil, err
	}
	var next atomic.Int64
	move := func(accounts int) DirectOperation {
		return func(ctx context.Context, key int, stamp uint64) error {
			from, to := pair(accounts, len(masters), key, stamp)
			return transfer(ctx, l, ids[from], ids[from], ids[to], next.Add(1))
		}
	}
	deposit := func(ctx context.Context, key int, _ uint64) error {
		id := ids[key%accounts]
		return transfer(ctx, l, id, ledger.World, id, next.Add(1))
	}
	return &System{Direct: map[string]DirectOperation{
		report.Transfers.Case: move(accounts), report.HotTransfers.Case: move(hotAccounts), report.Deposits.Case: deposit,
	}}, nil
}

// pair chooses payer and payee among the first accounts. Accounts have the masters in turn, and those of a pair differ.
func pair(accounts, masters, key int, stamp uint64) (from, to int) {
	from = key % accounts
	if masters == 1 {
		return from, (from + 1 + int(stamp%uint64(accounts-1))) % accounts
	}
	return from, (from + 1 + masters*int(stamp%uint64(accounts/masters))) % accounts
}

// openStore opens a store and runs it until the testbed is closed.
func (s *Testbed) openStore(ctx context.Context, urls, masters []string) (*store.Store, error) {
	var parts []partition.Partition
	for i, url := range urls {
		u, err := config.ParseURL(url)
		if err != nil {
			return nil, err
		}
		p, err := mysql.Open(mysql.Config{Addr: net.JoinHostPort(u.Host, strconv.Itoa(u.Port)), User: u.User, Password: u.Password.Reveal(), Database: u.Database},
			sqlengine.Options{Name: fmt.Sprintf("partition-%d", i)})
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	db, err := store.Open(store.Options{Partitions: parts, Masters: masters, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- db.Run(run) }()
	s.stores = append(s.stores, func() error { stop(); return errors.Join(<-ended, db.Close()) })
	for {
		writable := 0
		for _, p := range db.Status().Partitions {
			if p.Writable {
				writable++
			}
		}
		if writable == len(parts) {
			return db, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// accountsOf returns n ids of accounts that have the masters in turn.
func accountsOf(db *store.Store, masters []string, n int) (ids []string) {
	for i := 0; len(ids) < n; i++ {
		id := fmt.Sprint("account-", i)
		if db.Master(store.Space("account").Key("{"+id+"}")) == masters[len(ids)%len(masters)] {
			ids = append(ids, id)
		}
	}
	return ids
}

// onClients calls f for each of n numbers, by many clients at once.
func onClients(n int, f func(i int) error) error {
	errs := make([]error, ledgerClients)
	var group sync.WaitGroup
	for c := range ledgerClients {
		group.Go(func() {
			for i := c; i < n && errs[c] == nil; i += ledgerClients {
				errs[c] = f(i)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func openAccount(ctx context.Context, l *ledger.Ledger, id string) error {
	if _, _, err := l.Create(ctx, ledger.Account{ID: id, Currency: "EUR"}, ""); err != nil {
		return err
	}
	_, _, err := l.Transfer(ctx, ledger.Order{Ref: ledger.Ref{Account: id, ID: "opening"}, Postings: []ledger.Posting{{From: ledger.World, To: id, Amount: riches}}})
	return err
}

// transfer moves 1. The transfer counts only if it is posted.
func transfer(ctx context.Context, l *ledger.Ledger, account, from, to string, n int64) error {
	done, _, err := l.Transfer(ctx, ledger.Order{Ref: ledger.Ref{Account: account, ID: strconv.FormatInt(n, 10)}, Postings: []ledger.Posting{{From: from, To: to, Amount: 1}}})
	if err == nil && done.Status != ledger.Posted {
		err = fmt.Errorf("a transfer is %s", done.Status)
	}
	return err
}

// plainLedger is the plain way to transfer money: a transaction for each transfer, which locks both accounts in the order of their
// ids, and writes both balances, the record and two lines of history, as the ledger does.
type plainLedger struct{ db *sql.DB }

// plainLedgerTables are created in an empty database.
var plainLedgerTables = []string{
	"CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)",
	"CREATE TABLE transfers (payer BIGINT NOT NULL, id BIGINT NOT NULL, payee BIGINT NOT NULL, amount BIGINT NOT NULL, PRIMARY KEY (payer, id))",
	"CREATE TABLE history (id BIGINT AUTO_INCREMENT PRIMARY KEY, account BIGINT NOT NULL, transfer BIGINT NOT NULL, amount BIGINT NOT NULL, balance BIGINT NOT NULL, KEY (account, id))",
}

func (s *Testbed) startPlainLedger(ctx context.Context, _ string, accounts int) (*System, error) {
	db, err := s.OpenDatabase(ctx, s.Database, "bench_plain_ledger")
	if err != nil {
		return nil, err
	}
	return plainLedgerOn(ctx, db, accounts)
}

// plainLedgerOn makes the tables and the accounts.
func plainLedgerOn(ctx context.Context, db *sql.DB, accounts int) (*System, error) {
	for _, table := range plainLedgerTables {
		if _, err := db.ExecContext(ctx, table); err != nil {
			return nil, err
		}
	}
	p := &plainLedger{db}
	err := onClients(accounts, func(i int) error {
		_, err := db.ExecContext(ctx, "INSERT INTO accounts VALUES (?, ?)", i, int64(riches))
		return err
	})
	if err != nil {
		return nil, err
	}
	var next atomic.Int64
	move := func(accounts int) DirectOperation {
		return func(ctx context.Context, key int, stamp uint64) error {
			from, to := pair(accounts, 1, key, stamp)
			return p.transfer(ctx, next.Add(1), from, to)
		}
	}
	return &System{Direct: map[string]DirectOperation{report.Transfers.Case: move(accounts), report.HotTransfers.Case: move(hotAccounts)}}, nil
}

// transfer moves 1.
func (p *plainLedger) transfer(ctx context.Context, n int64, from, to int) error {
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	balances := make(map[int]int64, 2)
	for _, id := range []int{min(from, to), max(from, to)} {
		var balance int64
		if err := tx.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = ? FOR UPDATE", id).Scan(&balance); err != nil {
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
		{"INSERT INTO transfers VALUES (?, ?, ?, 1)", []any{from, n, to}},
		{"INSERT INTO history (account, transfer, amount, balance) VALUES (?, ?, -1, ?), (?, ?, 1, ?)", []any{from, n, balances[from] - 1, to, n, balances[to] + 1}},
	} {
		if _, err := tx.ExecContext(ctx, s.text, s.args...); err != nil {
			return err
		}
	}
	return tx.Commit()
}
