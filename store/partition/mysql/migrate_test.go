package mysql_test

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

// TestMigrationThatWasCutShortIsMadeAgain: MySQL commits each change of a table separately, before
// the version can be stored.
func TestMigrationThatWasCutShortIsMadeAgain(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		c := mysqltest.Config(t, server.Database(t))
		mysqltest.Prepared(t, c, sqlengine.Options{Name: "a"})
		db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/%s", c.User, c.Password, c.Addr, c.Database))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		partitiontest.Exec(t, db, "DELETE FROM schema_version WHERE version_id > 0")
		partitiontest.Exec(t, db, "DROP TABLE compat")
		again := mysqltest.Prepared(t, c, sqlengine.Options{Name: "a"})
		partitiontest.Join(t, again)
		if _, err := again.Expired(t.Context(), partition.ExpirySpan{Origin: "a", Limit: 1}); err != nil {
			t.Error(err)
		}
	})
}

// TestLookAtTheSchemaCreatesNoDatabase: neither a plan nor a migration creates a database.
func TestLookAtTheSchemaCreatesNoDatabase(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		p := mysqltest.Open(t, mysqltest.Config(t, server.Vacant(t)), sqlengine.Options{Name: "a"})
		for range 2 {
			_, err := p.Schema(t.Context())
			partitiontest.RequireError(t, err, partition.ErrNotPrepared)
			partitiontest.RequireError(t, p.Migrate(t.Context(), func(partition.Step) {}), partition.ErrNotPrepared)
		}
	})
}
