package test

import (
	"cmp"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/test/runnel"
)

// TestChecksFindPlantedFaults damages partitions and histories. The checks of this package must detect each fault.
func TestChecksFindPlantedFaults(t *testing.T) {
	t.Parallel()
	dir, h := t.TempDir(), newHistory()
	urls := []string{"sqlite:" + dir + "/0.db", "sqlite:" + dir + "/1.db", "sqlite:" + dir + "/2.db"}
	file := runnel.WriteConfig(t, "", urls...)
	node := runnel.Serve(t, "--config", file, "--no-sync")
	writeSome := func() {
		stop := h.startWriters(t, 1, node.URL)
		h.awaitMore(t, 300)
		stop()
	}
	writeSome()
	runnel.SyncOnce(t, file)
	level := readContents(t, file)
	runnel.NoFaults(t, "equal", inequalities(level))
	h.lazily = true
	writeSome()
	if err := node.Stop(t); err != nil {
		t.Fatal(err)
	}
	lagging := readContents(t, file)
	runnel.NoFaults(t, "positions and rows", inconsistencies(lagging))
	runnel.NoFaults(t, "acknowledged writes", h.violations(lagging))
	if len(inequalities(lagging)) == 0 {
		t.Error("replicas that lag count as equal")
	}

	synced := copyFiles(t, dir)
	runnel.SyncOnce(t, runnel.WriteConfig(t, "", synced...))
	before := readContents(t, runnel.WriteConfig(t, "", synced...))
	runnel.NoFaults(t, "before the damage", slices.Concat(inequalities(before), inconsistencies(before), h.violations(before)))

	const (
		newest  = " WHERE revision = (SELECT max(revision) FROM entries WHERE deleted = 0)"
		counter = "UPDATE positions SET revision = "
	)
	for name, damage := range map[string]struct {
		partition int
		statement string
		misplaced bool
		unequal   bool
		lost      bool
	}{
		"acknowledged write gone":       {0, "DELETE FROM entries" + newest, true, true, true},
		"acknowledged write altered":    {0, "UPDATE entries SET content_type = 'text/css'" + newest, true, true, true},
		"acknowledged delete undone":    {0, "DELETE FROM entries WHERE deleted = 1", true, true, true},
		"older write back":              {0, "UPDATE entries SET revision = 1099511627777" + newest, true, true, true},
		"counter back":                  {0, counter + "(SELECT max(revision) FROM entries WHERE deleted = 0) - 1", true, true, true},
		"row of a replica gone":         {1, "DELETE FROM entries" + newest, true, true, false},
		"old row in a replica":          {1, "UPDATE entries SET revision = 1099511627777" + newest, true, true, false},
		"unheard of row in a replica":   {1, "UPDATE entries SET `key` = x'6b2f78'" + newest, true, true, false},
		"row above the counter":         {1, "UPDATE entries SET revision = revision + 1000000" + newest, true, true, false},
		"position too high":             {1, counter + "revision + 1", true, true, false},
		"position too low":              {1, counter + "revision - 1", false, true, false},
		"value altered":                 {1, "UPDATE entries SET value = x'00'" + newest, true, true, false},
		"checksum altered":              {1, "UPDATE entries SET checksum = checksum + 1" + newest, true, true, false},
		"content type altered":          {1, "UPDATE entries SET content_type = 'text/css'" + newest, true, true, false},
		"metadata altered":              {1, "UPDATE entries SET metadata = '{}'" + newest, true, true, false},
		"expiry altered":                {1, "UPDATE entries SET expires_at = 1" + newest, true, true, false},
		"tombstone undone in a replica": {1, "UPDATE entries SET deleted = 0 WHERE revision = (SELECT max(revision) FROM entries WHERE deleted = 1)", true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			copied := copyFiles(t, filepath.Dir(strings.TrimPrefix(synced[0], "sqlite:")))
			execSQLite(t, copied[damage.partition], damage.statement)
			all := readContents(t, runnel.WriteConfig(t, "", copied...))
			runnel.WantFaults(t, "positions and rows", inconsistencies(all), damage.misplaced)
			runnel.WantFaults(t, "equality", inequalities(all), damage.unequal)
			runnel.WantFaults(t, "acknowledged writes", h.violations(all), damage.lost)
		})
	}
	t.Run("position raised over rows that were not copied", func(t *testing.T) {
		copied := copyFiles(t, dir)
		execSQLite(t, copied[2], fmt.Sprintf("%s %d", counter, lagging.copies["partition-0"]["partition-0"].position.Revision))
		runnel.WantFaults(t, "positions and rows", inconsistencies(readContents(t, runnel.WriteConfig(t, "", copied...))), true)
	})
	t.Run("history", func(t *testing.T) { plantInHistory(t, h, lagging) })
}

// plantInHistory adds impossible outcomes to a history.
func plantInHistory(t *testing.T, h *history, all contents) {
	last := slices.MaxFunc(h.attempts, func(a, b attempt) int { return cmp.Compare(a.revision, b.revision) })
	other := h.attempts[slices.IndexFunc(h.attempts, func(a attempt) bool { return a.key != last.key && a.revision != 0 })]
	twice, late, stale, created := other, last, last, last
	twice.revision = last.revision
	late.revision, late.began, late.ended = last.revision+1, 0, 0
	stale.revision, stale.match = last.revision+1, last.revision-1
	created.revision, created.create, created.match = last.revision+1, true, 0
	h.attempts[slices.Index(h.attempts, last)].delete = false
	for fault, planted := range map[string]attempt{
		"were both acknowledged":                    twice,
		"before an earlier revision was asked for":  late,
		fmt.Sprintf("had If-Match %d", stale.match): stale,
		"had If-None-Match *":                       created,
		"stands at revision":                        late,
	} {
		altered := &history{attempts: append(slices.Clone(h.attempts), planted)}
		if found := strings.Join(altered.violations(all), "\n"); !strings.Contains(found, fault) {
			t.Errorf("nothing says %q of a planted %+v:\n%s", fault, planted, found)
		}
	}
}

// copyFiles copies the SQLite files of a directory, and returns their URLs.
func copyFiles(t testing.TB, dir string) (urls []string) {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		urls = append(urls, fmt.Sprintf("sqlite:%s/%d.db", to, i))
	}
	return urls
}

// execSQLite runs a statement that must change rows.
func execSQLite(t testing.TB, url, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", strings.TrimPrefix(url, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	done, err := db.ExecContext(t.Context(), statement)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	if n, err := done.RowsAffected(); n == 0 {
		t.Fatalf("%s changed nothing: %v", statement, err)
	}
}
