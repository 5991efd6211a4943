package test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// TestReplicaWhoseDatabaseIsGoneIsFilledAfresh drops a replica's database. The database is created, joined and
// filled again without a restart, and the log reports the event once.
func TestReplicaWhoseDatabaseIsGoneIsFilledAfresh(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]*servers.Server{"MariaDB": servers.MariaDB(t), "MySQL": servers.MySQL(t)} {
		t.Run(name, func(t *testing.T) {
			replica := server.Database(t)
			file := runnel.WriteConfig(t, outageConfig, "sqlite:"+filepath.Join(t.TempDir(), "0.db"), replica)
			node := runnel.Serve(t, "--config", file)
			n := &outageTest{history: newHistory(), node: node, file: file}
			n.put(t, "before")
			awaitEqual(t, file)

			database := replica[strings.LastIndexByte(replica, '/')+1:]
			db := servers.Open(t, replica)
			if _, err := db.ExecContext(t.Context(), "DROP DATABASE `"+database+"`"); err != nil {
				t.Fatal(err)
			}
			runnel.Eventually(t, 30*time.Second, "the replica is filled afresh", func() error {
				var held int
				err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM `"+database+"`.entries").Scan(&held)
				if err == nil && held == 0 {
					err = fmt.Errorf("it holds nothing")
				}
				return err
			})
			n.awaitState(t, "partition-1", "ready")
			n.put(t, "after")
			awaitEqual(t, file)
			if err := node.Stop(t); err != nil {
				t.Errorf("serve stopped with %v", err)
			}
			runnel.NoFaults(t, "equal", inequalities(readContents(t, file)))
			if log := node.Log.String(); strings.Count(log, "partition cannot be used") > 1 {
				t.Errorf("the log says more than once that the replica cannot be used:\n%s", log)
			}
		})
	}
}
