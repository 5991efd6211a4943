package runnel

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Eventually repeats try every 20 ms until try returns nil. After the given time the test fails with the last error.
func Eventually(t testing.TB, within time.Duration, what string, try func() error) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("%s: still not after %v: %v", what, within, err)
		case <-tick.C:
		}
	}
}

// NoFaults ends the test if a check found faults. The message shows the first twelve.
func NoFaults(t testing.TB, what string, faults []string) {
	t.Helper()
	if len(faults) > 0 {
		t.Fatalf("%s: %d faults\n%s", what, len(faults), strings.Join(faults[:min(len(faults), 12)], "\n"))
	}
}

// WantFaults fails the test unless a check found faults, if want, or found none. A test uses WantFaults to show that the
// check detects a planted fault.
func WantFaults(t testing.TB, what string, faults []string, want bool) {
	t.Helper()
	if (len(faults) > 0) != want {
		t.Errorf("the check of %s found %d faults, want some: %v\n%s", what, len(faults), want, strings.Join(faults, "\n"))
	}
}

// SyncOnce runs "runnel sync --once", which has to succeed.
func SyncOnce(t testing.TB, file string) {
	t.Helper()
	if out, err := Run(t, "sync", "--once", "--config", file); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// ProblemOf returns the last part of the type of an RFC 9457 problem, or "" if the body is not a problem.
func ProblemOf(body []byte) string {
	var p struct{ Type string }
	if json.Unmarshal(body, &p) != nil {
		return ""
	}
	return strings.TrimPrefix(p.Type, "/problems/")
}

// Rounds returns long if RUNNEL_TEST_LONG=1, else short.
func Rounds(short, long int) int {
	if os.Getenv("RUNNEL_TEST_LONG") == "1" {
		return long
	}
	return short
}

// NewRandom logs the seed. RUNNEL_TEST_SEED sets the seed.
func NewRandom(t testing.TB) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("RUNNEL_TEST_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("RUNNEL_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// MasterRead is the query of a read that the master answers.
const MasterRead = "?consistency=master"
