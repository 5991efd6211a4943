package test

import (
	"testing"
)

// TestStartCopiesWhateverTheSchedule: what was written while no sync process ran is
// copied when one starts, not at the next time of a schedule that may be hours away.
func TestStartCopiesWhateverTheSchedule(t *testing.T) {
	t.Parallel()
	file := WriteConfig(t, "[sync]\nschedule = \"@every 1h\"\n", ThreeFiles(t)...)
	told := newHistory()
	for name, args := range map[string][]string{
		"serve": {"serve", "--listen", FreeAddress(t), "--config", file},
		"sync":  {"sync", "--config", file},
	} {
		alone := &outageTest{told: told, node: Serve(t, "--no-sync", "--config", file), file: file}
		alone.put(t, "before "+name)
		if err := alone.node.Stop(t); err != nil {
			t.Fatal(err)
		}
		p := Start(t, args...)
		awaitEqual(t, file)
		if err := p.Stop(t); err != nil {
			t.Errorf("%s stopped with %v", name, err)
		}
	}
	NoFaults(t, "acknowledged writes", told.lost(readContents(t, file)))
}
