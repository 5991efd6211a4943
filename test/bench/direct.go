package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/bench/internal/testbed"
)

// leastSamples is the number of operations that each client finishes, also if they take longer than the measurement.
const leastSamples = 3

// measureDirect measures a system by functions, as a client does by a plan.
func (b *bench) measureDirect(ctx context.Context, s *testbed.System, p report.Point) (report.Report, error) {
	start := time.Now().Add(b.settings.warmup)
	end := start.Add(b.settings.duration)
	times, errs, made := make([][]time.Duration, p.Clients), make([]error, p.Clients), make([]int, p.Clients)
	before, client := s.CPU(), testbed.UsedBy(syscall.RUSAGE_SELF)
	var group sync.WaitGroup
	for i := range p.Clients {
		group.Go(func() {
			random := rand.New(rand.NewPCG(b.settings.seed, uint64(i)))
			for began := time.Now(); (began.Before(end) || len(times[i]) < leastSamples) && errs[i] == nil; made[i]++ {
				errs[i] = s.Direct[p.Case](ctx, random.IntN(b.settings.keys), random.Uint64())
				ended := time.Now()
				if !ended.Before(start) && (ended.Before(end) || len(times[i]) < leastSamples) {
					times[i] = append(times[i], ended.Sub(began))
				}
				began = ended
			}
		})
	}
	group.Wait()
	r := reportDirect(slices.Concat(times...), b.settings.duration)
	r.PerSecond = 0
	all := time.Duration(0)
	for i := range times {
		r.PerSecond += rateOf(times[i])
		all += time.Duration(made[i])
	}
	if all > 0 {
		r.ServerCPU = (s.CPU() - before) / all
		r.ClientCPU = (testbed.UsedBy(syscall.RUSAGE_SELF) - client) / all
	}
	if s.Prepare != nil {
		r.PerItem(report.FileMiB)
	}
	return r, errors.Join(errs...)
}

// rateOf returns the operations a second of a client that has made them one after the other.
func rateOf(times []time.Duration) float64 {
	var sum time.Duration
	for _, d := range times {
		sum += d
	}
	if sum == 0 {
		return 0
	}
	return float64(len(times)) / sum.Seconds()
}

func reportDirect(times []time.Duration, duration time.Duration) report.Report {
	if len(times) == 0 {
		return report.Report{}
	}
	slices.Sort(times)
	at := func(q float64) time.Duration { return times[min(len(times)-1, int(q*float64(len(times))))] }
	return report.Report{Requests: int64(len(times)), PerSecond: float64(len(times)) / duration.Seconds(),
		P50: at(.5), P95: at(.95), P99: at(.99), P999: at(.999)}
}
