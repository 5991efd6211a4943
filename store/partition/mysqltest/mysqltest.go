package mysqltest

import (
	"net/url"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/store/partition/mysql"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

// OnServers runs test with a server of each kind.
func OnServers(t *testing.T, test func(t *testing.T, server *servers.Server)) {
	t.Run("MariaDB", func(t *testing.T) { test(t, servers.MariaDB(t)) })
	t.Run("MySQL", func(t *testing.T) { test(t, servers.MySQL(t)) })
}

// Config takes an address of the harness apart.
func Config(t testing.TB, address string) mysql.Config {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	return mysql.Config{Addr: u.Host, User: u.User.Username(), Password: password, Database: strings.TrimPrefix(u.Path, "/")}
}

// Open returns a partition that is not prepared yet.
func Open(t testing.TB, c mysql.Config, o sqlengine.Options) *sqlengine.Engine {
	t.Helper()
	p, err := mysql.Open(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func Prepared(t testing.TB, c mysql.Config, o sqlengine.Options) *sqlengine.Engine {
	t.Helper()
	p := Open(t, c, o)
	if err := p.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}
