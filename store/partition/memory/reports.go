package memory

import (
	"context"
	"maps"

	"github.com/runnelkv/runnel/store/partition"
)

// Report implements partition.Observers.
func (m *Partition) Report(ctx context.Context, masters []string) error {
	if err := partition.CheckReport(masters); err != nil {
		return m.wrap(OpReport, err)
	}
	return m.update(ctx, OpReport, func() error {
		for _, name := range masters {
			m.db.reports[name]++
		}
		return nil
	})
}

// Reports implements partition.Observers.
func (m *Partition) Reports(ctx context.Context) (reports map[string]int64, err error) {
	err = m.view(ctx, OpReports, func() error {
		reports = maps.Clone(m.db.reports)
		return nil
	})
	return reports, err
}
