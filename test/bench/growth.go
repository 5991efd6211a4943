package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// grown is a Runnel of some size, loaded before the measurement.
type grown struct {
	name, kind       string
	partitions, keys int
}

// The sizes and numbers of partitions. The main systems, with settings.keys entries in 3 partitions, lie in
// between.
var (
	growthKeys       = []int{10_000, 1_000_000}
	growthLong       = 10_000_000
	growthPartitions = []int{2, 4, 8}
)

func (b *bench) grownSystems() (all []grown) {
	keys := growthKeys
	if b.long {
		keys = append(keys[:len(keys):len(keys)], growthLong)
	}
	for _, kind := range []string{onMariaDB, embedded} {
		for _, n := range keys {
			all = append(all, grown{fmt.Sprintf("runnel-%s-%s", kind, powerOfTen(n)), kind, 3, n})
		}
		for _, n := range growthPartitions {
			all = append(all, grown{fmt.Sprintf("runnel-%s-p%d", kind, n), kind, n, b.settings.keys})
		}
	}
	return all
}

// powerOfTen formats a power of ten as 1e5, and any other number in full.
func powerOfTen(n int) string {
	s := fmt.Sprint(n)
	if strings.Trim(s, "0") == "1" {
		return fmt.Sprintf("1e%d", len(s)-1)
	}
	return s
}

// loadRate is the approximate rate of entries per second from the bench into all partitions. Only the display of
// the time left depends on loadRate.
const loadRate = 30_000

func (g grown) expected() time.Duration {
	return 2*time.Second + time.Duration(g.keys*g.partitions/3)*time.Second/loadRate
}

// growthPoints returns the points to measure at each size.
func growthPoints() []point {
	return []point{{"get", 64, 100}, {"get-stored", 64, 100}, {"put", 64, 100}}
}

// growth measures reads and writes with more entries and with more partitions.
func (b *bench) growth(ctx context.Context) error {
	defer b.testbed.stopGrown()
	if err := b.fillMain(ctx); err != nil {
		return err
	}
	systems := b.mainAsGrown()
	for _, g := range b.grownSystems() {
		if err := b.needs(g.kind); err != nil {
			b.testbed.missing[g.name] = err
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
		if s.awaitIdle == nil {
			continue
		}
		b.progress.begin("reading through %s", s.name)
		if err := b.readThrough(ctx, s); err != nil {
			return err
		}
		b.progress.step(readExpected, "")
	}
	return b.readsFirst(ctx, systems, growthPoints())
}

// stopGrown ends the processes of the growth phase, so that they do not disturb later phases.
func (s *testbed) stopGrown() {
	var group sync.WaitGroup
	for _, system := range s.grown {
		group.Go(system.processes[0].stop)
	}
	group.Wait()
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
		systems = append(systems, &system{templates: runnelTemplates()})
	}
	return total + 2*idleTime + readExpected*time.Duration(len(systems)) + b.expectedOf(systems, growthPoints())
}

// mainAsGrown returns renamed copies of the main systems and the ceiling, to be measured in the same rounds as
// grown systems.
func (b *bench) mainAsGrown() (all []*system) {
	size := powerOfTen(b.settings.keys)
	for _, pair := range [][2]string{{"ceiling", "ceiling-growth"}, {"runnel-mariadb", "runnel-mariadb-" + size}, {"runnel-embedded", "runnel-embedded-" + size}} {
		if s := b.testbed.find(pair[0]); s != nil {
			all = append(all, s.renamed(pair[1]))
		}
	}
	return all
}

// needs returns the reason why partitions of a kind are not available, or nil.
func (b *bench) needs(kind string) error {
	if kind == onMariaDB && b.testbed.database == nil {
		return b.testbed.missing["runnel-mariadb"]
	}
	return nil
}

// grow starts and loads a system.
func (b *bench) grow(ctx context.Context, g grown) (*system, error) {
	s, err := b.testbed.startRunnel(ctx, g.name, b.testbed.partitions(g.name, g.kind, g.partitions))
	if err != nil {
		return nil, err
	}
	s.keys = g.keys
	b.testbed.grown = append(b.testbed.grown, s)
	return s, b.loadInto(ctx, s)
}

// loadInto writes all keys of s and waits until every partition has them.
func (b *bench) loadInto(ctx context.Context, s *system) error {
	c, err := openCluster(ctx, s.urls)
	if err != nil {
		return err
	}
	defer c.close()
	last, err := c.load(ctx, keyPrefix, s.keys)
	if err == nil {
		err = c.await(ctx, last)
	}
	if err == nil {
		err = s.awaitIdle(ctx)
	}
	return err
}

// idleTime is how long an idle server is observed, by idleLooks readings of its memory.
const (
	idleTime  = 5 * time.Second
	idleLooks = 5
)

// The measurements of memory: after the filling, and after a restart.
var (
	residentFilled  = point{"resident-filled", 0, 100}
	residentStarted = point{"resident-started", 0, 100}
)

// idle measures the memory of the idle embedded server with 10^6 entries: after the filling and after a restart.
func (b *bench) idle(ctx context.Context) error {
	const name = "runnel-embedded-1e6"
	s := findSystem(b.testbed.grown, name)
	if s == nil {
		return nil
	}
	b.progress.begin("memory of %s, idle", name)
	if err := b.look(ctx, s, residentFilled); err != nil {
		return err
	}
	s.processes[0].stop()
	b.progress.step(2*idleTime, "")
	again, err := b.testbed.startRunnel(ctx, name+"-again", s.urls)
	if err != nil {
		return err
	}
	s.address, s.processes, s.awaitIdle = again.address, again.processes, again.awaitIdle
	if err := s.awaitIdle(ctx); err != nil {
		return err
	}
	return b.look(ctx, s, residentStarted)
}

// look records the memory of an idle server at intervals.
func (b *bench) look(ctx context.Context, s *system, p point) error {
	for range idleLooks {
		if err := pause(ctx, idleTime/idleLooks); err != nil {
			return err
		}
		b.addReport(s.name, p, report{Value: float64(s.resident()) / (1 << 20)})
	}
	return nil
}
