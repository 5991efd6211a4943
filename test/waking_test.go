package test

import (
	"testing"

	"github.com/runnelkv/runnel/test/runnel"
)

// TestStartCopiesWhateverTheSchedule: what was written while no sync process ran is
// copied when one starts, not at the next time of a schedule that may be hours away.
func TestStartCopiesWhateverTheSchedule(t *testing.T) {
	t.Parallel()
	file := runnel.WriteConfig(t, "[sync]\nschedule = \"@every 1h\"\n", runnel.ThreeFiles(t)...)
	told := newHistory()
	for name, args := range map[string][]string{
		"serve": {"serve", "--listen", runnel.FreeAddress(t), "--config", file},
		"sync":  {"sync", "--config", file},
	} {
		alone := &outageTest{told: told, node: runnel.Serve(t, "--no-sync", "--config", file), file: file}
		alone.put(t, "before "+name)
		if err := alone.node.Stop(t); err != nil {
			t.Fatal(err)
		}
		p := runnel.Start(t, args...)
		awaitEqual(t, file)
		if err := p.Stop(t); err != nil {
			t.Errorf("%s stopped with %v", name, err)
		}
	}
	runnel.NoFaults(t, "acknowledged writes", told.lost(readContents(t, file)))
}
