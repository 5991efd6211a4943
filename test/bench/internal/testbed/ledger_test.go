package testbed

import (
	"testing"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/ledger"
	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/servers"
)

// TestLedgersMoveMoney makes each operation on a real server: every transfer is recorded once, and no money is made or lost.
func TestLedgersMoveMoney(t *testing.T) {
	const accounts, each = 10, 40
	server := servers.MariaDB(t)
	s := &Testbed{Dir: t.TempDir()}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	do := func(system *System) {
		t.Helper()
		for name, operation := range system.Direct {
			if err := onClients(each, func(i int) error { return operation(t.Context(), i*7, uint64(i*31)) }); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	for _, masters := range [][]string{{"partition-0"}, {"partition-0", "partition-1"}} {
		var urls []string
		for range masters {
			urls = append(urls, server.Database(t))
		}
		db, err := s.openStore(t.Context(), urls, masters)
		if err != nil {
			t.Fatal(err)
		}
		system, err := ledgerOn(t.Context(), db, masters, accounts)
		if err != nil {
			t.Fatal(err)
		}
		do(system)
		wantBooks(t, db, masters, accounts, each, accounts+len(system.Direct)*each)
	}
	db := servers.Open(t, server.Database(t))
	db.SetMaxOpenConns(ledgerClients)
	system, err := plainLedgerOn(t.Context(), db, accounts)
	if err != nil {
		t.Fatal(err)
	}
	do(system)
	var sum, lines, records int64
	row := db.QueryRow("SELECT (SELECT SUM(balance) FROM accounts), (SELECT COUNT(*) FROM history), (SELECT COUNT(*) FROM transfers)")
	if err := row.Scan(&sum, &lines, &records); err != nil || sum != accounts*riches || records != int64(len(system.Direct)*each) || lines != 2*records {
		t.Errorf("plain: %d in %d transfers and %d lines, %v", sum, records, lines, err)
	}
	if system.Direct[report.Deposits.Case] != nil {
		t.Error("plain makes deposits that no ratio compares")
	}
}

// wantBooks checks the sum of the balances, and on a single master the books with the number of transfers. On two, no partition
// has all books, because nothing copies them.
func wantBooks(t *testing.T, db *store.Store, masters []string, accounts, deposits, transfers int) {
	t.Helper()
	l := ledger.New(db, ledger.Options{})
	sum := int64(0)
	for _, id := range accountsOf(db, masters, accounts) {
		a, _, err := l.Account(t.Context(), id, store.ReadOptions{Consistency: store.FromMaster})
		if err != nil {
			t.Fatal(err)
		}
		sum += a.Balance
	}
	if sum != int64(accounts)*riches+int64(deposits) {
		t.Errorf("%d masters: the balances add up to %d", len(masters), sum)
	}
	if len(masters) > 1 {
		return
	}
	r, err := l.Verify(t.Context(), "")
	if err != nil || len(r.Faults) > 0 || r.Transfers != int64(transfers) {
		t.Errorf("%+v, %v; want %d transfers", r, err, transfers)
	}
}
