package ledger

import (
	"net/http"
	"net/url"

	"github.com/google/uuid"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/ledger"
)

// accountBody is the body of a request that opens or changes an account.
type accountBody struct {
	Name       *string      `json:"name"`
	Email      *string      `json:"email"`
	Currency   string       `json:"currency"`
	MinBalance *wire.Amount `json:"min_balance"`
	State      *string      `json:"state"`
}

// account returns the account that a body opens.
func (b *accountBody) account(id string) (a ledger.Account, err error) {
	if b.State != nil {
		return a, invalid("state", "A new account is open; PATCH changes the state.")
	}
	a = ledger.Account{ID: id, Currency: b.Currency}
	if b.Name != nil {
		a.Name = *b.Name
	}
	if b.Email != nil {
		a.Email = *b.Email
	}
	if b.MinBalance != nil {
		a.MinBalance = b.MinBalance.Value
	}
	return a, nil
}

// putAccount is PUT /v1/accounts/{id}.
func (s *Service) putAccount(w *exchange.Response, r *exchange.Request) error {
	return s.openAccount(w, r, variable(r, "id"))
}

// postAccount is POST /v1/accounts, with an id made by the server.
func (s *Service) postAccount(w *exchange.Response, r *exchange.Request) error {
	id, err := newID()
	if err != nil {
		return err
	}
	return s.openAccount(w, r, id)
}

// newID returns a UUID of version 7 (RFC 9562).
func newID() (string, error) {
	id, err := uuid.NewV7()
	return id.String(), err
}

func (s *Service) openAccount(w *exchange.Response, r *exchange.Request, id string) error {
	var body accountBody
	if err := readJSON(w, r, &body, false); err != nil {
		return err
	}
	wanted, err := body.account(id)
	if err != nil {
		return err
	}
	ctx, cancel := detached(r)
	defer cancel()
	a, created, err := s.ledger.Create(ctx, wanted, by(r))
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		w.SetField("Location", wire.AccountsPath+"/"+url.PathEscape(id))
	}
	return s.respondAccount(w, r, status, &a)
}

// respondAccount answers with an account as the master has it.
func (s *Service) respondAccount(w *exchange.Response, r *exchange.Request, status int, a *ledger.Account) error {
	if err := s.setSeen(w, r, a.Seen); err != nil {
		return err
	}
	setTag(w, r, a.Seen)
	return s.respond(w, r, status, accountDocument(a, quoted(r.Header)))
}

// patchAccount is PATCH /v1/accounts/{id}.
func (s *Service) patchAccount(w *exchange.Response, r *exchange.Request) error {
	var body accountBody
	if err := readJSON(w, r, &body, false); err != nil {
		return err
	}
	match, err := conditions(r.Header)
	if err != nil {
		return err
	}
	if body.Currency != "" {
		return invalid("currency", "The currency of an account never changes.")
	}
	p := ledger.Patch{Name: body.Name, Email: body.Email}
	if body.MinBalance != nil {
		p.MinBalance = &body.MinBalance.Value
	}
	if body.State != nil {
		p.State = new(ledger.AccountState(*body.State))
	}
	ctx, cancel := detached(r)
	defer cancel()
	a, err := s.ledger.Change(ctx, variable(r, "id"), p, match, by(r))
	if err != nil {
		return err
	}
	return s.respondAccount(w, r, http.StatusOK, &a)
}

// deleteAccount is DELETE /v1/accounts/{id}: it closes the account.
func (s *Service) deleteAccount(w *exchange.Response, r *exchange.Request) error {
	match, err := conditions(r.Header)
	if err != nil {
		return err
	}
	ctx, cancel := detached(r)
	defer cancel()
	a, err := s.ledger.Close(ctx, variable(r, "id"), match, by(r))
	if err != nil {
		return err
	}
	return s.respondAccount(w, r, http.StatusOK, &a)
}

// readOptions are those of a read, by default from the master: money is shown as it is.
func (s *Service) readOptions(r *exchange.Request, byDefault store.Consistency) (store.ReadOptions, error) {
	o, err := s.ReadOptions(r.Header, r.Query)
	if err == nil && !r.Query.Has("consistency") && !r.Query.Has("max_staleness") {
		o.Consistency = byDefault
	}
	if err == nil && o.Consistency == store.Quorum {
		err = problem.Parameter("consistency", "consistency is any, session, bounded or master here.")
	}
	return o, err
}

// getAccount is GET /v1/accounts/{id}.
func (s *Service) getAccount(w *exchange.Response, r *exchange.Request) error {
	id := variable(r, "id")
	if id == ledger.World {
		return s.getWorld(w, r)
	}
	o, err := s.readOptions(r, store.FromMaster)
	if err != nil {
		return err
	}
	a, read, err := s.ledger.Account(r.Context(), id, o)
	if err != nil {
		return err
	}
	if err := s.setRead(w, r, read); err != nil {
		return err
	}
	setTag(w, r, a.Seen)
	return s.respond(w, r, http.StatusOK, accountDocument(&a, quoted(r.Header)))
}

func (s *Service) getWorld(w *exchange.Response, r *exchange.Request) error {
	o, err := s.readOptions(r, store.Any)
	if err != nil {
		return err
	}
	sums, page, err := s.ledger.WorldBalances(r.Context(), o)
	if err != nil {
		return err
	}
	if _, err := s.setPage(w, r, &page, nil, ""); err != nil {
		return err
	}
	d := &wire.World{ID: ledger.World, Balances: make(map[string]wire.Amount)}
	for currency, n := range sums {
		d.Balances[currency] = wire.Amount{Value: n, Quoted: quoted(r.Header)}
	}
	return s.respond(w, r, http.StatusOK, d)
}

// listAccounts is GET /v1/accounts.
func (s *Service) listAccounts(w *exchange.Response, r *exchange.Request) error {
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
	q := ledger.Query{Prefix: r.Query.Get("prefix"), Words: r.Query.Get("q"), Email: r.Query.Get("email"), Contains: r.Query.Get("contains"), After: after, Limit: limit}
	found, err := s.ledger.Search(r.Context(), q, o)
	if err != nil {
		return err
	}
	d := &wire.AccountPage{Accounts: []*wire.Account{}}
	for i := range found.Accounts {
		d.Accounts = append(d.Accounts, accountDocument(&found.Accounts[i], quoted(r.Header)))
	}
	if d.Next, err = s.setPage(w, r, &found.Page, r.Query, found.Next); err != nil {
		return err
	}
	return s.respond(w, r, http.StatusOK, d)
}

// getHistory is GET /v1/accounts/{id}/history.
func (s *Service) getHistory(w *exchange.Response, r *exchange.Request) error {
	o, err := s.readOptions(r, store.Any)
	if err != nil {
		return err
	}
	limit, err := exchange.PageLimit(r.Query)
	if err != nil {
		return err
	}
	h, err := s.ledger.History(r.Context(), variable(r, "id"), r.Query.Get("after"), limit, o)
	if err != nil {
		return err
	}
	d := &wire.HistoryPage{History: []*wire.HistoryLine{}, Next: h.Next}
	for i := range h.Lines {
		d.History = append(d.History, lineDocument(&h.Lines[i], quoted(r.Header)))
	}
	if _, err := s.setPage(w, r, &h.Page, r.Query, ""); err != nil {
		return err
	}
	if h.Next != "" {
		link := url.Values{"after": {h.Next}}
		if r.Query.Has("limit") {
			link.Set("limit", r.Query.Get("limit"))
		}
		w.Header()["Link"] = []string{"<?" + link.Encode() + `>; rel="next"`}
	}
	return s.respond(w, r, http.StatusOK, d)
}

func accountDocument(a *ledger.Account, quoted bool) *wire.Account {
	amount := func(n int64) wire.Amount { return wire.Amount{Value: n, Quoted: quoted} }
	return &wire.Account{
		ID: wire.Text(a.ID), Name: wire.Text(a.Name), Email: wire.Text(a.Email), Currency: a.Currency, Balance: amount(a.Balance), Available: amount(a.Available()),
		Held: amount(a.Held), Pending: amount(a.Pending), MinBalance: amount(a.MinBalance), State: string(a.State), CreatedAt: a.CreatedAt.Time(),
	}
}

func lineDocument(l *ledger.Line, quoted bool) *wire.HistoryLine {
	d := &wire.HistoryLine{
		Event: l.Event, Transfer: refDocument(l.Transfer), Peer: wire.Text(l.Peer), Amount: wire.Amount{Value: l.Amount, Quoted: quoted},
		BalanceAfter: wire.Amount{Value: l.BalanceAfter, Quoted: quoted}, Memo: wire.Text(l.Memo), At: l.At.Time(), By: wire.Text(l.By),
	}
	if d.Event == "" {
		d.Event = "moved"
	}
	if l.Held != 0 {
		d.Held = &wire.Amount{Value: l.Held, Quoted: quoted}
	}
	return d
}

func refDocument(r *ledger.Ref) *wire.TransferRef {
	if r == nil {
		return nil
	}
	return &wire.TransferRef{Account: wire.Text(r.Account), ID: wire.Text(r.ID)}
}
