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

// measureDirect measures a system without HTTP, as a client does by a plan.
func (b *bench) measureDirect(ctx context.Context, s *testbed.System, p report.Point) (report.Report, error) {
	start := time.Now().Add(b.settings.warmup)
	end := start.Add(b.settings.duration)
	times, errs := make([][]time.Duration, p.Clients), make([]error, p.Clients)
	before, client := s.CPU(), testbed.UsedBy(syscall.RUSAGE_SELF)
	var group sync.WaitGroup
	for i := range p.Clients {
		group.Go(func() {
			random := rand.New(rand.NewPCG(b.settings.seed, uint64(i)))
			for began := time.Now(); began.Before(end) && errs[i] == nil; {
				errs[i] = s.Direct[p.Case](ctx, random.IntN(b.settings.keys), random.Uint64())
				ended := time.Now()
				if !ended.Before(start) && ended.Before(end) {
					times[i] = append(times[i], ended.Sub(began))
				}
				began = ended
			}
		})
	}
	group.Wait()
	r := reportDirect(slices.Concat(times...), b.settings.duration)
	if r.Requests > 0 {
		whole := float64(b.settings.warmup+b.settings.duration) / float64(b.settings.duration)
		r.ServerCPU = time.Duration(float64(s.CPU()-before) / whole / float64(r.Requests))
		r.ClientCPU = time.Duration(float64(testbed.UsedBy(syscall.RUSAGE_SELF)-client) / whole / float64(r.Requests))
	}
	return r, errors.Join(errs...)
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
