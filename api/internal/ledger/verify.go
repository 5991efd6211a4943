package ledger

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store/ledger"
)

// getVerify is GET /v1/ledger/verify: it adds up the books, and changes nothing.
func (s *Service) getVerify(w *exchange.Response, r *exchange.Request) error {
	report, err := s.ledger.Verify(r.Context(), r.Query.Get("partition"))
	if err != nil {
		return err
	}
	return s.respondReport(w, r, report)
}

// postVerify is POST /v1/ledger/verify: it adds up the books, and halts the ledger if they do not add up. With accept=true it
// lifts the halt.
func (s *Service) postVerify(w *exchange.Response, r *exchange.Request) error {
	accept, err := exchange.Flag(r.Query, "accept")
	if err != nil {
		return err
	}
	report, err := s.ledger.Verify(r.Context(), r.Query.Get("partition"))
	if err != nil {
		return err
	}
	ctx, cancel := detached(r)
	defer cancel()
	switch {
	case accept && s.ledger.Halted() != "":
		err = s.ledger.Halt(ctx, "")
	case !accept && len(report.Faults) > 0:
		err = s.ledger.Halt(ctx, report.Partition+": "+report.Faults[0])
	}
	if err != nil {
		return err
	}
	return s.respondReport(w, r, report)
}

func (s *Service) respondReport(w *exchange.Response, r *exchange.Request, report *ledger.Report) error {
	d := &wire.VerifyReport{
		Partition: wire.Text(report.Partition), At: report.At.Time(), Accounts: report.Accounts, Transfers: report.Transfers, LineCount: report.Lines,
		Sums: []wire.BookSums{}, Faults: []wire.Text{}, Halted: wire.Text(s.ledger.Halted()),
	}
	for _, currency := range slices.Sorted(maps.Keys(report.Sums)) {
		sums := report.Sums[currency]
		d.Sums = append(d.Sums, wire.BookSums{
			Currency: currency, Balances: sums.Balances.String(), World: sums.World.String(), Debited: sums.Debited.String(), Credited: sums.Credited.String(), Off: sums.Off().String(),
		})
	}
	for _, f := range report.Faults {
		d.Faults = append(d.Faults, wire.Text(strings.ToValidUTF8(f, "?")))
	}
	w.SetWriteDeadline(time.Now().Add(w.Timeouts.Write)) // fails in tests
	w.SetField("Runnel-Partition", report.Partition)
	return s.respond(w, r, http.StatusOK, d)
}
