package test

import (
	"testing"
)

// TestStartCopiesWhateverTheSchedule: what was written while no sync process ran is
// copied when one starts, not at the next time of a schedule that may be hours away.
func TestStartCopiesWhateverTheSchedule(t *testing.T) {
	t.Parallel()
	file := writeConfig(t, "[sync]\nschedule = \"@every 1h\"\n", threeFiles(t)...)
	told := newHistory()
	for name, args := range map[string][]string{
		"serve": {"serve", "--listen", freeAddress(t), "--config", file},
		"sync":  {"sync", "--config", file},
	} {
		alone := &outageTest{told: told, node: serve(t, "--no-sync", "--config", file), file: file}
		alone.put(t, "before "+name)
		if err := alone.node.stop(t); err != nil {
			t.Fatal(err)
		}
		p := start(t, args...)
		awaitEqual(t, file)
		if err := p.stop(t); err != nil {
			t.Errorf("%s stopped with %v", name, err)
		}
	}
	mustHold(t, "acknowledged writes", told.lost(readContents(t, file)))
}
