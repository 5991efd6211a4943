package sqlengine_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

// TestStatementsByKeyUseThePrimaryKey: MySQL and MariaDB prefer to scan a table, or another index, if their statistics
// say that the table is small. The statistics of an empty table do, and so do those of a table whose deleted rows are
// kept for an older view: a scan would read all of these.
func TestStatementsByKeyUseThePrimaryKey(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		address := server.Database(t)
		p := mysqltest.Prepared(t, mysqltest.Config(t, address), sqlengine.Options{Name: "a"})
		raw := servers.Open(t, address)
		for _, text := range p.StatementsByKey(500) {
			if key, plan := plannedKey(t, raw, text); key != "PRIMARY" {
				t.Errorf("index %q for %.140s: %.600s", key, text, plan)
			}
		}
	})
}

// plannedKey returns the index that the server would use for a statement.
func plannedKey(t *testing.T, db *sql.DB, text string) (key, plan string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "EXPLAIN FORMAT=JSON "+text)
	if err != nil {
		t.Fatalf("%v: %.200s", err, text)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&plan); err != nil {
			t.Fatal(err)
		}
	}
	found := regexp.MustCompile(`"(?:key|index_name)": "(\w+)"`).FindStringSubmatch(plan)
	if found == nil {
		return "", plan
	}
	return found[1], plan
}

// TestStatementsOnEntriesNameTheirIndex holds all statements of the package to an index hint.
func TestStatementsOnEntriesNameTheirIndex(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	hinted := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range regexp.MustCompile("FROM \\{p\\}entries[^`]*").FindAllString(string(text), -1) {
			if hinted++; !strings.HasPrefix(from, "FROM {p}entries {by_") {
				t.Errorf("%s: no index hint in %q", file, from)
			}
		}
	}
	if hinted < 8 {
		t.Errorf("only %d statements were found", hinted)
	}
}
