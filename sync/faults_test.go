package sync

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// fault is a defect of every handle of a world; "" is none.
type fault string

const (
	movesAlone      fault = "Apply moves the position without its rows"
	skipsLast       fault = "Apply leaves the last entry of a copy out"
	buriesUnchecked fault = "the commit of a sweep does not look whether an entry has still expired"
	collectsEarly   fault = "tombstones are collected before all have passed them"
	collectsUnnoted fault = "nobody is told up to where tombstones were collected"
)

var faults = []fault{movesAlone, skipsLast, buriesUnchecked, collectsEarly, collectsUnnoted}

func (f fault) apply(ctx context.Context, m *memory.Partition, c partition.Copy) error {
	switch n := len(c.Entries); {
	case f == movesAlone:
		c.Entries = nil
	case f == skipsLast && n > 0:
		c.Entries = c.Entries[:n-1]
	}
	return m.Apply(ctx, c)
}

// claim is the claim that a sweep receives.
func (f fault) claim(c partition.Claim) partition.Claim {
	if f == buriesUnchecked {
		for i := range c.Current {
			c.Current[i].ExpiresAt = 1
		}
	}
	return c
}

func (f fault) collect(m *memory.Partition, o partition.Origin, upTo partition.Revision) partition.Revision {
	if f != collectsEarly {
		return upTo
	}
	at, err := m.Positions(context.Background())
	if err != nil {
		return upTo
	}
	return at.Origins[o].Revision
}

func (f fault) position(p partition.Position) partition.Position {
	if f == collectsUnnoted {
		p.Collected = 0
	}
	return p
}

func (f fault) positions(at partition.Positions) partition.Positions {
	if f != collectsUnnoted {
		return at
	}
	at.Origins = maps.Clone(at.Origins)
	for o, p := range at.Origins {
		at.Origins[o] = f.position(p)
	}
	return at
}

// TestConvergenceFindsPlantedFaults: the property does not hold with any of these faults.
func TestConvergenceFindsPlantedFaults(t *testing.T) {
	rapidly(t, "rapid.nofailfile", "true")
	rapidly(t, "rapid.shrinktime", "0s")
	rapidly(t, "rapid.checks", "5000")
	for _, f := range faults {
		t.Run(strings.ReplaceAll(string(f), " ", "_"), func(t *testing.T) {
			v := &verdict{T: t}
			v.of(func() { rapid.Check(v, converges(f)) })
			if !v.failed {
				t.Errorf("not found:\n%s", v.said.String())
			}
		})
	}
}

// rapidly sets a flag of rapid during a test, unless the command line sets the flag.
func rapidly(t *testing.T, name, value string) {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	old := flag.Lookup(name).Value.String()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, old) }) // to the old value
}

// verdict is a test that is expected to fail.
type verdict struct {
	*testing.T
	failed bool
	said   strings.Builder
}

// of runs a test until the test ends or gives up.
func (v *verdict) of(test func()) {
	defer func() {
		if p := recover(); p != nil && p != any(v) {
			panic(p)
		}
	}()
	test()
}

func (v *verdict) Logf(format string, args ...any) { fmt.Fprintf(&v.said, format+"\n", args...) }
func (v *verdict) Log(args ...any)                 { fmt.Fprintln(&v.said, args...) }
func (v *verdict) Fail()                           { v.failed = true }
func (v *verdict) Failed() bool                    { return v.failed }
func (v *verdict) FailNow()                        { v.Fail(); panic(v) }
func (v *verdict) Error(args ...any)               { v.Log(args...); v.Fail() }
func (v *verdict) Fatal(args ...any)               { v.Log(args...); v.FailNow() }
func (v *verdict) Errorf(format string, args ...any) {
	v.Logf(format, args...)
	v.Fail()
}
func (v *verdict) Fatalf(format string, args ...any) {
	v.Logf(format, args...)
	v.FailNow()
}
