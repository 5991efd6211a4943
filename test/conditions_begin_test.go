package test

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// lockedFile is a file that another process has locked for writing.
func lockedFile(t *testing.T) (string, func(*testing.T) func()) {
	path := filepath.Join(t.TempDir(), "locked.db")
	return "sqlite:" + path, func(t *testing.T) func() {
		return transaction(t, "sqlite", path+"?_pragma=busy_timeout(10000)&_txlock=immediate", "")
	}
}

// heldCounter returns a MariaDB database. The condition is a lock of its revision counter.
func heldCounter(t *testing.T) (string, func(*testing.T) func()) {
	url := servers.MariaDB(t).Database(t)
	return url, func(t *testing.T) func() {
		return transaction(t, "mysql", servers.DSN(url),
			"SELECT revision FROM positions WHERE origin = 'partition-0' FOR UPDATE")
	}
}

// transaction begins a transaction, runs the query if not empty, and returns a function that rolls back.
func transaction(t *testing.T, driver, dsn, query string) (end func()) {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	tx, err := db.BeginTx(context.Background(), nil)
	if err == nil && query != "" {
		var revision int64
		err = tx.QueryRow(query).Scan(&revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = tx.Rollback() } // the transaction has changed nothing
}

// fullDisk returns a file on a small disk. The condition is that the disk is full.
func fullDisk(t *testing.T) (string, func(*testing.T) func()) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("SKIPPED full disk: a tmpfs cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return "sqlite:" + filepath.Join(dir, "full.db"), func(t *testing.T) func() {
		filler := filepath.Join(dir, "filler")
		_ = os.WriteFile(filler, make([]byte, 8<<20), 0o600) // fills the disk
		return func() {
			if err := os.Truncate(filler, 0); err != nil {
				t.Error(err)
			}
		}
	}
}

// privileges are the privileges that docs/operations.md tells administrators to grant.
var privileges = []string{"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "INDEX", "DROP"}

// readOnlyServer returns a database. The condition is a read-only server, as after a failover.
func readOnlyServer(t *testing.T) (string, func(*testing.T) func()) {
	server := servers.NewMariaDB(t)
	root := server.Database(t)
	db := servers.Open(t, root)
	return server.User(t, root, privileges...), func(t *testing.T) func() {
		execute(t, db, "SET GLOBAL read_only = 1")
		return func() { execute(t, db, "SET GLOBAL read_only = 0") }
	}
}

func revokedInsert(t *testing.T) (string, func(*testing.T) func()) {
	return withoutInsert(t, servers.MariaDB(t))
}

func revokedInsertMySQL(t *testing.T) (string, func(*testing.T) func()) {
	return withoutInsert(t, servers.MySQL(t))
}

// withoutInsert returns an account. The condition is the loss of INSERT. Sessions keep the privileges with which
// they began, so the sessions of the account are ended.
func withoutInsert(t *testing.T, server *servers.Server) (string, func(*testing.T) func()) {
	root := server.Database(t)
	db := servers.Open(t, root)
	account := server.User(t, root, privileges...)
	on := fmt.Sprintf("INSERT ON %s.* ", mustParseURL(t, root).Path[1:])
	user := mustParseURL(t, account).User.Username()
	return account, func(t *testing.T) func() {
		execute(t, db, "REVOKE "+on+"FROM "+user+"@'%'")
		var since int64 // of the sessions that began later
		if err := servers.Open(t, root).QueryRow("SELECT CONNECTION_ID()").Scan(&since); err != nil {
			t.Fatal(err)
		}
		runnel.Eventually(t, 30*time.Second, "sessions that have the privilege end", func() error {
			if n := endSessions(t, db, user, since); n > 0 {
				return fmt.Errorf("there were %d", n)
			}
			return nil
		})
		return func() { execute(t, db, "GRANT "+on+"TO "+user+"@'%'") }
	}
}

// exhaustedConnections returns a database. The condition is that foreign sessions occupy all connections of the
// server, including the store's.
func exhaustedConnections(t *testing.T) (string, func(*testing.T) func()) {
	const limit = 30
	server := servers.NewMariaDB(t, fmt.Sprintf("--max-connections=%d", limit))
	root := server.Database(t)
	db := servers.Open(t, root) // the server reserves a connection for root
	account, other := server.User(t, root, privileges...), servers.Open(t, server.User(t, root, privileges...))
	user := mustParseURL(t, account).User.Username()
	return account, func(t *testing.T) func() {
		db.SetMaxOpenConns(1)
		execute(t, db, "DO 1") // attempts of the store may take the reserved connection
		var taken []*sql.Conn
		runnel.Eventually(t, 30*time.Second, "the others have all connections", func() error {
			var err error
			for err == nil {
				var c *sql.Conn
				if c, err = other.Conn(t.Context()); err == nil {
					taken = append(taken, c)
				}
			}
			if endSessions(t, db, user, math.MaxInt64); len(taken) < limit-1 { // and the session of db
				return fmt.Errorf("they have %d", len(taken))
			}
			return nil
		})
		return func() {
			for _, c := range taken {
				c.Close()
			}
			other.Close()
		}
	}
}

// pausedServer returns a database. The condition is a paused server: clients can connect, but get no answer.
func pausedServer(t *testing.T) (string, func(*testing.T) func()) {
	server := servers.NewMariaDB(t)
	return server.Database(t), func(*testing.T) func() {
		server.Pause()
		return server.Unpause
	}
}

// endSessions ends the sessions of a user that began before the given session, and sessions that have not
// authenticated yet. It returns their number.
func endSessions(t *testing.T, db *sql.DB, user string, before int64) (ended int) {
	t.Helper()
	rows, err := db.Query("SELECT id, user FROM information_schema.processlist WHERE user IN (?, 'unauthenticated user') AND id < ?", user, before)
	if err != nil {
		t.Fatal(err)
	}
	var ids []int64
	for rows.Next() {
		var id int64
		var of string
		if err := rows.Scan(&id, &of); err != nil {
			t.Fatal(err)
		}
		if ended++; of == user {
			ids = append(ids, id)
		}
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		_, _ = db.Exec(fmt.Sprintf("KILL %d", id)) // the session may have ended by itself
	}
	return ended
}

func execute(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.Exec(statement); err != nil {
		t.Errorf("%s: %v", statement, err)
	}
}

func mustParseURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
