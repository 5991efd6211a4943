package mysqltest

import (
	"net/url"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/store/partition/mysql"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

// OnServers runs test on a MariaDB and a MySQL server.
func OnServers(t *testing.T, test func(t *testing.T, server *servers.Server)) {
	t.Run("MariaDB", func(t *testing.T) { test(t, servers.MariaDB(t)) })
	t.Run("MySQL", func(t *testing.T) { test(t, servers.MySQL(t)) })
}

// Config parses an address of package servers.
func Config(t testing.TB, address string) mysql.Config {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	return mysql.Config{Addr: u.Host, User: u.User.Username(), Password: password, Database: strings.TrimPrefix(u.Path, "/")}
}

// Open returns a partition before Prepare, and closes the partition when t ends.
func Open(t testing.TB, c mysql.Config, o sqlengine.Options) *sqlengine.Engine {
	t.Helper()
	p, err := mysql.Open(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// Prepared returns a prepared partition.
func Prepared(t testing.TB, c mysql.Config, o sqlengine.Options) *sqlengine.Engine {
	t.Helper()
	p := Open(t, c, o)
	if err := p.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}
