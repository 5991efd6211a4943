package sqlengine_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

const (
	dropGuarded      = "ALTER TABLE positions DROP COLUMN guarded"
	dropVerification = "DROP TABLE verification"
)

// unaware turns the tables into those of a binary from before the compat row.
func (d database) unaware(t *testing.T) {
	t.Helper()
	for _, statement := range []string{dropVerification, "DROP TABLE ballots", dropGuarded, "DROP TABLE compat", "DELETE FROM schema_version WHERE version_id > 3"} {
		partitiontest.Exec(t, d.sql, statement)
	}
}

// before turns the tables into those of the version before, which binaries without ballots may use.
func (d database) before(t *testing.T) {
	t.Helper()
	partitiontest.Exec(t, d.sql, dropVerification)
	partitiontest.PlantSchema(t, d.sql, partitiontest.BeforeBallots())
}

// joined returns a partition that belongs to a cluster.
func (d database) joined(t *testing.T) *sqlengine.Engine {
	t.Helper()
	p := d.prepared(t, sqlengine.Options{Name: "a"})
	partitiontest.Join(t, p)
	return p
}

// wantTables fails the test unless the tables have the schema, and schema_version the latest version.
func (d database) wantTables(t *testing.T, p partition.Partition, want partition.Schema, latest int) {
	t.Helper()
	got, err := p.Schema(t.Context())
	if err != nil || got != want {
		t.Errorf("the schema is %+v (%v), want %+v", got, err, want)
	}
	var version int
	if err := d.sql.QueryRow("SELECT MAX(version_id) FROM schema_version").Scan(&version); err != nil || version != latest {
		t.Errorf("schema_version has %d (%v), want %d", version, err, latest)
	}
}

func migrate(t *testing.T, p partition.Partition) (versions []int) {
	t.Helper()
	if err := p.Migrate(t.Context(), func(s partition.Step) { versions = append(versions, s.Version) }); err != nil {
		t.Fatal(err)
	}
	return versions
}

// TestTablesOfTheVersionBeforeAreUsedAndMigrated: a running process works on the tables before and after the migration,
// and reads the new row. Masters can move only when older binaries are shut out, and only then are there row checksums.
func TestTablesOfTheVersionBeforeAreUsedAndMigrated(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		d.prepared(t, sqlengine.Options{Name: "a"})
		d.before(t)
		running := d.prepared(t, sqlengine.Options{Name: "a"})
		d.wantTables(t, running, partition.Schema{Version: 6, OldestReader: 5, OldestWriter: 5}, 4) // a start completes unused tables
		partitiontest.Join(t, running)
		d.before(t)
		running = d.prepared(t, sqlengine.Options{Name: "a"})
		d.wantTables(t, running, partitiontest.BeforeBallots(), 4)
		row, err := running.Cluster(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		row.Epoch = 2
		if row, err = running.Accept(t.Context(), row); err != nil || row.Epoch != 2 {
			t.Fatalf("a later epoch gave %+v, %v", row, err)
		}
		d.commitsWith(t, running, false)
		if _, err := running.Promise(t.Context(), 1); !errors.Is(err, partition.ErrRefused) || !strings.Contains(err.Error(), "migrate --finish") {
			t.Errorf("a promise: %v", err)
		}
		if began := migrate(t, d.open(sqlengine.Options{Name: "a"})); fmt.Sprint(began) != "[6]" {
			t.Errorf("migrated by %v", began)
		}
		d.wantTables(t, running, partition.Schema{Version: 6, OldestReader: 5, OldestWriter: 5}, 4)
		d.commitsWith(t, running, false)
		if err := d.open(sqlengine.Options{Name: "a"}).Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.wantTables(t, running, partition.Schema{Version: 6, OldestReader: 6, OldestWriter: 6}, 4)
		awaitSchema(t, running, 6)
		d.commitsWith(t, running, true)
		if row, err := running.Promise(t.Context(), 1); err != nil || row.Promised != 1 || row.Epoch != 2 {
			t.Errorf("a promise: %+v, %v", row, err)
		}
		partitiontest.PlantSchema(t, d.sql, partition.Schema{Version: 7, OldestReader: 7, OldestWriter: 7})
		awaitRefusal(t, running)
	})
}

// commitsWith fails the test unless the partition commits, with or without row checksums.
func (d database) commitsWith(t *testing.T, p partition.Partition, rowChecksums bool) {
	t.Helper()
	b := partitiontest.Blind(3, 0)
	b.Epoch = 2
	if _, err := p.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for _, e := range partitiontest.GetAll(t, p, b.Write) {
		if e.HasRowChecksum() != rowChecksums || !e.Intact() {
			t.Errorf("%s has a row checksum: %v, intact: %v", e.Key, e.HasRowChecksum(), e.Intact())
		}
	}
}

// awaitSchema waits until a running process has read that binaries before a version are shut out.
func awaitSchema(t *testing.T, running partition.Partition, oldest int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); running.KnownSchema().OldestReader < oldest; {
		if _, err := running.Positions(t.Context()); err != nil || time.Now().After(deadline) {
			t.Fatalf("the known schema is %+v, %v", running.KnownSchema(), err)
		}
	}
}

// awaitRefusal waits until a running process has read the compat row that shuts the process out.
func awaitRefusal(t *testing.T, running partition.Partition) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err := running.Positions(t.Context()); err != nil {
			partitiontest.RequireError(t, err, partition.ErrRefused)
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a process that began before the migration does not read the compat row")
		}
	}
}

// TestTablesFromBeforeTheCompatRowAreMigrated: they are two versions old, so no process of theirs may run on.
func TestTablesFromBeforeTheCompatRowAreMigrated(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		d.joined(t)
		d.unaware(t)
		p := d.open(sqlengine.Options{Name: "a"})
		d.wantTables(t, p, partition.Schema{Version: 3, OldestReader: 3, OldestWriter: 3}, 3)
		partitiontest.RequireError(t, p.Prepare(t.Context()), partition.ErrRefused)
		if began := migrate(t, p); fmt.Sprint(began) != "[4 5 6]" {
			t.Errorf("migrated by %v", began)
		}
		d.wantTables(t, p, partition.Created(), 4)
		commitTo(t, d.prepared(t, sqlengine.Options{Name: "a"}))
	})
}

// TestBallotsWithoutARowAreDamage: nothing is promised that is not stored.
func TestBallotsWithoutARowAreDamage(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		p := d.joined(t)
		if err := p.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		partitiontest.Exec(t, d.sql, "DELETE FROM ballots")
		_, err := p.Promise(t.Context(), 1)
		partitiontest.RequireError(t, err, partition.ErrRefused)
		if _, err := p.Cluster(t.Context()); err != nil {
			t.Errorf("the row: %v", err)
		}
	})
}

// TestDamagedMapIsRefused changes the map in the table.
func TestDamagedMapIsRefused(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		p := d.joined(t)
		move := `{"masters":["a"],"slots":[0],"moves":[{"slots":"%s","from":"a","to":"b","began":3,"done":%d}]}`
		for text, damaged := range map[string]bool{
			fmt.Sprintf(move, "AQ==", 3): false,
			fmt.Sprintf(move, "AQ==", 0): false,
			fmt.Sprintf(move, "AQ==", 2): true,
			fmt.Sprintf(move, "", 3):     true,
			fmt.Sprintf(move, "AQEB", 3): true,
			`{"masters":`:                true,
		} {
			partitiontest.Exec(t, d.sql, "UPDATE cluster SET map = ?", text)
			if _, err := p.Cluster(t.Context()); errors.Is(err, partition.ErrRefused) != damaged || err != nil != damaged {
				t.Errorf("%s: %v", text, err)
			}
		}
	})
}

func commitTo(t *testing.T, p partition.Partition) {
	t.Helper()
	if _, err := p.Commit(t.Context(), partitiontest.Blind(3, 0)); err != nil {
		t.Fatal(err)
	}
}

// TestUnusedTablesAreCompleted: tables that belong to no cluster hold nothing, and a start that was cut short
// continues.
func TestUnusedTablesAreCompleted(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		d.prepared(t, sqlengine.Options{Name: "a"})
		d.unaware(t)
		d.wantTables(t, d.prepared(t, sqlengine.Options{Name: "a"}), partition.Created(), 4)
	})
}

func TestMigrationsThatRaceEndWell(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		d.joined(t)
		d.unaware(t)
		var racing sync.WaitGroup
		for range 4 {
			p := d.open(sqlengine.Options{Name: "a"})
			racing.Go(func() {
				if err := p.Migrate(t.Context(), func(partition.Step) {}); err != nil {
					t.Error(err)
				}
			})
		}
		racing.Wait()
		p := d.prepared(t, sqlengine.Options{Name: "a"})
		d.wantTables(t, p, partition.Created(), 4)
		commitTo(t, p)
	})
}

// TestMigrationsThatWereCutShortContinue begins with the states that a killed migration leaves.
func TestMigrationsThatWereCutShortContinue(t *testing.T) {
	for name, cut := range map[string][]string{
		"no compat row":            {"DELETE FROM compat", "DELETE FROM schema_version WHERE version_id > 3"},
		"a compat row, unrecorded": {"UPDATE compat SET version = 3"},
		"no ballots":               {"UPDATE compat SET version = 4", "DELETE FROM ballots"},
		"no state of verification": {"UPDATE compat SET version = 5", "DELETE FROM verification"},
		"ballots, unrecorded":      {"UPDATE compat SET version = 4", "DELETE FROM schema_version WHERE version_id > 3"},
		"older binaries shut out":  {"UPDATE compat SET version = 4"},
		"the second of three":      {"DROP TABLE compat", "DELETE FROM schema_version WHERE version_id > 2"},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, d database) {
				d.joined(t)
				for _, statement := range cut {
					partitiontest.Exec(t, d.sql, statement)
				}
				if strings.HasPrefix(cut[0], "DROP") && strings.HasSuffix(t.Name(), "SQLite") {
					partitiontest.Exec(t, d.sql, "DROP INDEX entries_by_live") // a migration of SQLite is a transaction
				}
				p := d.open(sqlengine.Options{Name: "a"})
				migrate(t, p)
				d.wantTables(t, p, partition.Created(), 4)
				commitTo(t, d.prepared(t, sqlengine.Options{Name: "a"}))
			})
		})
	}
}

// TestTablesOfTwoVersionsBeforeAreRefused until they are migrated.
func TestTablesOfTwoVersionsBeforeAreRefused(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		d.joined(t)
		partitiontest.PlantSchema(t, d.sql, partition.Schema{Version: 2, OldestReader: 2, OldestWriter: 2})
		p := d.open(sqlengine.Options{Name: "a"})
		partitiontest.RequireError(t, p.Prepare(t.Context()), partition.ErrRefused)
	})
}

// TestStepsEndAtTheVersionOfThisBinary: the files of every kind have the same numbers and names.
func TestStepsEndAtTheVersionOfThisBinary(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		steps, err := d.open(sqlengine.Options{Name: "a", TablePrefix: "x_"}).Steps(0)
		if err != nil || len(steps) != partition.SchemaVersion {
			t.Fatalf("%d steps (%v), want %d", len(steps), err, partition.SchemaVersion)
		}
		for i, want := range []string{"tables", "expiry", "live", "compat", "ballots", "verification"} {
			s := steps[i]
			if s.Version != i+1 || s.Name != want || !strings.Contains(s.SQL, "x_") || strings.Contains(s.SQL, "{p}") || strings.HasPrefix(s.SQL, "--") {
				t.Errorf("step %d, want %s: %+v", i+1, want, s)
			}
		}
	})
}
