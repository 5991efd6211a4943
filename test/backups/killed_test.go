package backups

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// TestKilledRestoreIsUnusedAndContinues kills a restore amid its entries, beside a running server. The server does not use
// the partition, and uses it by itself after the restore was repeated.
func TestKilledRestoreIsUnusedAndContinues(t *testing.T) {
	t.Parallel()
	for kind, create := range map[string]func(*testing.T) site{
		"SQLite":  onFiles,
		"MariaDB": func(t *testing.T) site { return onServer(t, servers.MariaDB(t)) },
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			killRestore(t, create(t))
		})
	}
}

func killRestore(t *testing.T, s site) {
	node := runnel.Serve(t, "--config", s.file)
	mustRun(t, "import", writeLines(t, 15_000), "--server", node.URL)
	backup := filepath.Join(t.TempDir(), "backup")
	runnel.Eventually(t, time.Minute, "a level pass", func() error {
		_, err := runnel.Run(t, "sync", "--now", "--server", node.URL)
		return err
	})
	mustRun(t, "backup", "--config", s.file, "--partition", "partition-0", backup)
	if err := node.Stop(t); err != nil {
		t.Fatal(err)
	}
	s.empty(2)
	began := time.Now()
	restore := []string{"restore", "--config", s.file, "--partition", "partition-2", backup}
	for killAmid(t, s, restore) != nil {
		if time.Since(began) > 2*time.Minute {
			t.Fatal("no restore was killed amid its entries")
		}
		s.empty(2)
	}
	node = runnel.Serve(t, "--config", s.file)
	runnel.Eventually(t, time.Minute, "refusal", func() error {
		return wantState(t, node.URL, "refused", "a backup is being restored to this database")
	})
	if out := mustRun(t, restore...); !strings.Contains(out, "an earlier restore was completed") {
		t.Errorf("printed %q", out)
	}
	node.AwaitOK(t, "/readyz?write")
	runnel.Eventually(t, time.Minute, "readiness", func() error {
		return wantState(t, node.URL, "ready", "")
	})
	if err := node.Stop(t); err != nil {
		t.Fatal(err)
	}
	runnel.SyncOnce(t, s.file)
	runnel.NoFaults(t, "partition-2", faultsOf(read(t, s.file, 0), read(t, s.file, 2)))
}

// killAmid kills a restore when the first entries have arrived. An error says that it was over by then.
func killAmid(t *testing.T, s site, args []string) error {
	p := openPartition(t, s.file, 2)
	defer p.Close()
	if err := p.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	running := runnel.Start(t, args...)
	for deadline := time.Now().Add(time.Minute); ; {
		at, err := p.Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(at.Origins) > 0 || time.Now().After(deadline) {
			break
		}
	}
	running.Kill()
	row, err := p.Cluster(t.Context())
	if err != nil || row.Epoch != partition.RestoringEpoch {
		return fmt.Errorf("%+v, %w", row, err)
	}
	return nil
}

// writeLines writes a file for import.
func writeLines(t *testing.T, n int) string {
	t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"key\":\"line/%d\",\"value\":\"value %d\"}\n", i, i)
	}
	name := filepath.Join(t.TempDir(), "lines.ndjson")
	if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// wantState returns an error unless the last partition of a server has this state and reason.
func wantState(t *testing.T, url, state, reason string) error {
	status, answer, _ := exchange(t.Context(), "GET", url+"/v1/status", "", http.Header{"Accept": {"application/json"}})
	var st wire.Status
	if err := json.Unmarshal([]byte(answer), &st); status != http.StatusOK || err != nil {
		return fmt.Errorf("%d %s, %w", status, answer, err)
	}
	last := st.Partitions[len(st.Partitions)-1]
	if string(last.State) != state || !strings.Contains(answer, reason) {
		return fmt.Errorf("%s", answer)
	}
	return nil
}
