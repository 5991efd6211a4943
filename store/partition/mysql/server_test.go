package mysql_test

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysql"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

// sessions returns the ids of the connections to a database, without the connection of db.
func sessions(t *testing.T, db *sql.DB, database string) map[int64]bool {
	t.Helper()
	ids := map[int64]bool{}
	for _, id := range servers.Connections(t, db, "db = ?", database) {
		ids[id] = true
	}
	return ids
}

// TestReadOnlyServerIsLeftByAllConnections: another server may have taken over the address, so
// reads must use new connections too. After a GRANT only new sessions have the privilege.
func TestReadOnlyServerIsLeftByAllConnections(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		for number, want := range map[int]error{1290: partition.ErrUnavailable, 1792: partition.ErrUnavailable, 1836: partition.ErrUnavailable,
			1044: partition.ErrRefused, 1142: partition.ErrRefused, 1143: partition.ErrRefused, 1227: partition.ErrRefused} {
			address := server.Database(t)
			c, db := mysqltest.Config(t, address), servers.Open(t, address)
			db.SetMaxOpenConns(1)
			p := mysqltest.Prepared(t, c, sqlengine.Options{Name: "a"})
			partitiontest.Join(t, p)
			use := func() {
				t.Helper()
				if _, err := p.Positions(t.Context()); err != nil {
					t.Fatal(err)
				}
				_ = partitiontest.GetAll(t, p, partitiontest.Blind(1, 0).Write)
				_ = snapshotOf(t, p)
			}
			use()
			if _, err := p.Commit(t.Context(), partitiontest.Blind(1, 0)); err != nil {
				t.Fatal(err)
			}
			before := sessions(t, db, c.Database)
			partitiontest.Exec(t, db, fmt.Sprintf("CREATE TRIGGER readonly BEFORE UPDATE ON positions FOR EACH ROW SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = %d", number))
			_, err := p.Commit(t.Context(), partitiontest.Blind(1, 0))
			partitiontest.RequireError(t, err, want)
			use()
			// The server ends a session shortly after the connection.
			for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				now := sessions(t, db, c.Database)
				maps.DeleteFunc(now, func(id int64, _ bool) bool { return !before[id] })
				if len(now) == 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("after error %d connections from before are still open: %v", number, now)
				}
			}
			partitiontest.Exec(t, db, "DROP TRIGGER readonly")
			if _, err := p.Commit(t.Context(), partitiontest.Blind(1, 0)); err != nil {
				t.Errorf("after error %d: %v", number, err)
			}
		}
	})
}

// TestPausedWriterDoesNotBlockOthers: a process is suspended in a transaction after claiming its
// revisions.
func TestPausedWriterDoesNotBlockOthers(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		address := server.Database(t)
		o := sqlengine.Options{Name: "a", Timeout: 3 * time.Second}
		paused, other := mysqltest.Prepared(t, mysqltest.Config(t, address), o), mysqltest.Prepared(t, mysqltest.Config(t, address), o)
		partitiontest.Join(t, other)
		claimed, resumed := make(chan struct{}), make(chan struct{})
		ended := make(chan error)
		go func() {
			b := partitiontest.Decided(1)
			decide := b.Decide
			b.Decide = func(c partition.Claim) ([]partition.Entry, error) {
				close(claimed)
				<-resumed
				return decide(c)
			}
			_, err := paused.Commit(t.Context(), b)
			ended <- err
		}()
		<-claimed
		began := time.Now()
		for time.Since(began) < time.Minute {
			if _, err := other.Commit(t.Context(), partition.Batch{Epoch: 1, Revisions: 1}); err == nil {
				break
			}
		}
		if took := time.Since(began); took > 25*time.Second {
			t.Errorf("the other process could write after %v", took)
		}
		close(resumed)
		if err := <-ended; err == nil {
			t.Error("the paused commit says that it took place")
		}
	})
}

func TestPasswordIsReadForEachConnection(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		c := mysqltest.Config(t, server.Database(t))
		password, asked := "wrong-password", 0
		right := c.Password
		c.Password, c.NewPassword = "", func() (string, error) { asked++; return password, nil }
		p := mysqltest.Open(t, c, sqlengine.Options{Name: "a"})
		partitiontest.RequireError(t, p.Prepare(t.Context()), partition.ErrRefused)
		password = right
		if err := p.Prepare(t.Context()); err != nil || asked < 2 {
			t.Errorf("with the new password, read %d times: %v", asked, err)
		}
	})
}

// TestPasswordChangesWithoutADeniedConnection: first the file changes, then the account. At every moment a new connection
// succeeds, also while the file is missing.
func TestPasswordChangesWithoutADeniedConnection(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		database := server.Database(t)
		c := mysqltest.Config(t, server.User(t, database, "ALL"))
		file, fault := c.Password, error(nil)
		c.NewPassword = func() (string, error) { return file, fault }
		p := mysqltest.Open(t, c, sqlengine.Options{Name: "a", Logger: slog.New(slog.DiscardHandler)})
		connects := func(what string) {
			t.Helper()
			if err := p.Prepare(t.Context()); err != nil { // by a new connection
				t.Errorf("%s: %v", what, err)
			}
		}
		change := func(password string) {
			t.Helper()
			if _, err := servers.Open(t, database).Exec("ALTER USER '" + c.User + "'@'%' IDENTIFIED BY '" + password + "'"); err != nil {
				t.Fatal(err)
			}
		}
		connects("before the change")
		file = "second-password"
		connects("after the change of the file")
		change(file)
		connects("after the change of the account")
		fault = errors.New("no file")
		connects("without the file")
		file, fault = "wrong-password", nil
		connects("with a wrong password in the file")
		change("third-password")
		partitiontest.RequireError(t, p.Prepare(t.Context()), partition.ErrRefused)
		file = "third-password"
		connects("with the right password in the file")
	})
}

// TestServerSaysWhatIsNotDurable changes the settings of a server that affect durability.
func TestServerSaysWhatIsNotDurable(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers of its own")
	}
	server := servers.NewMariaDB(t, "--innodb-flush-log-at-trx-commit=2", "--log-bin=b", "--sync-binlog=0", "--server-id=7",
		"--max-allowed-packet=4M")
	address := server.Database(t)
	p := mysqltest.Prepared(t, mysqltest.Config(t, address), sqlengine.Options{Name: "a"})
	partitiontest.Join(t, p)
	said := strings.Join(p.Warnings(), "\n")
	for _, want := range []string{"innodb_flush_log_at_trx_commit", "sync_binlog"} {
		if !strings.Contains(said, want) {
			t.Errorf("%s is not among the warnings: %q", want, said)
		}
	}
	careful := mysqltest.Prepared(t, mysqltest.Config(t, address), sqlengine.Options{Name: "a", RequireDurable: true})
	if _, err := careful.Commit(t.Context(), partitiontest.Blind(1, 0)); !errors.Is(err, partition.ErrRefused) || !strings.Contains(err.Error(), "sync_binlog") {
		t.Errorf("a commit that is to be durable: %v", err)
	}
	partitiontest.Exec(t, servers.Open(t, address), "SET GLOBAL max_prepared_stmt_count = 0")
	if _, err := p.Commit(t.Context(), partitiontest.Large(3)); err != nil {
		t.Errorf("large values without prepared statements: %v", err)
	}
	partitiontest.Exec(t, servers.Open(t, address), "SET GLOBAL max_prepared_stmt_count = 10000")
	checkPackets(t, p, servers.Open(t, address))
	checkBinlogFormat(t, server)
}

// checkPackets lowers max_allowed_packet below the value at Prepare, and raises it again.
func checkPackets(t *testing.T, p *sqlengine.Engine, db *sql.DB) {
	t.Helper()
	big := partitiontest.Large(1)
	big.Write[0].Value = make([]byte, 3<<20)
	big.Write[0].Checksum = partition.Checksum(big.Write[0].Value)
	renew := func(packet string) {
		partitiontest.Exec(t, db, "SET GLOBAL max_allowed_packet = "+packet)
		partitiontest.Exec(t, db, "CREATE TRIGGER readonly BEFORE UPDATE ON positions FOR EACH ROW SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1290")
		_, err := p.Commit(t.Context(), partitiontest.Blind(1, 0)) // all connections are opened again
		partitiontest.RequireError(t, err, partition.ErrUnavailable)
		partitiontest.Exec(t, db, "DROP TRIGGER readonly")
	}
	renew("65536")
	if _, err := p.Commit(t.Context(), partitiontest.Blind(1, 0)); err != nil {
		t.Errorf("a small write with small packets: %v", err)
	}
	if got := partitiontest.GetAll(t, p, partitiontest.Blind(1, 0).Write); len(got) != 1 {
		t.Errorf("%d entries with small packets", len(got))
	}
	_, err := p.Commit(t.Context(), big)
	if !errors.Is(err, partition.ErrTooLarge) || !strings.Contains(err.Error(), "max_allowed_packet") || !strings.Contains(err.Error(), string(big.Write[0].Key)) {
		t.Errorf("a large write with small packets: %v", err)
	}
	for began := time.Now(); err != nil && time.Since(began) < 30*time.Second; { // connections are closed at most once a second
		renew("4194304")
		_, err = p.Commit(t.Context(), big)
	}
	if err != nil {
		t.Errorf("a large write with large packets again: %v", err)
	}
}

func checkBinlogFormat(t *testing.T, server *servers.Server) {
	t.Helper()
	db := servers.Open(t, server.Database(t))
	partitiontest.Exec(t, db, "SET GLOBAL binlog_format = 'STATEMENT'")
	p := mysqltest.Open(t, mysqltest.Config(t, server.Vacant(t)), sqlengine.Options{Name: "a"})
	if err := p.Prepare(t.Context()); !errors.Is(err, partition.ErrRefused) || !strings.Contains(err.Error(), "binlog_format") {
		t.Errorf("with binlog_format = STATEMENT: %v", err)
	}
	partitiontest.Exec(t, db, "SET GLOBAL binlog_format = 'ROW'")
	if err := p.Prepare(t.Context()); err != nil {
		t.Errorf("with binlog_format = ROW again: %v", err)
	}
}

// TestInspectionChangesNothingAndNamesExcessiveRights inspects with an account of the needed rights, and with root.
func TestInspectionChangesNothingAndNamesExcessiveRights(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		address := server.Database(t)
		lean := mysqltest.Config(t, server.User(t, address, "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "INDEX", "DROP"))
		found, err := mysql.Inspect(t.Context(), lean, 10*time.Second)
		if err != nil || found.Missing || len(found.Excess) > 0 {
			t.Errorf("an account with the needed rights: %+v, %v", found, err)
		}
		found, err = mysql.Inspect(t.Context(), mysqltest.Config(t, address), 10*time.Second)
		if err != nil || !strings.Contains(strings.Join(found.Excess, "\n"), " on *.*") {
			t.Errorf("root: %+v, %v", found, err)
		}
		var tables int
		if err := servers.Open(t, address).QueryRow("SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE()").Scan(&tables); err != nil || tables != 0 {
			t.Errorf("the inspection has created %d tables, %v", tables, err)
		}
		found, err = mysql.Inspect(t.Context(), mysqltest.Config(t, server.Vacant(t)), 10*time.Second)
		if err != nil || !found.Missing {
			t.Errorf("a missing database: %+v, %v", found, err)
		}
		lean.Password = "wrong"
		if _, err := mysql.Inspect(t.Context(), lean, 10*time.Second); err == nil || strings.Contains(err.Error(), "wrong") {
			t.Errorf("with a wrong password: %v", err)
		}
	})
}
