package servers

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	rootPassword   = "runnel"
	databasePrefix = "runnel_"
	// testPrefix is the prefix that Runnel itself gives to databases when RUNNEL_ENV=test.
	testPrefix = "test_"
	staleAfter = time.Hour

	accessDenied = 1045 // the server's error number
)

// Database creates a fresh database for t, dropped when t ends, and returns its
// address as Runnel's configuration writes it:
// mysql://root:runnel@127.0.0.1:PORT/NAME.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	address := s.Vacant(t)
	s.mustExecRoot(t, "CREATE DATABASE "+nameOf(address))
	return address
}

// Vacant returns the address of a database that does not exist yet. A database
// that the test creates at the address is dropped when t ends.
func (s *Server) Vacant(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("%s%d_%s", databasePrefix, time.Now().Unix(), strings.ToLower(rand.Text()[:12]))
	t.Cleanup(func() { s.drop(name) })
	return fmt.Sprintf("mysql://root:%s@%s/%s", rootPassword, s.Address(), name)
}

// User creates an account that has only the given privileges ("SELECT",
// "INSERT", …; none at all if none are given) on the database at address, and
// returns the address with the account in it. The account is dropped when t ends.
func (s *Server) User(t testing.TB, address string, privileges ...string) string {
	t.Helper()
	name, password := "u_"+strings.ToLower(rand.Text()[:12]), rand.Text()
	s.mustExecRoot(t, fmt.Sprintf("CREATE USER %s@'%%' IDENTIFIED BY '%s'", name, password))
	t.Cleanup(func() { s.execRoot("DROP USER IF EXISTS " + name + "@'%'") })
	if len(privileges) > 0 {
		s.mustExecRoot(t, fmt.Sprintf("GRANT %s ON %s.* TO %s@'%%'", strings.Join(privileges, ", "), nameOf(address), name))
	}
	u := mustParse(address)
	u.User = url.UserPassword(name, password)
	return u.String()
}

// Open opens the database at address by go-sql-driver and closes the connections
// when t ends.
func Open(t testing.TB, address string) *sql.DB {
	db := open(DSN(address))
	t.Cleanup(func() { db.Close() })
	return db
}

// DSN converts address into a data source name of go-sql-driver/mysql. The name
// has no parameters, so a test may append "?name=value".
func DSN(address string) string {
	u := mustParse(address)
	password, _ := u.User.Password()
	return fmt.Sprintf("%s:%s@tcp(%s)/%s", u.User.Username(), password, u.Host, nameOf(address))
}

// dsn returns the driver's address of a database for root.
func (s *Server) dsn(database string) string {
	return fmt.Sprintf("root:%s@tcp(%s)/%s", rootPassword, s.Address(), database)
}

// open never fails: the driver connects on first use, and the DSN is our own.
func open(dsn string) *sql.DB {
	config, err := mysql.ParseDSN(dsn)
	if err != nil {
		panic(err)
	}
	config.Timeout = 10 * time.Second
	// The driver would log a line for every connection that a starting server drops.
	config.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		panic(err)
	}
	return sql.OpenDB(connector)
}

// mustExecRoot runs one statement as root.
func (s *Server) mustExecRoot(t testing.TB, statement string) {
	t.Helper()
	if err := s.execRoot(statement); err != nil {
		t.Fatalf("%s: %s: %v", s.kind.name, statement, err)
	}
}

func (s *Server) execRoot(statement string) error {
	db := open(s.dsn(""))
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := db.ExecContext(ctx, statement)
	return err
}

// drop removes a database, under its name and under the name with testPrefix.
// Errors are ignored, because the test may have stopped its server. On a shared
// server dropStale removes the rest later.
func (s *Server) drop(name string) {
	if s.owned {
		return // goes with the server
	}
	s.execRoot("DROP DATABASE IF EXISTS " + name)
	s.execRoot("DROP DATABASE IF EXISTS " + testPrefix + name)
}

// dropStale drops the databases that crashed runs left behind.
func (s *Server) dropStale() error {
	db := open(s.dsn(""))
	defer db.Close()
	rows, err := db.Query("SELECT schema_name FROM information_schema.schemata ORDER BY schema_name LIMIT 10000")
	if err != nil {
		return err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		if isStale(name, time.Now()) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		s.drop(strings.TrimPrefix(name, testPrefix))
	}
	return rows.Err()
}

// isStale reports whether a database was created for a test longer than
// staleAfter before now, so that the test must be over.
func isStale(name string, now time.Time) bool {
	rest, ours := strings.CutPrefix(strings.TrimPrefix(name, testPrefix), databasePrefix)
	made, _, _ := strings.Cut(rest, "_")
	seconds, err := strconv.ParseInt(made, 10, 64)
	return ours && err == nil && now.Sub(time.Unix(seconds, 0)) > staleAfter
}

// numberOf returns the server's error number in err, or 0.
func numberOf(err error) uint16 {
	var answer *mysql.MySQLError
	if errors.As(err, &answer) {
		return answer.Number
	}
	return 0
}

func nameOf(address string) string { return strings.TrimPrefix(mustParse(address).Path, "/") }

func mustParse(address string) *url.URL {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return u
}

// statementIsNoText is MySQL's error while the list of connections has a statement with binary values.
const statementIsNoText = 3854

// Connections returns the ids of the connections that match a condition on information_schema.processlist, without the
// connection that lists them.
func Connections(t testing.TB, db *sql.DB, condition string, args ...any) []int64 {
	t.Helper()
	for {
		ids, err := connections(t.Context(), db, condition, args)
		var unlisted *mysql.MySQLError
		switch {
		case err == nil:
			return ids
		case !errors.As(err, &unlisted) || unlisted.Number != statementIsNoText:
			t.Fatal(err)
		}
	}
}

func connections(ctx context.Context, db *sql.DB, condition string, args []any) (ids []int64, err error) {
	rows, err := db.QueryContext(ctx, "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND "+condition, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
