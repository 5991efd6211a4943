package main

import (
	"context"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/bench/internal/testbed"
)

// grown is a Runnel of some size, loaded before the measurement.
type grown struct {
	name, kind       string
	partitions, keys int
}

// The sizes. The main systems, with settings.keys entries in 3 partitions, lie in between.
var (
	growthKeys = []int{10_000, 1_000_000}
	growthLong = 10_000_000
)

func (b *bench) grownSystems() (all []grown) {
	keys := growthKeys
	if b.long {
		keys = append(keys[:len(keys):len(keys)], growthLong)
	}
	for _, kind := range []string{report.OnMariaDB, report.Embedded} {
		for _, n := range keys {
			all = append(all, grown{fmt.Sprintf("runnel-%s-%s", kind, report.PowerOfTen(n)), kind, 3, n})
		}
		for _, n := range report.GrowthPartitions {
			all = append(all, grown{fmt.Sprintf("runnel-%s-p%d", kind, n), kind, n, b.settings.keys})
		}
	}
	return all
}

// loadRate is the approximate rate of entries per second from the bench into all partitions. Only the display of
// the time left depends on loadRate.
const loadRate = 30_000

func (g grown) expected() time.Duration {
	return 2*time.Second + time.Duration(g.keys*g.partitions/3)*time.Second/loadRate
}

// growth measures reads and writes with more entries and with more partitions.
func (b *bench) growth(ctx context.Context) error {
	defer b.testbed.StopGrown()
	if err := b.fillMain(ctx); err != nil {
		return err
	}
	systems := b.mainAsGrown()
	for _, g := range b.grownSystems() {
		if err := b.needs(g.kind); err != nil {
			b.testbed.Missing[g.name] = err
			b.progress.step(g.expected(), "")
			continue
		}
		b.progress.begin("loading %s: %d entries into %d partitions", g.name, g.keys, g.partitions)
		s, err := b.grow(ctx, g)
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		systems = append(systems, s)
		b.progress.step(g.expected(), "")
	}
	if err := b.idle(ctx); err != nil {
		return err
	}
	for _, s := range systems {
		if s.AwaitIdle == nil {
			continue
		}
		b.progress.begin("reading through %s", s.Name)
		if err := b.readThrough(ctx, s); err != nil {
			return err
		}
		b.progress.step(readExpected, "")
	}
	return b.readsFirst(ctx, systems, report.GrowthPoints())
}

// fillMain writes the main systems' keys, unless the main phase has done so.
func (b *bench) fillMain(ctx context.Context) error {
	if b.filled[100] {
		return nil
	}
	defer b.progress.step(fillExpected, "")
	return b.fill(ctx, 100)
}

// expectedGrowth returns the approximate duration of the growth phase.
func (b *bench) expectedGrowth(filled bool) (total time.Duration) {
	systems := b.mainAsGrown()
	if !filled {
		total += fillExpected
	}
	for _, g := range b.grownSystems() {
		total += g.expected()
		systems = append(systems, &testbed.System{Templates: testbed.RunnelTemplates()})
	}
	return total + 2*idleTime + readExpected*time.Duration(len(systems)) + b.expectedOf(systems, report.GrowthPoints())
}

// mainAsGrown returns renamed copies of the main systems and the ceiling, to be measured in the same rounds as
// grown systems.
func (b *bench) mainAsGrown() (all []*testbed.System) {
	size := report.PowerOfTen(b.settings.keys)
	for _, pair := range [][2]string{{"ceiling", "ceiling-growth"}, {"runnel-mariadb", "runnel-mariadb-" + size}, {"runnel-embedded", "runnel-embedded-" + size}} {
		if s := b.testbed.Find(pair[0]); s != nil {
			all = append(all, s.Renamed(pair[1]))
		}
	}
	return all
}

// needs returns the reason why partitions of a kind are not available, or nil.
func (b *bench) needs(kind string) error {
	if kind == report.OnMariaDB && b.testbed.Database == nil {
		return b.testbed.Missing["runnel-mariadb"]
	}
	return nil
}

// grow starts and loads a system.
func (b *bench) grow(ctx context.Context, g grown) (*testbed.System, error) {
	s, err := b.testbed.StartRunnel(ctx, g.name, b.testbed.Partitions(g.name, g.kind, g.partitions))
	if err != nil {
		return nil, err
	}
	s.Keys = g.keys
	b.testbed.Grown = append(b.testbed.Grown, s)
	return s, b.loadInto(ctx, s)
}

// loadInto writes all keys of s and waits until every partition has them.
func (b *bench) loadInto(ctx context.Context, s *testbed.System) error {
	c, err := testbed.OpenCluster(ctx, s.URLs)
	if err != nil {
		return err
	}
	defer c.Close()
	last, err := c.Load(ctx, testbed.KeyPrefix, s.Keys)
	if err == nil {
		err = c.Await(ctx, last)
	}
	if err == nil {
		err = s.AwaitIdle(ctx)
	}
	return err
}

// idleTime is how long an idle server is observed, by idleLooks readings of its memory.
const (
	idleTime  = 5 * time.Second
	idleLooks = 5
)

// idle measures the memory of the idle embedded server with 10^6 entries: after the filling and after a restart.
func (b *bench) idle(ctx context.Context) error {
	const name = "runnel-embedded-1e6"
	s := testbed.FindSystem(b.testbed.Grown, name)
	if s == nil {
		return nil
	}
	b.progress.begin("memory of %s, idle", name)
	if err := b.look(ctx, s, report.ResidentFilled); err != nil {
		return err
	}
	s.Processes[0].Stop()
	b.progress.step(2*idleTime, "")
	again, err := b.testbed.StartRunnel(ctx, name+"-again", s.URLs)
	if err != nil {
		return err
	}
	s.Address, s.Processes, s.AwaitIdle = again.Address, again.Processes, again.AwaitIdle
	if err := s.AwaitIdle(ctx); err != nil {
		return err
	}
	return b.look(ctx, s, report.ResidentStarted)
}

// look records the memory of an idle server at intervals.
func (b *bench) look(ctx context.Context, s *testbed.System, p report.Point) error {
	for range idleLooks {
		if err := testbed.Pause(ctx, idleTime/idleLooks); err != nil {
			return err
		}
		b.addReport(s.Name, p, report.Report{Value: float64(s.Resident()) / (1 << 20)})
	}
	return nil
}
