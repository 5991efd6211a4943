package sqlengine

import (
	"context"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
)

const (
	insertReached = ` INTO {p}reached (master, reports) VALUES (?, 0)`
	raiseReached  = `UPDATE {p}reached SET reports = reports + 1 WHERE master = ?`
	selectReached = `SELECT master, reports FROM {p}reached ORDER BY master LIMIT ?`
)

// Report implements partition.Observers. The names are sorted, so that two reports never wait for each other.
func (s *Engine) Report(ctx context.Context, masters []string) error {
	if err := partition.CheckReport(masters); err != nil {
		return s.wrap("report", err)
	}
	return s.transact(ctx, "report", func(ctx context.Context, conn *Conn) error {
		if err := s.checkBallots(ctx, conn); err != nil {
			return err
		}
		for _, name := range slices.Sorted(slices.Values(masters)) {
			n, err := conn.Exec(ctx, s.statement(raiseReached), name)
			if err == nil && n == 0 { // the first report of this master
				if _, err = conn.Exec(ctx, s.statement(s.sql.InsertIgnore+insertReached), name); err == nil {
					_, err = conn.Exec(ctx, s.statement(raiseReached), name)
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Reports implements partition.Observers.
func (s *Engine) Reports(ctx context.Context) (reports map[string]int64, err error) {
	err = s.read(ctx, "reports", func(ctx context.Context, conn *Conn) error {
		if err := s.checkBallots(ctx, conn); err != nil {
			return err
		}
		reports = make(map[string]int64)
		return conn.QueryRows(ctx, s.statement(selectReached), []any{int64(partition.MaxReported)}, func(r Rows) error {
			reports[string(r.Bytes(0))] = r.Int(1)
			return nil
		})
	})
	return reports, err
}
