package sync

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"testing/synctest"
	"time"
)

// endedProcess returns the number of a process that has ended.
func endedProcess(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestLeaseOfAnEndedProcessOfThisHostIsTakenOverAtOnce(t *testing.T) {
	ended := endedProcess(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		w.write("p0", "a", "1")
		host, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		dead := fmt.Sprintf("%s-%d-another-x", host, ended)
		if _, err := w.bases["p1"].Acquire(t.Context(), dead, 15*time.Second); err != nil {
			t.Fatal(err)
		}
		c := w.site()
		c.level()
		// Later the process waits: a different host may have the same name.
		if _, err := w.bases["p1"].Acquire(t.Context(), dead, 15*time.Second); err != nil {
			t.Fatal(err)
		}
		w.write("p0", "b", "1")
		if r := c.pass(); r.of("p1").State != Standby {
			t.Errorf("the report says\n%s", r)
		}
	})
}
