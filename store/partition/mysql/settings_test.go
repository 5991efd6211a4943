package mysql_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

// hostile are session defaults of a server that change the results of statements. They are passed
// as parameters, so they apply when a connection opens, as a server's defaults do.
var hostile = map[string]string{
	"sql_select_limit": "2", "sql_mode": "'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'", "completion_type": "1",
	"autocommit": "0", "time_zone": "'-11:00'", "sql_safe_updates": "1", "max_join_size": "1", "sql_big_selects": "0",
	"sql_auto_is_null": "1", "group_concat_max_len": "4", "max_sort_length": "4", "foreign_key_checks": "0", "unique_checks": "0",
	"innodb_lock_wait_timeout": "100", "lock_wait_timeout": "1000", "net_write_timeout": "1", "wait_timeout": "1000",
	"lc_messages": "'de_DE'", "character_set_results": "latin1", "character_set_client": "latin1", "collation_connection": "utf8mb4_general_ci",
	"default_storage_engine": "MEMORY",
}

// hostileOf are the defaults that a single kind of server has.
var hostileOf = map[string]map[string]string{
	"mariadb": {"max_statement_time": "0.0001", "tx_read_only": "1", "tx_isolation": "'SERIALIZABLE'"},
	"mysql":   {"max_execution_time": "1", "transaction_read_only": "1", "transaction_isolation": "'SERIALIZABLE'"},
}

// TestSettingsOfTheServerChangeNothing: results do not depend on the session defaults of a server.
func TestSettingsOfTheServerChangeNothing(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		address := server.Database(t)
		kind := mysqltest.Prepared(t, mysqltest.Config(t, server.Database(t)), sqlengine.Options{Name: "a"}).Kind()
		c := mysqltest.Config(t, address)
		c.Params = map[string]string{}
		for _, settings := range []map[string]string{hostile, hostileOf[kind]} {
			for name, value := range settings {
				c.Params[name] = value
			}
		}
		p := mysqltest.Prepared(t, c, sqlengine.Options{Name: "a", Timeout: time.Minute})
		partitiontest.Join(t, p)
		var entries []partition.Entry
		for i := range 30 {
			value := []byte(fmt.Sprintf("\\'\"|| %d \xff", i))
			entries = append(entries, partition.Entry{Key: partition.Key(fmt.Sprintf("k/%s/%02d", strings.Repeat("x", 20), i)),
				Revision: partition.Revision(i), ContentType: "a||'b'", Value: value, Size: int64(len(value)), Checksum: partition.Checksum(value)})
		}
		claim, err := p.Commit(t.Context(), partition.Batch{Epoch: 1, Revisions: len(entries), Write: entries})
		if err != nil {
			t.Fatal(err)
		}
		if off := time.Since(claim.Now.Time()).Abs(); off > time.Minute {
			t.Errorf("its clock is off by %v", off)
		}
		for i := range entries {
			entries[i].Origin, entries[i].ModifiedAt = "a", claim.Now
			entries[i].Revision += claim.First
		}
		partitiontest.WantSame(t, "get", partitiontest.GetAll(t, p, entries), entries)
		listed, _, err := p.List(t.Context(), partition.Span{Limit: 100, Values: true})
		if err != nil {
			t.Fatal(err)
		}
		partitiontest.WantSame(t, "list", listed, entries)
		partitiontest.WantSame(t, "snapshot", snapshotOf(t, p), entries)
		wantDurableBarrier(t, p, address)
	})
}

func snapshotOf(t *testing.T, p partition.Partition) (entries []partition.Entry) {
	t.Helper()
	s, err := p.Snapshot(t.Context(), "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for {
		next, err := s.Next(t.Context(), 1000, 1<<30)
		if err == io.EOF {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, next...)
	}
}

// wantDurableBarrier: a barrier is durable when it returns, after any statement.
func wantDurableBarrier(t *testing.T, p partition.Partition, address string) {
	t.Helper()
	var before, after int64
	db := servers.Open(t, address)
	read := func(into *int64) {
		if err := db.QueryRowContext(t.Context(), "SELECT counter FROM barrier").Scan(into); err != nil {
			t.Fatal(err)
		}
	}
	read(&before)
	if _, err := p.Acquire(t.Context(), "me", time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := p.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	if read(&after); after != before+1 {
		t.Errorf("the barrier has counted from %d to %d", before, after)
	}
}
