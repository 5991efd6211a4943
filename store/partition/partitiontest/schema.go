package partitiontest

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

var schemaChecks = []check{
	{"NewTablesAreOfThisBinary", checkNewTables},
	{"FinishShutsOlderBinariesOut", checkFinish},
	{"PrepareLeavesOlderTablesAlone", checkOlderTables},
	{"TablesThatAreTooOldAreRefused", checkTooOldTables},
	{"NewerTablesAreUsedWhileTheyAllow", checkNewerTables},
	{"BinaryThatMayOnlyReadWritesNothing", checkOnlyRead},
	{"BinaryThatIsShutOutIsRefused", checkShutOut},
}

const current = partition.SchemaVersion

// BeforeBallots is the schema of tables that hold ballots and guards, which binaries that know neither may still use.
func BeforeBallots() partition.Schema {
	return partition.Schema{Version: 5, OldestReader: 4, OldestWriter: 4}
}

// PlantSchema sets the compat row of an SQL database without a table prefix.
func PlantSchema(t *testing.T, db *sql.DB, s partition.Schema) {
	t.Helper()
	Exec(t, db, "UPDATE compat SET version = ?, oldest_reader = ?, oldest_writer = ?", s.Version, s.OldestReader, s.OldestWriter)
}

// wantSchema fails the check unless the tables have the schema.
func wantSchema(t *testing.T, p partition.Partition, version, reader, writer int) {
	t.Helper()
	got, err := p.Schema(t.Context())
	must(t, err)
	if want := (partition.Schema{Version: version, OldestReader: reader, OldestWriter: writer}); got != want {
		t.Errorf("the schema is %+v, want %+v", got, want)
	}
}

// migrate returns the versions of the steps that Migrate began.
func migrate(t *testing.T, p partition.Partition) (versions []int) {
	t.Helper()
	must(t, p.Migrate(t.Context(), func(s partition.Step) { versions = append(versions, s.Version) }))
	return versions
}

func checkNewTables(t *testing.T, s suite) {
	n := s.fresh(t, alpha)
	wantSchema(t, n, current, current-1, current-1)
	if began := migrate(t, n); len(began) > 0 {
		t.Errorf("new tables were migrated by %v", began)
	}
	wantSchema(t, n.unprepared(t), current, current-1, current-1)
}

func checkFinish(t *testing.T, s suite) {
	n := s.node(t, alpha)
	for range 2 { // the repetition changes nothing
		must(t, n.unprepared(t).Finish(t.Context()))
		wantSchema(t, n, current, current, current)
		commit(t, n, put("k/a", "1"))
		commit(t, n.open(t), put("k/b", "1"))
	}
}

func checkOlderTables(t *testing.T, s suite) {
	n := s.node(t, alpha)
	n.db.PlantSchema(t, partition.Schema{Version: current - 1, OldestReader: current - 1, OldestWriter: current - 1})
	p := n.open(t)
	wantSchema(t, p, current-1, current-1, current-1)
	if known := p.KnownSchema(); known.Version != current-1 || known.Available() != current {
		t.Errorf("the known schema is %+v", known)
	}
	commit(t, p, put("k/a", "1"))
	wantError(t, p.Finish(t.Context()), partition.ErrRefused)
	steps, err := p.Steps(current - 1)
	must(t, err)
	if began := migrate(t, n.unprepared(t)); len(began) != 1 || began[0] != current || len(steps) != 1 || steps[0].Version != current {
		t.Errorf("migrated by %v, announced %+v", began, steps)
	}
	wantSchema(t, p, current, current-1, current-1)
	commit(t, p, put("k/b", "1"))
	must(t, eventually(t.Context(), func() bool {
		_, err := p.Positions(t.Context())
		return err != nil || p.KnownSchema().Version == current
	}))
	if known := p.KnownSchema(); known.Version != current || known.Available() != 0 {
		t.Errorf("after the migration the known schema is %+v", known)
	}
}

func checkTooOldTables(t *testing.T, s suite) {
	n := s.node(t, alpha)
	n.db.PlantSchema(t, partition.Schema{Version: current - 2, OldestReader: current - 2, OldestWriter: current - 2})
	err := n.unprepared(t).Prepare(t.Context())
	wantError(t, err, partition.ErrRefused)
	if err == nil || !strings.Contains(err.Error(), "runnel migrate --run") {
		t.Errorf("no advice in %v", err)
	}
	wantSchema(t, n, current-2, current-2, current-2)
}

func checkNewerTables(t *testing.T, s suite) {
	n := s.node(t, alpha)
	n.db.PlantSchema(t, partition.Schema{Version: current + 1, OldestReader: current, OldestWriter: current})
	p := n.open(t)
	for _, handle := range []partition.Partition{n, p} {
		_, err := handle.Positions(t.Context())
		must(t, err)
		commit(t, handle, put("k/a", "1"))
	}
	wantError(t, p.Finish(t.Context()), partition.ErrRefused)
	if began := migrate(t, p); len(began) > 0 {
		t.Errorf("newer tables were migrated by %v", began)
	}
	wantSchema(t, p, current+1, current, current)
}

// awaitNotice waits until a running handle has noticed a change of the schema, after which f fails.
func awaitNotice(t *testing.T, p partition.Partition, f func() error) {
	t.Helper()
	must(t, eventually(t.Context(), func() bool {
		_, err := p.Positions(t.Context())
		return err != nil || f() != nil
	}))
}

func checkOnlyRead(t *testing.T, s suite) {
	n, target := s.node(t, alpha), s.node(t, beta)
	commit(t, n, put("k/a", "1"))
	for _, x := range []node{n, target} {
		x.db.PlantSchema(t, partition.Schema{Version: current + 1, OldestReader: current, OldestWriter: current + 1})
	}
	write := func(p partition.Partition) func() error {
		return func() error {
			_, err := p.Commit(t.Context(), partition.Batch{Epoch: epoch, Revisions: 1, Write: []partition.Entry{put("k/b", "1")}})
			return err
		}
	}
	running := n.Partition
	awaitNotice(t, running, write(running))
	before := position(t, n, alpha)
	for _, p := range []partition.Partition{running, n.open(t)} {
		wantError(t, write(p)(), partition.ErrRefused)
		if got := get(t, p, "k/a"); len(got) != 1 {
			t.Errorf("%d entries are read, want 1", len(got))
		}
	}
	if after := position(t, n, alpha); after != before {
		t.Errorf("the position moved from %+v to %+v", before, after)
	}
	copies := target.open(t)
	wantError(t, copies.Apply(t.Context(), partition.Copy{Origin: alpha, To: 1, Goal: 1}), partition.ErrRefused)
	wantError(t, copies.Reset(t.Context(), alpha), partition.ErrRefused)
	_, err := copies.Acquire(t.Context(), "x", time.Second)
	wantError(t, err, partition.ErrRefused)
}

func checkShutOut(t *testing.T, s suite) {
	n := s.node(t, alpha)
	commit(t, n, put("k/a", "1"))
	n.db.PlantSchema(t, partition.Schema{Version: current + 1, OldestReader: current + 1, OldestWriter: current + 1})
	err := n.unprepared(t).Prepare(t.Context())
	wantError(t, err, partition.ErrRefused)
	if err == nil || !strings.Contains(err.Error(), "use a newer runnel") {
		t.Errorf("no advice in %v", err)
	}
	running := n.Partition
	must(t, eventually(t.Context(), func() bool {
		_, err = running.Positions(t.Context())
		return err != nil
	}))
	wantError(t, err, partition.ErrRefused)
	if _, err := running.Get(t.Context(), []partition.Key{"k/a"}); err == nil {
		t.Error("a process that is shut out reads")
	}
	n.db.PlantSchema(t, partition.Schema{Version: current, OldestReader: current, OldestWriter: current})
	must(t, running.Prepare(t.Context()))
	commit(t, running, put("k/b", "1"))
}

// DamageSQL replaces a row of an SQL database without a table prefix.
func DamageSQL(t *testing.T, db *sql.DB, k partition.Key, e partition.Entry) {
	t.Helper()
	var metadata, expires any
	if len(e.Metadata) > 0 {
		metadata = e.Metadata
	}
	if e.ExpiresAt != 0 {
		expires = int64(e.ExpiresAt)
	}
	Exec(t, db, "UPDATE entries SET `key` = ?, origin = ?, revision = ?, deleted = ?, content_type = ?, metadata = ?, modified_at = ?, expires_at = ?, checksum = ?, size = ?, value = ? WHERE `key` = ?",
		[]byte(e.Key), string(e.Origin), int64(e.Revision), e.Deleted, []byte(e.ContentType), metadata, int64(e.ModifiedAt), expires, int64(e.Checksum), e.Size, e.Value, []byte(k))
}
