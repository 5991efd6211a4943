package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// directOperation is an operation of a system without HTTP, which this process measures as the layer below all
// other systems. Calls are concurrent.
type directOperation func(ctx context.Context, key int, stamp uint64) error

// startBare starts the system of MariaDB without a server in front: prepared statements of database/sql, in
// autocommit, on the table of plain.
func (s *testbed) startBare(ctx context.Context) (*system, error) {
	db, err := s.openDatabase(ctx, s.database, plainDatabase)
	if err != nil {
		return nil, err
	}
	p, err := preparePlain(ctx, db)
	if err != nil {
		return nil, err
	}
	get := func(ctx context.Context, key int, _ uint64) error {
		var value []byte
		err := p.get.QueryRowContext(ctx, fmt.Sprintf(keyPrefix+"%08d", key)).Scan(&value)
		if err == nil && len(value) != 100 {
			err = fmt.Errorf("a value of %d bytes", len(value))
		}
		return err
	}
	put := func(ctx context.Context, key int, stamp uint64) error {
		_, err := p.put.ExecContext(ctx, fmt.Sprintf(keyPrefix+"%08d", key), fmt.Sprintf("%0100d", stamp))
		return err
	}
	return &system{processes: []*process{s.database.process}, direct: map[string]directOperation{"get": get, "put": put}}, nil
}

// startDisk starts the system of the disk below all others: 100 bytes appended to a file and synced, by a single
// writer.
func (s *testbed) startDisk(context.Context) (*system, error) {
	var mu sync.Mutex
	file, err := os.Create(filepath.Join(s.dir, "fsync"))
	if err != nil {
		return nil, err
	}
	block := []byte(strings.Repeat("x", 100))
	return &system{direct: map[string]directOperation{"put": func(context.Context, int, uint64) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := file.Write(block)
		return errors.Join(err, file.Sync())
	}}}, nil
}

// measureDirect measures a system without HTTP, as a client does by a plan.
func (b *bench) measureDirect(ctx context.Context, s *system, p point) (report, error) {
	start := time.Now().Add(b.settings.warmup)
	end := start.Add(b.settings.duration)
	times, errs := make([][]time.Duration, p.Clients), make([]error, p.Clients)
	before, client := s.cpu(), usedBy(syscall.RUSAGE_SELF)
	var group sync.WaitGroup
	for i := range p.Clients {
		group.Go(func() {
			random := rand.New(rand.NewPCG(b.settings.seed, uint64(i)))
			for began := time.Now(); began.Before(end) && errs[i] == nil; {
				errs[i] = s.direct[p.Case](ctx, random.IntN(b.settings.keys), random.Uint64())
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
		r.ServerCPU = time.Duration(float64(s.cpu()-before) / whole / float64(r.Requests))
		r.ClientCPU = time.Duration(float64(usedBy(syscall.RUSAGE_SELF)-client) / whole / float64(r.Requests))
	}
	return r, errors.Join(errs...)
}

func reportDirect(times []time.Duration, duration time.Duration) report {
	if len(times) == 0 {
		return report{}
	}
	slices.Sort(times)
	at := func(q float64) time.Duration { return times[min(len(times)-1, int(q*float64(len(times))))] }
	return report{Requests: int64(len(times)), PerSecond: float64(len(times)) / duration.Seconds(),
		P50: at(.5), P95: at(.95), P99: at(.99), P999: at(.999)}
}
