package ledger

import (
	"errors"
	"iter"
	"net/http"
	"time"

	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/ledger"
)

// putTransfer is PUT /v1/transfers/{account}/{id}.
func (s *Service) putTransfer(w *exchange.Response, r *exchange.Request) error {
	account := variable(r, "account")
	r.Key = accountName(account)
	var body orderBody
	if err := readJSON(w, r, &body, false); err != nil {
		return err
	}
	if body.ID != "" || body.Account != "" {
		return invalid("id", "The path names account and id.")
	}
	body.ID = variable(r, "id")
	o, err := body.order(account, r)
	if err != nil {
		return err
	}
	return s.move(w, r, o)
}

// postTransfer is POST /v1/transfers, with the id of the header Idempotency-Key, or an id made by the server.
func (s *Service) postTransfer(w *exchange.Response, r *exchange.Request) error {
	var body orderBody
	if err := readJSON(w, r, &body, false); err != nil {
		return err
	}
	if body.ID != "" {
		return invalid("id", "The header Idempotency-Key names the id.")
	}
	var err error
	if body.ID, err = idempotencyKey(r); err != nil {
		return err
	}
	account := body.Account
	o, err := body.order(account, r)
	if err != nil {
		return err
	}
	r.Key = accountName(o.Account)
	return s.move(w, r, o)
}

// idempotencyKey returns the id that the client has chosen, or a new one.
func idempotencyKey(r *exchange.Request) (string, error) {
	switch keys := r.Header["Idempotency-Key"]; len(keys) {
	case 0:
		return newID()
	case 1:
		return keys[0], nil
	}
	return "", problem.Header("Idempotency-Key", "Idempotency-Key is given once.")
}

// amountBody is the body of a deposit, a withdrawal, or the posting of a hold.
type amountBody struct {
	Amount   *wire.Amount `json:"amount"`
	Currency string       `json:"currency"`
	Memo     string       `json:"memo"`
}

// postDeposit is POST /v1/accounts/{id}/deposits: a transfer from @world.
func (s *Service) postDeposit(w *exchange.Response, r *exchange.Request) error {
	return s.moveWorld(w, r, ledger.World, variable(r, "id"))
}

// postWithdrawal is POST /v1/accounts/{id}/withdrawals: a transfer to @world.
func (s *Service) postWithdrawal(w *exchange.Response, r *exchange.Request) error {
	return s.moveWorld(w, r, variable(r, "id"), ledger.World)
}

func (s *Service) moveWorld(w *exchange.Response, r *exchange.Request, from, to string) error {
	var body amountBody
	if err := readJSON(w, r, &body, false); err != nil {
		return err
	}
	id, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	order := orderBody{ID: id, From: from, To: to, Amount: body.Amount, Currency: body.Currency, Memo: body.Memo}
	o, err := order.order(variable(r, "id"), r)
	if err != nil {
		return err
	}
	return s.move(w, r, o)
}

// move makes a transfer and answers with its record.
func (s *Service) move(w *exchange.Response, r *exchange.Request, o ledger.Order) error {
	if err := mayMove(r, &o); err != nil {
		return err
	}
	ctx, cancel := detached(r)
	defer cancel()
	t, repeated, err := s.ledger.Transfer(ctx, o)
	return s.respondTransfer(w, r, &t, repeated, err)
}

// respondTransfer answers with a record: 201 when the request has made the transfer, 200 when an earlier request has, and
// 202 while the transfer is under way.
func (s *Service) respondTransfer(w *exchange.Response, r *exchange.Request, t *ledger.Transfer, repeated bool, err error) error {
	if failed, ok := errors.AsType[*ledger.FailedError](err); ok {
		if unset := s.setSeen(w, r, failed.Transfer.Seen); unset != nil {
			return unset
		}
	}
	if err != nil {
		return err
	}
	if err := s.setSeen(w, r, t.Seen); err != nil {
		return err
	}
	status := statusOf(t, repeated)
	if status != http.StatusOK {
		w.SetField("Location", transferPath(t.Ref))
	}
	if status == http.StatusAccepted && prefers(r.Header, "respond-async") {
		w.Header()["Preference-Applied"] = []string{"respond-async"}
	}
	return s.respond(w, r, status, transferDocument(t, quoted(r.Header)))
}

func statusOf(t *ledger.Transfer, repeated bool) int {
	switch {
	case t.Status == ledger.Pending:
		return http.StatusAccepted
	case repeated:
		return http.StatusOK
	}
	return http.StatusCreated
}

// refOf is the transfer that the path names.
func refOf(r *exchange.Request) ledger.Ref {
	return ledger.Ref{Account: variable(r, "account"), ID: variable(r, "id")}
}

// getTransfer is GET /v1/transfers/{account}/{id}.
func (s *Service) getTransfer(w *exchange.Response, r *exchange.Request) error {
	o, err := s.readOptions(r, store.FromMaster)
	if err != nil {
		return err
	}
	t, read, err := s.ledger.Lookup(r.Context(), refOf(r), o)
	if err != nil {
		return err
	}
	if err := s.setRead(w, r, read); err != nil {
		return err
	}
	return s.respond(w, r, http.StatusOK, transferDocument(&t, quoted(r.Header)))
}

// listTransfers is GET /v1/transfers.
func (s *Service) listTransfers(w *exchange.Response, r *exchange.Request) error {
	o, err := s.readOptions(r, store.Any)
	if err != nil {
		return err
	}
	limit, err := exchange.PageLimit(r.Query)
	if err != nil {
		return err
	}
	after, err := afterOf(r.Query)
	if err != nil {
		return err
	}
	var p ledger.TransferPage
	if account := r.Query.Get("account"); account == "" {
		p, err = s.ledger.Unfinished(r.Context(), after, limit, o)
	} else {
		p, err = s.ledger.Transfers(r.Context(), account, ledger.Status(r.Query.Get("status")), after, limit, o)
	}
	if err != nil {
		return err
	}
	d := &wire.TransferPage{Transfers: []*wire.Transfer{}}
	for i := range p.Transfers {
		d.Transfers = append(d.Transfers, transferDocument(&p.Transfers[i], quoted(r.Header)))
	}
	if d.Next, err = s.setPage(w, r, &p.Page, r.Query, p.Next); err != nil {
		return err
	}
	return s.respond(w, r, http.StatusOK, d)
}

// postHold is POST /v1/transfers/{account}/{id}/post.
func (s *Service) postHold(w *exchange.Response, r *exchange.Request) error {
	var body amountBody
	if err := readJSON(w, r, &body, true); err != nil {
		return err
	}
	if body.Currency != "" || body.Memo != "" {
		return invalid("amount", "The member amount is all that a hold is posted with.")
	}
	amount := int64(0)
	if body.Amount != nil {
		if amount = body.Amount.Value; amount < 1 {
			return invalid("amount", "The member amount is from 1 to the amount of the hold.")
		}
	}
	ctx, cancel := detached(r)
	defer cancel()
	t, err := s.ledger.Post(ctx, refOf(r), amount, prefers(r.Header, "respond-async"), by(r))
	return s.respondTransfer(w, r, &t, true, err)
}

// voidHold is POST /v1/transfers/{account}/{id}/void.
func (s *Service) voidHold(w *exchange.Response, r *exchange.Request) error {
	if err := readJSON(w, r, &struct{}{}, true); err != nil {
		return err
	}
	ctx, cancel := detached(r)
	defer cancel()
	t, err := s.ledger.Void(ctx, refOf(r), by(r))
	return s.respondTransfer(w, r, &t, true, err)
}

// postReversal is POST /v1/transfers/{account}/{id}/reversal.
func (s *Service) postReversal(w *exchange.Response, r *exchange.Request) error {
	if err := readJSON(w, r, &struct{}{}, true); err != nil {
		return err
	}
	ctx, cancel := detached(r)
	defer cancel()
	t, err := s.ledger.Reverse(ctx, refOf(r), by(r))
	return s.respondTransfer(w, r, &t, false, err)
}

// postBatch is POST /v1/transfers/batch.
func (s *Service) postBatch(w *exchange.Response, r *exchange.Request) error {
	bodies, errs, err := readOrders(w, r)
	if err != nil {
		return err
	}
	orders, of := ordersOf(r, bodies, errs)
	if err := w.RequireItems(auditedOrders(orders)); err != nil {
		return err
	}
	ctx, cancel := detached(r)
	defer cancel()
	outcomes := s.ledger.Batch(ctx, orders)
	d := &wire.TransferResults{Results: make([]wire.TransferResult, len(bodies))}
	revisions := make([]store.Revision, len(bodies))
	seen := store.Vector{}
	for n, i := range of {
		out := &outcomes[n]
		if errs[i] = out.Err; out.Err == nil {
			seen, revisions[i] = seen.With(out.Transfer.Seen), out.Transfer.Seen.Revision
			d.Results[i] = wire.TransferResult{Status: statusOf(&out.Transfer, out.Repeated), Transfer: transferDocument(&out.Transfer, quoted(r.Header))}
		}
	}
	for i := range d.Results {
		d.Results[i].Index = i
		if errs[i] != nil {
			p := exchange.AsProblem(problemOf(errs[i]))
			document := p.Document()
			d.Results[i].Status, d.Results[i].Problem = p.Type.Status, &document
		}
		w.RecordItem(audit.Write, accountName(bodies[i].Account), &store.Entry{Revision: revisions[i]}, d.Results[i].Status)
	}
	session, err := s.ReadSession(r.Header)
	if err != nil {
		return err
	}
	w.SetField(exchange.SessionHeader, s.SessionToken(session.Merge(seen)))
	return s.respond(w, r, http.StatusOK, d)
}

// ordersOf returns the orders that the sender may give, with the index of each in bodies. It completes the accounts of
// bodies, and sets the errors of the rest.
func ordersOf(r *exchange.Request, bodies []orderBody, errs []error) (orders []ledger.Order, of []int) {
	for i := range bodies {
		if errs[i] != nil {
			continue
		}
		o, err := bodies[i].order(bodies[i].Account, r)
		if err == nil {
			bodies[i].Account = o.Account
			err = mayMove(r, &o)
		}
		if errs[i] = err; err == nil {
			orders, of = append(orders, o), append(of, i)
		}
	}
	return orders, of
}

// auditedOrders returns the items of the audit log for orders.
func auditedOrders(orders []ledger.Order) iter.Seq[exchange.Item] {
	return func(yield func(exchange.Item) bool) {
		for i := range orders {
			if !yield(exchange.Item{Act: audit.Write, Key: accountName(orders[i].Account)}) {
				return
			}
		}
	}
}

func transferDocument(t *ledger.Transfer, quoted bool) *wire.Transfer {
	amount := func(n int64) wire.Amount { return wire.Amount{Value: n, Quoted: quoted} }
	d := &wire.Transfer{
		Account: wire.Text(t.Account), ID: wire.Text(t.ID), Currency: t.Currency, Memo: wire.Text(t.Memo), Status: string(t.Status), CreatedAt: t.CreatedAt.Time(),
		By: wire.Text(t.By), Reverses: refDocument(t.Reverses), ReversedBy: refDocument(t.ReversedBy),
	}
	if p := t.Postings[0]; len(t.Postings) == 1 {
		d.From, d.To, d.Amount = wire.Text(p.From), wire.Text(p.To), new(amount(p.Amount))
	} else {
		for _, p := range t.Postings {
			d.Postings = append(d.Postings, wire.Posting{From: wire.Text(p.From), To: wire.Text(p.To), Amount: amount(p.Amount)})
		}
	}
	if t.Reason != nil {
		d.Reason = t.Reason.Code
	}
	if t.Settled != 0 {
		d.Settled = new(amount(t.Settled))
	}
	if t.Status == ledger.Posted {
		d.PostedAt = timeOf(t.FinishedAt)
	}
	d.ExpiresAt = timeOf(t.ExpiresAt)
	return d
}

// timeOf returns an instant; nil for none.
func timeOf(i store.Instant) *time.Time {
	if i == 0 {
		return nil
	}
	return new(i.Time())
}
