package migrate_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/cmd/runnel/internal/migrate"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

const known = partition.SchemaVersion

// before returns a partition of the schema before, and a partition of this schema.
func before() (older, current *memory.Partition, both []partition.Partition) {
	older, current = memory.New("older"), memory.New("current")
	older.PlantSchema(partition.Schema{Version: known - 1, OldestReader: known - 1, OldestWriter: known - 1})
	return older, current, []partition.Partition{older, current}
}

func wantSchema(t *testing.T, p partition.Partition, version, oldest int) {
	t.Helper()
	got, err := p.Schema(t.Context())
	if err != nil || got.Version != version || got.OldestReader != oldest || got.OldestWriter != oldest {
		t.Errorf("%s has %+v (%v), want %d for %d and later", p.Name(), got, err, version, oldest)
	}
}

// down makes a partition unreachable until the returned function is called.
func down(p *memory.Partition) (up func()) {
	p.Fail(func(string) error { return partition.ErrUnavailable })
	return func() { p.Fail(nil) }
}

func TestPlanChangesNothing(t *testing.T) {
	older, current, both := before()
	var out strings.Builder
	if err := migrate.Plan(t.Context(), &out, both); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"older: schema 5, for binaries of schema 5 and later\n  --run makes step 6, ", "processes of schema 5 continue",
		"current: schema 6, for binaries of schema 5 and later\n  --finish shuts out processes before schema 6\n"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("%q is not in the plan:\n%s", line, out.String())
		}
	}
	wantSchema(t, older, known-1, known-1)
	wantSchema(t, current, known, known-1)
}

func TestRunGoesOnPastAnUnreachablePartition(t *testing.T) {
	older, current, both := before()
	up := down(current)
	both[0], both[1] = both[1], both[0]
	var out, progress strings.Builder
	if err := migrate.Run(t.Context(), &out, &progress, both); !errors.Is(err, partition.ErrUnavailable) || !strings.Contains(err.Error(), "current: ") {
		t.Errorf("the error is %v", err)
	}
	up()
	wantSchema(t, older, known, known-1)
	if !strings.HasPrefix(progress.String(), "older: step 6") || !strings.HasPrefix(out.String(), "older: schema 6") {
		t.Errorf("progress %q, output %q", progress.String(), out.String())
	}
}

// TestInterruptedRunSaysSo in place of the errors that the end of the context has caused, and leaves the next partition alone.
func TestInterruptedRunSaysSo(t *testing.T) {
	older, current, _ := before()
	ctx, end := context.WithCancel(t.Context())
	current.Fail(func(string) error { end(); return partition.ErrUnavailable })
	err := migrate.Run(ctx, io.Discard, io.Discard, []partition.Partition{current, older})
	if err == nil || err.Error() != "interrupted; repeat the command to continue" {
		t.Errorf("the error is %v", err)
	}
	wantSchema(t, older, known-1, known-1)
}

func TestFinishIsForAllPartitionsOrNone(t *testing.T) {
	older, current, both := before()
	if err := migrate.Finish(t.Context(), io.Discard, both); !errors.Is(err, partition.ErrRefused) || !strings.Contains(err.Error(), "older: ") {
		t.Errorf("with a partition that was not migrated: %v", err)
	}
	wantSchema(t, current, known, known-1)
	if err := migrate.Run(t.Context(), io.Discard, io.Discard, both); err != nil {
		t.Fatal(err)
	}
	up := down(current)
	if err := migrate.Finish(t.Context(), io.Discard, both); !errors.Is(err, partition.ErrUnavailable) {
		t.Errorf("with an unreachable partition: %v", err)
	}
	wantSchema(t, older, known, known-1)
	up()
	if err := migrate.Finish(t.Context(), io.Discard, both); err != nil {
		t.Fatal(err)
	}
	wantSchema(t, older, known, known)
	wantSchema(t, current, known, known)
}
