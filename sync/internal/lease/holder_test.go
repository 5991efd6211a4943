package lease

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

func TestHolderHasEndedOnlyWhereItIsCertain(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	ended := cmd.Process.Pid
	for holder, want := range map[string]bool{
		NewHolder(): false,
		fmt.Sprintf("%s-%d-another-x", hostName(), os.Getpid()): true, // an earlier process of the same number
		fmt.Sprintf("%s-%d-another-x", hostName(), ended):       true,
		fmt.Sprintf("%s-%d-another-x", hostName(), 1):           false,
		fmt.Sprintf("elsewhere-%d-another-x", ended):            false,
		fmt.Sprintf("%s-%d-x", hostName(), ended):               false, // of an older version
		"another process": false,
		"":                false,
	} {
		if got := HasEnded(holder); got != want {
			t.Errorf("HasEnded(%q) = %v", holder, got)
		}
	}
}
