// Package ledger simulates transfers between two masters through failovers that lose the end of a master's history.
//
// Each master has a list of updates, of which a majority of the voters holds a beginning. A failover cuts the list anywhere
// behind that beginning. The steps of a transfer are those of package store/ledger: the debit at the payer, the credit or
// the refusal at the payee, and the completion or the refund at the payer; anybody may make any step at any time, again and again.
//
// Two rules keep the money: a step follows, and a transfer is answered, only when a majority holds the step before
// (ByMajority); and lost updates are set aside whole, never submitted again entry by entry (SetAside). The tests show that
// with both rules no run makes or loses money or undoes an answered transfer, and that without either rule runs do.
package ledger
