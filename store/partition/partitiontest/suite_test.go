package partitiontest_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
)

// planted names the variable that plants a fault in TestSuite.
const planted = "RUNNEL_PARTITIONTEST_FAULT"

// TestSuite runs the suite on package memory. In a process that TestSuiteFindsFaults starts, it
// runs the suite with a planted fault.
func TestSuite(t *testing.T) {
	plant := func(m *memory.Partition) partition.Partition { return m }
	for _, f := range faults {
		if f.name == os.Getenv(planted) {
			plant = f.plant
		}
	}
	partitiontest.Run(t, func(t *testing.T, name string) partitiontest.Database {
		db := memory.New(name, memory.MaxValue(17<<20))
		return partitiontest.Database{Open: func(*testing.T) partition.Partition { return plant(db.Reopen()) }, PlantSchema: func(_ *testing.T, s partition.Schema) { db.PlantSchema(s) },
			Damage: func(_ *testing.T, k partition.Key, e partition.Entry) { db.Damage(k, e) }}
	})
}

// TestSuiteFindsFaults runs the check that must find a fault until the check finds it, at most 20
// times: some faults need a race or a random sequence.
func TestSuiteFindsFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name+"/"+f.check, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0],
				"-test.run=^TestSuite$/^"+f.check+"$", "-test.timeout=1m", "-test.count=20", "-test.failfast")
			cmd.Env = append(os.Environ(), planted+"="+f.name)
			out, err := cmd.CombinedOutput()
			failed := regexp.MustCompile(`--- FAIL: TestSuite/` + f.check + `\b`).Match(out)
			broken := strings.Contains(string(out), "DATA RACE") || strings.Contains(string(out), "panic:")
			if err == nil || !failed || broken {
				t.Errorf("the check does not find the fault (%v):\n%s", err, out)
			}
		})
	}
}
