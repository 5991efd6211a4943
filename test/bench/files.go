package main

import (
	"context"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/bench/internal/testbed"
)

// fileFilling is the approximate time to store the first files.
const fileFilling = 20 * time.Second

// files measures uploads and downloads of files beside bare handlers.
func (b *bench) files(ctx context.Context) error {
	systems, err := b.testbed.StartFiles(ctx)
	if err != nil {
		return err
	}
	return b.measureFiles(ctx, systems, report.FilePoints())
}

func (b *bench) measureFiles(ctx context.Context, systems []*testbed.System, points []report.Point) error {
	for _, s := range systems {
		if err := s.Prepare(ctx); err != nil {
			return err
		}
	}
	b.progress.step(fileFilling, "")
	return b.measureRounds(ctx, systems, points)
}

// expectedFiles returns the approximate duration of the files phase.
func (b *bench) expectedFiles() time.Duration {
	const systems, measurement = 4, 4 * time.Second
	return fileFilling + systems*time.Duration(len(report.FilePoints())*b.settings.rounds)*measurement
}
