package test

import (
	"testing"

	"github.com/runnelkv/runnel/test/runnel"
)

// TestStartCopiesWhateverTheSchedule: a sync process that starts copies earlier writes at once, although the next
// scheduled pass is hours away.
func TestStartCopiesWhateverTheSchedule(t *testing.T) {
	t.Parallel()
	file := runnel.WriteConfig(t, "[sync]\nschedule = \"@every 1h\"\n", runnel.ThreeFiles(t)...)
	told := newHistory()
	for name, args := range map[string][]string{
		"serve": {"serve", "--listen", runnel.FreeAddress(t), "--config", file},
		"sync":  {"sync", "--config", file},
	} {
		alone := &outageTest{history: told, node: runnel.Serve(t, "--no-sync", "--config", file), file: file}
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
	runnel.NoFaults(t, "acknowledged writes", told.violations(readContents(t, file)))
}
