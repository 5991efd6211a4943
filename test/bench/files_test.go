package main

import (
	"io"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
)

// TestFilesAreStoredAndRead runs the phase on embedded partitions and the bare handlers.
func TestFilesAreStoredAndRead(t *testing.T) {
	s := newTestbed(t)
	b := &bench{testbed: s, client: client{s.Runnel}, progress: newProgress(io.Discard),
		settings: settings{rounds: 1, duration: 100 * time.Millisecond, keys: 1000, seed: 1}}
	systems, err := s.StartFiles(t.Context())
	points := []report.Point{report.FilePut, report.FileGet}
	if err == nil {
		err = b.measureFiles(t.Context(), systems, points)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{report.OurFiles(report.Embedded), report.DiskFiles, report.NoFiles} {
		for _, p := range points {
			m := report.Find(b.results, name, p)
			if m == nil || m.Rounds[0].PerSecond <= 0 || m.Rounds[0].Requests < leastSamples*int64(p.Clients) || m.Rounds[0].ServerCPU <= 0 {
				t.Errorf("%s, %s: %+v", name, p, m)
			}
		}
	}
}
