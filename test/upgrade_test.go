package test

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// TestOldAndNewBinaryShareAStore runs the binary of the schema before and this binary on the same partitions, in both
// orders, side by side, and back. No process may be refused a partition until 'runnel migrate --finish', no acknowledged
// write may be lost, and the partitions must become equal.
func TestOldAndNewBinaryShareAStore(t *testing.T) {
	old := oldBinary(t)
	current, err := runnel.Binary()
	if err != nil {
		t.Fatal(err)
	}
	for name, urls := range map[string]func(testing.TB) []string{
		"SQLite":  runnel.ThreeFiles,
		"MariaDB": threeOnMariaDB,
	} {
		for order, first := range map[string]string{"old first": old, "new first": current} {
			t.Run(name+"/"+order, func(t *testing.T) {
				t.Parallel()
				u := &upgrade{file: runnel.WriteConfig(t, crashConfig, urls(t)...), random: runnel.NewRandom(t), history: newHistory()}
				second := map[string]string{old: current, current: old}[first]
				u.start(t, first)
				u.write(t)
				u.start(t, second)
				u.writeFor(t, runnel.Rounds(2, 60)) // side by side
				u.stop(t, first)
				u.write(t)
				u.stop(t, second)
				u.migrate(t, old, current)
				u.finish(t, old, current)
			})
		}
	}
}

// oldBinary builds the last commit with the tables of the schema before, once. Without the history the test is skipped.
func oldBinary(t *testing.T) string {
	t.Helper()
	path, err := buildOld()
	if errors.Is(err, errNoHistory) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var errNoHistory = errors.New("the commits of the schema before are missing")

// buildOld returns the path of the binary. The binary is removed with that of this commit.
var buildOld = sync.OnceValues(func() (string, error) {
	base, err := commitBefore(fmt.Sprintf("../store/partition/sqlite/migrations/%05d_*.sql", partition.SchemaVersion))
	if err != nil {
		return "", err
	}
	current, err := runnel.Binary()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Dir(current), "old-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "runnel")
	script := `git -C "$1" archive "$2" | tar -x -C "$3" && cd "$3" && go build -trimpath -o "$4" ./cmd/runnel`
	top, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("bash", "-o", "pipefail", "-c", script, "build", strings.TrimSpace(string(top)), base, dir, path).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", base, err, out)
	}
	return path, nil
})

// commitBefore returns the commit before the one that added a file. A file that no commit has is of the working tree.
func commitBefore(pattern string) (string, error) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("%s: %d files (%v)", pattern, len(files), err)
	}
	added, err := exec.Command("git", "log", "-1", "--diff-filter=A", "--format=%H", "--", files[0]).Output()
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoHistory, err)
	}
	base := "HEAD"
	if commit := strings.TrimSpace(string(added)); commit != "" {
		base = commit + "^"
	}
	if exec.Command("git", "cat-file", "-e", base+":go.mod").Run() != nil {
		return "", fmt.Errorf("%w: %s", errNoHistory, base)
	}
	return base, nil
}

// upgrade is a store with the processes on it.
type upgrade struct {
	file    string
	random  *rand.Rand
	history *history
	running []member
}

type member struct {
	binary string
	*runnel.Process
}

// start starts a server of a binary, which must get ready to write.
func (u *upgrade) start(t *testing.T, binary string) {
	t.Helper()
	p := u.begin(t, binary)
	u.running = append(u.running, member{binary, p})
	p.AwaitOK(t, "/readyz?write")
}

func (u *upgrade) begin(t *testing.T, binary string) *runnel.Process {
	t.Helper()
	address := runnel.FreeAddress(t)
	p := runnel.StartProgram(t, binary, "serve", "--listen", address, "--config", u.file)
	p.URL = "http://" + address
	return p
}

// stop stops the server of a binary, which must have used all partitions.
func (u *upgrade) stop(t *testing.T, binary string) {
	t.Helper()
	i := slices.IndexFunc(u.running, func(m member) bool { return m.binary == binary })
	m := u.running[i]
	u.running = slices.Delete(u.running, i, i+1)
	if err := m.Stop(t); err != nil {
		t.Errorf("runnel stopped with %v", err)
	}
	if isRefused(m.Process) {
		t.Errorf("%s was refused a partition:\n%s", binary, m.Log.Tail())
	}
}

func isRefused(p *runnel.Process) bool { return strings.Contains(p.Log.String(), ": refused: ") }

// startWriters starts writers at all running servers.
func (u *upgrade) startWriters(t *testing.T) (stop func()) {
	var urls []string
	for _, m := range u.running {
		urls = append(urls, m.URL)
	}
	return u.history.startWriters(t, u.random.Uint64(), urls...)
}

func (u *upgrade) write(t *testing.T) { t.Helper(); u.writeFor(t, runnel.Rounds(2, 20)) }

// writeFor writes through all running servers for some seconds, and checks the contents.
func (u *upgrade) writeFor(t *testing.T, seconds int) {
	t.Helper()
	stop := u.startWriters(t)
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); {
		u.history.awaitMore(t, 20)
	}
	stop()
	all := awaitEqual(t, u.file)
	runnel.NoFaults(t, "positions and rows", inconsistencies(all))
	runnel.NoFaults(t, "acknowledged writes", u.history.violations(all))
}

// migrate migrates beside an old process, and goes back to the old binary alone.
func (u *upgrade) migrate(t *testing.T, old, current string) {
	t.Helper()
	u.start(t, old)
	stop := u.startWriters(t)
	u.history.awaitMore(t, 20)
	if out, err := runnel.Run(t, "migrate", "--run", "--config", u.file); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	u.history.awaitMore(t, 50)
	stop()
	u.start(t, current)
	u.writeFor(t, runnel.Rounds(2, 60)) // side by side on the new tables
	u.stop(t, old)
	u.write(t)
	u.stop(t, current)
	u.start(t, old)
	u.write(t) // the way back
	u.stop(t, old)
	u.start(t, current)
}

// finish shuts the old binary out. The new binary continues.
func (u *upgrade) finish(t *testing.T, old, current string) {
	t.Helper()
	if out, err := runnel.Run(t, "migrate", "--finish", "--config", u.file); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	refused := u.begin(t, old)
	runnel.Eventually(t, time.Minute, "the old binary is refused", func() error {
		if isRefused(refused) && strings.Contains(refused.Log.String(), "use a newer runnel") {
			return nil
		}
		return fmt.Errorf("it logged:\n%s", cmp.Or(refused.Log.Tail(), "nothing"))
	})
	refused.Kill()
	u.write(t)
	u.stop(t, current)
	t.Logf("%s", u.history)
}

// TestKilledMigrationContinues kills 'runnel migrate --run' inside a change of the largest table, and in the last step
// before the new version is recorded. Servers write before, between and after, and a repetition completes the migration.
func TestKilledMigrationContinues(t *testing.T) {
	old := oldBinary(t)
	current, err := runnel.Binary()
	if err != nil {
		t.Fatal(err)
	}
	for name, server := range map[string]func(testing.TB) *servers.Server{"MariaDB": servers.MariaDB, "MySQL": servers.MySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := server(t).Database(t)
			u := &upgrade{file: runnel.WriteConfig(t, "[store]\ntimeout = \"60s\"\n", url), random: runnel.NewRandom(t), history: newHistory()}
			db := servers.Open(t, url)
			u.start(t, current)
			u.write(t)
			u.stop(t, current)
			u.killInLongChange(t, db)
			u.start(t, current)
			u.write(t)
			u.killInLastStep(t, db, old, current)
			t.Logf("%s", u.history)
		})
	}
}

// killInLongChange brings the tables back to schema 2 and kills the change of the table of entries.
func (u *upgrade) killInLongChange(t *testing.T, db *sql.DB) {
	t.Helper()
	execAll(t, db, "DROP TABLE compat", "DELETE FROM schema_version WHERE version_id > 2",
		"ALTER TABLE entries DROP INDEX by_live, DROP INDEX by_expiry, ADD INDEX by_expiry (expires_at)", firstFiller)
	for range runnel.Rounds(14, 18) { // the number of rows doubles
		execAll(t, db, moreFillers)
	}
	u.wantPlan(t, "schema 2,", "--run makes step 3, live", "--run makes step 4, compat", "--run makes step 5, ballots", "--run makes step 6, verification")
	reader := begin(t, db, "SELECT COUNT(*) FROM entries WHERE `key` = ''") // the change cannot begin before this transaction ends
	u.killMigration(t, db, "by_live")
	u.wantPlan(t, "schema 2,", "--run makes step 3, live", "--run makes step 4, compat")
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	u.runMigration(t)
	var columns int
	if err := db.QueryRow("SELECT COUNT(*) FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = 'entries' AND index_name IN ('by_live', 'by_expiry')").
		Scan(&columns); err != nil || columns != 4 {
		t.Errorf("the indexes have %d columns (%v)", columns, err)
	}
	execAll(t, db, "DELETE FROM entries WHERE origin = 'filler'")
}

// killInLastStep kills the migration that records the schema, under an old and a current server that write.
func (u *upgrade) killInLastStep(t *testing.T, db *sql.DB, old, current string) {
	t.Helper()
	u.start(t, old)
	execAll(t, db, "UPDATE compat SET version = 5, oldest_reader = 5, oldest_writer = 5") // as it is before the last statement
	u.write(t)
	holder := begin(t, db, "SELECT COUNT(*) FROM compat WHERE id = 1 LOCK IN SHARE MODE")
	u.killMigration(t, db, "UPDATE compat")
	u.wantPlan(t, "schema 5, for binaries of schema 5 and later\n  --run makes step 6, verification")
	u.write(t)
	if err := holder.Rollback(); err != nil {
		t.Fatal(err)
	}
	u.write(t)
	u.runMigration(t)
	u.write(t)
	u.stop(t, old)
	u.stop(t, current)
}

// The fillers are of an origin without a position, and are deleted before a server starts.
const (
	firstFiller = "INSERT INTO entries (`key`, origin, revision, deleted, content_type, modified_at, checksum, size, value) VALUES (CONCAT('filler/', REPEAT('x', 100), '/0'), 'filler', 1, 0, '', 0, 0, 0, '')"
	moreFillers = "INSERT INTO entries (`key`, origin, revision, deleted, content_type, modified_at, checksum, size, value) SELECT CONCAT(`key`, '/', revision + n), origin, revision + n, 0, '', 0, 0, 0, '' FROM entries JOIN (SELECT MAX(revision) AS n FROM entries WHERE origin = 'filler') AS newest WHERE origin = 'filler'"
)

func execAll(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// begin begins a transaction with a query, and so takes the locks of the query.
func begin(t *testing.T, db *sql.DB, query string) *sql.Tx {
	t.Helper()
	var n int
	tx, err := db.BeginTx(t.Context(), nil)
	if err == nil {
		err = tx.QueryRowContext(t.Context(), query).Scan(&n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// killMigration runs the migration until the server executes a statement with a text, and kills the command.
func (u *upgrade) killMigration(t *testing.T, db *sql.DB, text string) {
	t.Helper()
	p := runnel.Start(t, "migrate", "--run", "--config", u.file)
	runnel.Eventually(t, time.Minute, "the statement "+text, func() error {
		var n int
		err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID() AND info LIKE ?", "%"+text+"%").Scan(&n)
		if err == nil && n == 0 {
			err = fmt.Errorf("it is not executed; the command printed %q", p.Log)
		}
		return err
	})
	p.Kill()
}

func (u *upgrade) runMigration(t *testing.T) {
	t.Helper()
	if out, err := runnel.Run(t, "migrate", "--run", "--config", u.file); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	u.wantPlan(t, fmt.Sprintf("schema %d, for binaries of schema %d and later\n  --finish", partition.SchemaVersion, partition.SchemaVersion-1))
}

// wantPlan fails the test unless the plan has the texts.
func (u *upgrade) wantPlan(t *testing.T, texts ...string) {
	t.Helper()
	plan, err := runnel.Run(t, "migrate", "--plan", "--config", u.file)
	for _, text := range texts {
		if err != nil || !strings.Contains(plan, text) {
			t.Fatalf("want %q: %v\n%s", text, err, plan)
		}
	}
}
