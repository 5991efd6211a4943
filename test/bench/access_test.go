package main

import (
	"io"
	"slices"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/bench/internal/testbed"
)

// TestAccessMeasuresWhatItNames runs the phase on real servers, and every ratio has its figures. Each server behaves as its name says: a server that demands
// a key refuses the same requests without, and a server that speaks TLS refuses them without TLS.
func TestAccessMeasuresWhatItNames(t *testing.T) {
	s := newTestbed(t)
	b := &bench{testbed: s, client: client{s.Runnel}, progress: newProgress(io.Discard),
		settings: settings{rounds: 1, duration: 100 * time.Millisecond, keys: 1000, seed: 1}}
	systems, err := s.StartAccess(t.Context())
	if err == nil {
		err = b.measureAccess(t.Context(), systems)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range report.AccessSystems {
		for _, p := range report.AccessPoints() {
			m := report.Find(b.results, name, p)
			if m == nil || len(m.Rounds) != 1 || m.Rounds[0].Requests == 0 || report.Failures([]*report.Measurement{m}) > 0 {
				t.Errorf("%s, %s: %+v", name, p, m)
			}
		}
	}
	ran := func(p report.Phase) bool { return p == report.AccessPhase }
	for _, o := range report.Outcomes(b.results, ran, false, func(string, string) string { return "" }) {
		if !o.Available {
			t.Errorf("%s: %s", o.Name, o.Why)
		}
	}
	for _, c := range []struct {
		name    string
		spoil   func(*testbed.System)
		refused []string // systems
	}{
		{"without TLS", func(s *testbed.System) { s.CAFile = "" }, []string{report.SecureRunnel, report.SecureCeiling}},
		// Last, because a server refuses an address after some requests without a key.
		{"without a key", func(s *testbed.System) { s.Header = nil }, []string{report.KeyedRunnel, report.SecureRunnel}},
	} {
		for _, system := range systems {
			spoiled := *system
			c.spoil(&spoiled)
			r, err := b.client.run(t.Context(), &spoiled, b.plan(&spoiled, report.GetMany))
			refused := slices.Contains(c.refused, system.Name)
			if err != nil || refused != (r.Errors > 0) || refused != (r.Requests == 0) {
				t.Errorf("%s %s: %+v, %v", system.Name, c.name, r, err)
			}
		}
	}
}
