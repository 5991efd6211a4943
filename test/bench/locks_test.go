package main

import (
	"io"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
)

// TestLocksMeasureWhatTheyName runs the phase on embedded partitions, and beside etcd where it is installed. The lock that protects a
// key is held during the measurements, and so are the others.
func TestLocksMeasureWhatTheyName(t *testing.T) {
	s := newTestbed(t)
	b := &bench{testbed: s, client: client{s.Runnel}, progress: newProgress(io.Discard),
		settings: settings{rounds: 1, duration: time.Second, keys: 1000, seed: 1}}
	puts, lockers, err := s.StartLocks(t.Context())
	if err == nil {
		err = b.measureLocks(t.Context(), puts, lockers)
	}
	if err != nil {
		t.Fatal(err)
	}
	three, alone := report.Lockers(report.Embedded)
	for _, name := range []string{three, alone} {
		if m := report.Find(b.results, name, report.LockMany); m == nil || len(m.Rounds) != 1 || m.Rounds[0].Requests == 0 {
			t.Errorf("%s: %+v", name, m)
		}
	}
	for i, held := range []string{report.NoLocks, report.ManyLocks, report.OneGuard} {
		m := report.Find(b.results, report.LockPut(report.Embedded, held), report.LockPutPoints()[0])
		if m == nil || m.Rounds[0].Requests == 0 || report.Failures(b.results) > 0 {
			t.Errorf("%s: %+v", held, m)
		}
		want := []string{"", "v100-", "guarded"}[i]
		if name, err := puts[i].FirstLock(t.Context()); err != nil || len(name) < len(want) || name[:len(want)] != want || want == "" && name != "" {
			t.Errorf("%s: the first lock is %q, %v", held, name, err)
		}
	}
}
