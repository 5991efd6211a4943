package partition

import (
	"context"
	"fmt"
)

// MaxReported is the largest number of masters of a report.
const MaxReported = 1000

// Observers is the part of a partition by which processes learn from each other which masters are reached. Each process
// reports the masters that answer it; a number of reports that stands still means that nobody reaches the master who reaches
// this partition. No clock is involved. Every method fails with ErrRefused on tables that take no ballots, see Schema.CheckBallots.
type Observers interface {
	// Report raises the number of reports of each named master by 1. At most MaxReported names, each once.
	Report(ctx context.Context, masters []string) error
	// Reports returns the number of reports of each master that was ever reported.
	Reports(ctx context.Context) (map[string]int64, error)
}

// CheckReport fails if a report names too many masters.
func CheckReport(masters []string) error {
	if len(masters) > MaxReported {
		return fmt.Errorf("%d masters in a report, over %d", len(masters), MaxReported)
	}
	return nil
}
