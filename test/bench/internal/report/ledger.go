package report

// The systems of the ledger phase, all on the same MariaDB server and without HTTP.
const (
	OurLedger   = "runnel-ledger"             // a single master
	TwoLedgers  = "runnel-ledger-two-masters" // payer and payee have different masters
	PlainLedger = "plain-ledger"              // a transaction of SQL for each transfer
)

// The points of the ledger phase: transfers between many accounts and between ten, and deposits to many.
var (
	Transfers    = Point{"transfers", 64, 100}
	HotTransfers = Point{"transfers-hot", 64, 100}
	Deposits     = Point{"deposits", 64, 100}
)

// LedgerPoints returns the points of the ledger phase.
func LedgerPoints() []Point { return []Point{Transfers, HotTransfers, Deposits} }

var transferRate = Metric{"transfers/s", func(r Report) float64 { return r.PerSecond }}

// ledgerRatios compare transfers with the plain way to make them, and deposits, which all change the same balance of @world,
// with transfers.
func ledgerRatios() []ratio {
	ledger := func(name, ours, other string, p, otherPoint Point, target float64) ratio {
		return ratio{name: name, phase: LedgerPhase, ours: ours, other: other, ourPoint: p, otherPoint: otherPoint, metric: transferRate, target: target}
	}
	return []ratio{
		ledger("transfers/plain", OurLedger, PlainLedger, Transfers, Transfers, 5),
		ledger("transfers-hot/plain", OurLedger, PlainLedger, HotTransfers, HotTransfers, 20),
		ledger("deposits/transfers", OurLedger, OurLedger, Deposits, Transfers, 0.9),
		ledger("transfers-two-masters", TwoLedgers, "", Transfers, Point{}, 1000),
	}
}
