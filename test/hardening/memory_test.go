package hardening

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// memoryPeak begins a measurement of the memory of a process. The result of grown is how much the resident memory has
// grown at its peak since then, in bytes.
func memoryPeak(t *testing.T, pid int) (grown func() int) {
	t.Helper()
	const resetPeak = "5" // man 5 proc_pid_clear_refs
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte(resetPeak), 0); err != nil {
		t.Fatal(err)
	}
	before := memoryOf(t, pid, "VmRSS")
	return func() int {
		t.Helper()
		return memoryOf(t, pid, "VmHWM") - before
	}
}

// memoryOf returns a figure of the status of a process, in bytes.
func memoryOf(t *testing.T, pid int, name string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no %s in %s", name, status)
	}
	kilobytes, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}
