package servers_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/runnelkv/runnel/test/servers"
)

// onEachKind runs a test on MariaDB and on MySQL.
func onEachKind(t *testing.T, test func(*testing.T, kind)) {
	for _, k := range []kind{
		{"MariaDB", servers.MariaDB, servers.NewMariaDB},
		{"MySQL", servers.MySQL, servers.NewMySQL},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			test(t, k)
		})
	}
}

type kind struct {
	name   string
	shared func(testing.TB) *servers.Server
	own    func(testing.TB, ...string) *servers.Server
}

func TestSharedServerIsFoundAgain(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind) {
		first, second := k.shared(t), k.shared(t)
		if first.Address() != second.Address() {
			t.Errorf("asked twice, got %s and %s", first.Address(), second.Address())
		}
		version := text(t, servers.Open(t, first.Database(t)), "SELECT version()")
		t.Log(version)
		if strings.Contains(version, "MariaDB") != (k.name == "MariaDB") {
			t.Errorf("the %s server says it is %s", k.name, version)
		}
	})
}

func TestServersAreDurable(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind) {
		db := servers.Open(t, k.shared(t).Database(t))
		for setting, want := range map[string]string{
			"innodb_flush_log_at_trx_commit": "1",
			"innodb_doublewrite":             "ON1", // 1 on MariaDB
			"max_allowed_packet":             "67108864",
			"performance_schema":             "0",
		} {
			if got := text(t, db, "SELECT @@global."+setting); !strings.Contains(want, got) {
				t.Errorf("%s is %s, want %s", setting, got, want)
			}
		}
	})
}

func TestDatabaseIsEmptyAndDropped(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind) {
		s := k.shared(t)
		var created, vacant string
		t.Run("while in use", func(t *testing.T) {
			created, vacant = s.Database(t), s.Vacant(t)
			mustExec(t, servers.Open(t, created), "CREATE TABLE entries (name INT PRIMARY KEY)")
			if n := errorNumber(servers.Open(t, vacant).Ping()); n != unknownDatabase {
				t.Errorf("a vacant database answers error %d, want %d", n, unknownDatabase)
			}
			mustExec(t, servers.Open(t, created), "CREATE DATABASE "+vacant[strings.LastIndex(vacant, "/")+1:])
		})
		for _, address := range []string{created, vacant} {
			if n := errorNumber(servers.Open(t, address).Ping()); n != unknownDatabase {
				t.Errorf("after the test %s answers error %d, want %d", address, n, unknownDatabase)
			}
		}
	})
}

func TestUserHasOnlyItsPrivileges(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind) {
		s := k.shared(t)
		address := s.Database(t)
		mustExec(t, servers.Open(t, address), "CREATE TABLE entries (name INT PRIMARY KEY)")
		db := servers.Open(t, s.User(t, address, "SELECT", "INSERT"))
		mustExec(t, db, "INSERT INTO entries (name) VALUES (1)")
		_, err := db.Exec("DELETE FROM entries")
		if n := errorNumber(err); n != commandDenied {
			t.Errorf("DELETE without the privilege answers error %d, want %d", n, commandDenied)
		}
		if n := errorNumber(servers.Open(t, s.User(t, address)).Ping()); n != databaseDenied {
			t.Errorf("an account without privileges gets error %d, want %d", n, databaseDenied)
		}
	})
}

func TestOwnServerKeepsAddressAndData(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind) {
		s := k.own(t, "--max-allowed-packet=1M")
		db := servers.Open(t, s.Database(t))
		if got := text(t, db, "SELECT @@max_allowed_packet"); got != "1048576" {
			t.Errorf("max_allowed_packet is %s despite the argument", got)
		}
		mustExec(t, db, "CREATE TABLE entries (name INT PRIMARY KEY)")
		for i, end := range []func(){s.Stop, s.Kill} {
			mustExec(t, db, "INSERT INTO entries (name) VALUES (?)", i)
			before := s.Address()
			end()
			if err := db.Ping(); err == nil {
				t.Errorf("round %d: the server answers after its end", i)
			}
			s.Start()
			if s.Address() != before {
				t.Errorf("round %d: the address went from %s to %s", i, before, s.Address())
			}
			if got := text(t, db, "SELECT max(name) FROM entries"); got != string(rune('0'+i)) {
				t.Errorf("round %d: the last row is %s", i, got)
			}
		}
	})
}

func TestPausedServerHangs(t *testing.T) {
	onEachKind(t, func(t *testing.T, k kind) {
		s := k.own(t)
		db := servers.Open(t, s.Database(t))
		s.Pause()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := db.PingContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ping of a paused server: %v, want a timeout", err)
		}
		s.Unpause()
		if err := db.PingContext(t.Context()); err != nil {
			t.Errorf("ping after the pause: %v", err)
		}
	})
}

func TestSharedServerCannotBeStopped(t *testing.T) {
	s := servers.MariaDB(t)
	defer func() {
		if recover() == nil {
			t.Error("Stop of a shared server did not panic")
		}
	}()
	s.Stop()
}

// Error numbers, the same on both kinds.
const (
	databaseDenied  = 1044
	unknownDatabase = 1049
	commandDenied   = 1142
)

// errorNumber returns the server's error number in err, or 0.
func errorNumber(err error) uint16 {
	var answer *mysql.MySQLError
	if errors.As(err, &answer) {
		return answer.Number
	}
	return 0
}

func mustExec(t *testing.T, db *sql.DB, statement string, arguments ...any) {
	t.Helper()
	if _, err := db.Exec(statement, arguments...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func text(t *testing.T, db *sql.DB, query string) (value string) {
	t.Helper()
	if err := db.QueryRow(query).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

// TestServerThatCannotBeHadIsSkippedByName runs a test of this package without a
// Docker engine and without a server's program.
func TestServerThatCannotBeHadIsSkippedByName(t *testing.T) {
	for required, want := range map[string]string{
		"":  "SKIPPED, there is no MySQL server to test with",
		"1": "no MySQL server to test with",
	} {
		t.Run("required="+required, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run", "^TestSharedServerIsFoundAgain$/^MySQL$")
			cmd.Env = append(os.Environ(), "RUNNEL_TEST_SHORT=", "DOCKER_HOST=unix://"+t.TempDir()+"/none", "PATH="+t.TempDir(),
				"RUNNEL_TEST_REQUIRE_SERVERS="+required)
			out, err := cmd.CombinedOutput()
			if strings.Contains(string(out), "--- PASS: TestSharedServerIsFoundAgain/MySQL") {
				t.Skip("SKIPPED, this machine has mysqld itself")
			}
			if failed := err != nil; failed != (required == "1") || !strings.Contains(string(out), want) {
				t.Errorf("ended with %v, want %q:\n%s", err, want, out)
			}
		})
	}
}
