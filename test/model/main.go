package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

func main() {
	from := flag.Uint64("from", 1, "the first `seed`")
	seeds := flag.Uint64("seeds", 10_000, "how many `seeds` to run")
	partitions := flag.Int("partitions", 3, "partitions of the cluster, at least 2")
	within := flag.Duration("within", 0, "end after this `time`, also when seeds are left; 0: run all seeds")
	without := flag.String("without", "", "take away these `rules`, separated by commas: "+allRules.String())
	flag.Parse()
	removed, err := parseRules(*without)
	if err == nil && *partitions < 2 {
		err = errors.New("a cluster has at least 2 partitions")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	began := time.Now()
	r := search(*from, *seeds, allRules&^removed, *partitions, *within)
	fmt.Printf("%d partitions, %d seeds from %d in %v, without the rules: %s\n%v\n",
		*partitions, r.ran, *from, time.Since(began).Round(time.Second), removed, r.stats)
	if r.err != nil {
		fmt.Println(r.err)
		os.Exit(1)
	}
}

// result is the outcome of a search.
type result struct {
	ran   uint64
	stats stats
	err   error // of the lowest seed that has a violation
}

// search runs seeds until a violation, on all processors.
func search(from, seeds uint64, rules rule, partitions int, within time.Duration) (r result) {
	var mu sync.Mutex // guards next, failed and r
	var running sync.WaitGroup
	next, failed := from, from+seeds
	deadline := time.Now().Add(within)
	take := func() (seed uint64, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if next >= failed || within > 0 && time.Now().After(deadline) {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for range runtime.GOMAXPROCS(0) {
		running.Go(func() {
			for seed, ok := take(); ok; seed, ok = take() {
				s, err := simulate(seed, rules, partitions)
				mu.Lock()
				r.ran++
				r.stats.add(s)
				if err != nil && seed < failed {
					r.err, failed = err, seed
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return r
}
