package ledger

import (
	"errors"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/ledger"
)

// answered returns a handler that answers errors of the ledger as problems.
func answered(h exchange.Handler) exchange.Handler {
	return func(w *exchange.Response, r *exchange.Request) error {
		if err := h(w, r); err != nil {
			return problemOf(err)
		}
		return nil
	}
}

// problemOf turns an error of the ledger into its problem, and returns all further errors as they are.
func problemOf(err error) error {
	var (
		input    *ledger.InputError
		unknown  *ledger.UnknownError
		currency *ledger.CurrencyError
		overflow *ledger.OverflowError
		state    *ledger.StateError
		failed   *ledger.FailedError
		halted   *store.HaltedError
		behind   *store.NotLevelError
	)
	switch {
	case errors.As(err, &input):
		e := problem.New(problem.InvalidTransfer, "The member %s %s.", input.Member, input.Reason)
		e.Members.Parameter = input.Member
		return e
	case errors.As(err, &unknown):
		return problem.New(problem.UnknownAccount, "There is no account %q.", problem.Printable(unknown.Account))
	case errors.Is(err, ledger.ErrNotFound):
		return problem.New(problem.UnknownTransfer, "The account has no transfer of this id.")
	case errors.As(err, &currency):
		return problem.New(problem.CurrencyMismatch, "The account %q is kept in %s, and the transfer is in %s.", problem.Printable(currency.Account), currency.Has, currency.Wanted)
	case errors.As(err, &overflow):
		return problem.New(problem.BalanceOverflow, "The balance of %q would exceed 9223372036854775807.", problem.Printable(overflow.Account))
	case errors.Is(err, ledger.ErrConflict):
		return problem.New(problem.IDConflict, "An account or transfer of this id exists, with other content.")
	case errors.Is(err, ledger.ErrDifferentMasters):
		return problem.New(problem.DifferentMasters, "The accounts of a transfer with several postings have one master; these have more.")
	case errors.As(err, &state):
		e := problem.New(problem.WrongState, "%s", state.Detail)
		e.Members.Reason = state.State
		return e
	case errors.As(err, &failed):
		return failedProblem(&failed.Transfer)
	case errors.Is(err, ledger.ErrNotHeld):
		return problem.New(problem.OutcomeUnknown, "A majority of the voters is not known to hold the write yet.")
	case errors.As(err, &halted):
		return problem.New(problem.LedgerHalted, "The ledger is halted: %s.", halted.Reason)
	case errors.As(err, &behind):
		return problem.New(problem.NotLevel, "The partition %s does not hold all entries of %s yet.", behind.Partition, behind.Origin)
	case errors.Is(err, store.ErrUnknownPartition):
		return problem.Parameter("partition", "There is no partition of this name.")
	}
	return err
}

// failedProblem is the problem of a transfer that the business refuses.
func failedProblem(t *ledger.Transfer) *problem.Error {
	r := t.Reason
	if r.Code != ledger.InsufficientFunds {
		e := problem.New(problem.TransferFailed, "The transfer has failed, because of the account %q: %s.", problem.Printable(r.Account), r.Code)
		e.Members.Reason = r.Code
		return e
	}
	e := problem.New(problem.InsufficientFunds, "The account %q has %d available, and the transfer needs %d.", problem.Printable(r.Account), r.Available, r.Needed)
	e.Members.Funds = &wire.Funds{Available: wire.Amount{Value: r.Available}, Needed: wire.Amount{Value: r.Needed}}
	return e
}
