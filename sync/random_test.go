package sync

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run the random tests with this seed only")
	seedsFlag = flag.Int("seeds", 60, "how many seeds the random tests run with")
)

// TestRandomInterleavingsConverge makes random writes, deletes, passes of two processes,
// crashes, faults, outages and changes of configuration. After every step no position
// exceeds the partition's contents, and at the end undisturbed passes make everything equal.
func TestRandomInterleavingsConverge(t *testing.T) {
	first := rand.Uint64()
	for i := range uint64(*seedsFlag) {
		seed := first + i
		if *seedFlag != 0 {
			seed = *seedFlag
		}
		g := newGame(t, seed)
		for range 60 {
			g.step()
			g.w.checkPositions()
			if t.Failed() {
				t.Fatalf("seed %d:\n%s", seed, g.said())
			}
		}
		g.settle()
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, g.said())
		}
		if *seedFlag != 0 {
			return
		}
	}
}

// game is a random run.
type game struct {
	t     *testing.T
	rng   *rand.Rand
	w     *world
	sites []*site
	log   []string
}

func newGame(t *testing.T, seed uint64) *game {
	g := &game{t: t, rng: rand.New(rand.NewPCG(seed, 1))}
	masters := 1 + g.rng.IntN(3)
	g.w = newWorld(t, masters, masters+1+g.rng.IntN(3))
	g.sites = []*site{g.site(), g.site()}
	return g
}

func (g *game) site() *site {
	entries := 1 + g.rng.IntN(4)
	return g.w.site(func(o *Options) {
		o.BatchEntries = entries
		o.LeaseTTL = 30 * time.Microsecond // expires at once: correctness must not depend on the lease
	})
}

func (g *game) say(format string, args ...any) { g.log = append(g.log, fmt.Sprintf(format, args...)) }

func (g *game) said() string {
	var all string
	for _, line := range g.log {
		all += line + "\n"
	}
	return all
}

func (g *game) step() {
	c := g.sites[g.rng.IntN(len(g.sites))]
	switch n := g.rng.IntN(100); {
	case n < 40:
		g.write()
	case n < 60:
		g.pass(c)
	case n < 72:
		g.faultyPass(c)
	case n < 80:
		g.bothPass()
	case n < 86:
		g.outage(c)
	case n < 90:
		g.reconfigure(c)
	case n < 94:
		g.say("a process is replaced")
		g.sites[g.rng.IntN(len(g.sites))] = g.site()
	case n < 96 && len(g.w.names) < 7:
		g.say("%s is added", g.w.add())
	default:
		g.heal(c)
	}
}

// write changes one to four keys, each on its master.
func (g *game) write() {
	for range 1 + g.rng.IntN(4) {
		k := g.rng.IntN(12)
		master := g.w.masters[k%len(g.w.masters)]
		key := fmt.Sprint("key", k)
		if g.rng.IntN(4) == 0 {
			ttl := time.Duration(g.rng.IntN(300)) * time.Microsecond
			g.say("write %s at %d for %v", key, g.w.expiring(master, key, ttl).Revision, ttl)
		} else if g.rng.IntN(3) == 0 {
			g.say("delete %s at %d", key, g.w.delete(master, key).Revision)
		} else {
			g.say("write %s at %d", key, g.w.write(master, key, fmt.Sprint(g.rng.Uint64())).Revision)
		}
	}
}

func (g *game) pass(c *site) {
	g.say("%s: pass\n%s", c.options.Holder, c.pass())
}

// faultyPass fails some operations of a pass, or ends the process in mid-pass.
func (g *game) faultyPass(c *site) {
	ctx, crash := context.WithCancel(g.t.Context())
	defer crash()
	var left atomic.Int64
	left.Store(int64(g.rng.IntN(25)))
	kind := g.rng.IntN(3)
	victim := g.w.names[g.rng.IntN(len(g.w.names))]
	hook := func(string) error {
		if left.Add(-1) >= 0 {
			return nil
		}
		switch kind {
		case 0:
			crash()
			return nil
		case 1:
			left.Store(3)
		}
		return partition.ErrUnavailable
	}
	for name, h := range c.handles {
		if kind == 0 || name == victim {
			h.Fail(hook)
		}
	}
	r, err := c.Pass(ctx)
	g.say("%s: pass with faults of kind %d on %s: %v\n%s", c.options.Holder, kind, victim, err, r)
	for _, h := range c.handles {
		h.Fail(nil)
	}
}

// bothPass lets two processes and a writer work at once.
func (g *game) bothPass() {
	g.say("both pass, with writes")
	var group sync.WaitGroup
	for _, c := range g.sites {
		group.Go(func() {
			if _, err := c.Pass(g.t.Context()); err != nil {
				g.t.Error(err)
			}
		})
	}
	g.write()
	g.write()
	group.Wait()
}

// outage makes a partition unusable to a process, or usable again.
func (g *game) outage(c *site) {
	name := g.w.names[g.rng.IntN(len(g.w.names))]
	if c.faults[name] == nil {
		g.say("%s: %s is down", c.options.Holder, name)
		c.fault(name, partition.ErrUnavailable)
	} else {
		g.say("%s: %s is up", c.options.Holder, name)
		c.fault(name, nil)
	}
}

// reconfigure leaves a replica out of a process's configuration.
func (g *game) reconfigure(c *site) {
	names := slices.Clone(g.w.names)
	i := len(g.w.masters) + g.rng.IntN(len(names)-len(g.w.masters))
	g.say("%s: no %s", c.options.Holder, names[i])
	c.configure(slices.Delete(names, i, i+1)...)
}

func (g *game) heal(c *site) {
	g.say("%s: heals", c.options.Holder)
	c.configure(g.w.names...)
	for _, name := range g.w.names {
		c.fault(name, nil)
	}
}

// settle makes undisturbed passes: all partitions must become equal, and stay equal when
// tombstones are collected.
func (g *game) settle() {
	time.Sleep(time.Millisecond) // everything that was to expire has
	for _, c := range g.sites {
		g.heal(c)
	}
	for i := range 6 {
		c := g.sites[i%len(g.sites)]
		r := c.pass()
		g.say("quiet pass\n%s", r)
		if i > 0 && !r.Level() {
			g.t.Errorf("a quiet pass is not level")
		}
		if i > 0 {
			g.w.checkEqual()
		}
		g.w.checkPositions()
	}
	if g.t.Failed() {
		return
	}
	for _, name := range g.w.names {
		for _, k := range sortedKeys(g.w.rows(name)) {
			if e := g.w.rows(name)[k]; e.Deleted {
				g.t.Errorf("%s keeps a tombstone of %s at %d", name, k, e.Revision)
			}
		}
	}
}

// TestTwoSyncersAndWritersAtOnce lets everything run side by side, unguided.
func TestTwoSyncersAndWritersAtOnce(t *testing.T) {
	w := newWorld(t, 2, 4)
	change := func(o *Options) { o.BatchEntries = 3; o.LeaseTTL = 30 * time.Microsecond }
	sites := []*site{w.site(change), w.site(change)}
	ctx, stop := context.WithCancel(t.Context())
	var running, writing sync.WaitGroup
	for _, c := range sites {
		running.Go(func() {
			for ctx.Err() == nil {
				if _, err := c.Pass(ctx); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	for i, master := range w.masters {
		writing.Go(func() {
			for n := range 500 {
				key := fmt.Sprint(i, "-", n%37)
				if n%5 == 0 {
					w.delete(master, key)
				} else {
					w.write(master, key, fmt.Sprint(n))
				}
			}
		})
	}
	writing.Wait()
	stop()
	running.Wait()
	sites[0].pass()
	sites[0].level()
	w.checkEqual()
	w.checkPositions()
}
