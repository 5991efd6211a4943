package console

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/runnelkv/runnel/api/wire"
)

// accountsPage is a page of accounts.
type accountsPage struct {
	wire.AccountPage
	Prefix, Words string
	Searched      bool
	More          string // address of the next page
	MayWrite      bool
}

// showAccounts searches accounts by the words of their names, addresses and ids.
func showAccounts(v *visit) error {
	q := v.r.Query
	p := &accountsPage{Prefix: q.Get("prefix"), Words: strings.TrimSpace(q.Get("q")), MayWrite: v.r.Grants.CanWrite(q.Get("prefix") + "x")}
	if !v.r.Grants.CanReadAll(p.Prefix) {
		return v.render(http.StatusForbidden, "closed", "Accounts", &closedPage{"accounts", "account", p.Prefix})
	}
	p.Searched = p.Words != "" || p.Prefix != ""
	ask := url.Values{"limit": {"50"}}
	for name, value := range map[string]string{"prefix": p.Prefix, "q": p.Words, "after": q.Get("after")} {
		if value != "" {
			ask.Set(name, value)
		}
	}
	if err := v.fetch(wire.AccountsPath, ask, &p.AccountPage); err != nil {
		return err
	}
	if p.Next != "" {
		ask.Set("after", p.Next)
		ask.Del("limit")
		p.More = "accounts?" + ask.Encode()
	}
	return v.render(http.StatusOK, "accounts", "Accounts", p)
}

// accountPage is an account with its history and the form of a transfer.
type accountPage struct {
	wire.Account
	History  wire.HistoryPage
	More     string // address of the next page
	MayWrite bool
	Transfer transferForm
}

// transferForm holds the fields of a transfer. A form that is sent twice makes one transfer, by its id.
type transferForm struct {
	ID, To, Amount, Memo string
	Deposit              bool // from outside, and not to another account
	Fault                string
}

func accountPath(id string) string { return wire.AccountsPath + "/" + url.PathEscape(id) }

// showAccount shows an account.
func showAccount(v *visit) error {
	return v.showAccountWith(http.StatusOK, v.r.Query.Get("account"), v.r.Query.Get("after"), transferForm{})
}

// showAccountWith shows an account with a filled form.
func (v *visit) showAccountWith(status int, id, after string, f transferForm) error {
	p := &accountPage{MayWrite: v.r.Grants.CanWrite(id), Transfer: f}
	if p.Transfer.ID == "" {
		p.Transfer.ID = rand.Text()
	}
	if err := v.fetch(accountPath(id), nil, &p.Account); err != nil {
		return err
	}
	q := url.Values{"limit": {"50"}, "consistency": {"master"}}
	if after != "" {
		q.Set("after", after)
	}
	if err := v.fetch(accountPath(id)+"/history", q, &p.History); err != nil {
		return err
	}
	if p.History.Next != "" {
		p.More = "account?" + url.Values{"account": {id}, "after": {p.History.Next}}.Encode()
	}
	return v.render(status, "account", "Account "+id, p)
}

// makeTransfer transfers money, by the id of the form.
func makeTransfer(v *visit, form url.Values) error {
	id := form.Get("account")
	f := transferForm{ID: form.Get("id"), To: strings.TrimSpace(form.Get("to")), Amount: strings.TrimSpace(form.Get("amount")), Memo: form.Get("memo"), Deposit: form.Get("deposit") != ""}
	amount, err := strconv.ParseInt(strings.ReplaceAll(f.Amount, " ", ""), 10, 64)
	if err != nil || amount < 1 {
		f.Fault = "Enter the amount as a whole number of minor units, such as 1250 for 12.50."
		return v.showAccountWith(http.StatusUnprocessableEntity, id, "", f)
	}
	body := map[string]any{"amount": wire.Amount{Value: amount}, "currency": form.Get("currency"), "memo": f.Memo}
	method, path := http.MethodPut, wire.TransfersPath+"/"+url.PathEscape(id)+"/"+url.PathEscape(f.ID)
	if f.Deposit {
		method, path = http.MethodPost, accountPath(id)+"/deposits"
	} else {
		body["to"] = f.To
	}
	var fields []string
	if f.Deposit {
		fields = []string{"Idempotency-Key", f.ID}
	}
	answer, err := v.send(method, path, nil, body, nil, fields...)
	refused, ok := errors.AsType[*refusal](err)
	switch {
	case ok && refused.Status != http.StatusUnauthorized:
		f.Fault = refused.Title + ". " + string(refused.Detail)
		if refused.slug() == "insufficient-funds" {
			f.ID = "" // a refused transfer keeps its id
		}
		return v.showAccountWith(refused.Status, id, "", f)
	case err != nil:
		return err
	}
	note := "transferred"
	if answer.status == http.StatusAccepted {
		note = "pending"
	}
	return v.redirect("account", url.Values{"account": {id}, "note": {note}})
}

// openPage is the form of a new account.
type openPage struct{ ID, Name, Email, Currency, Fault string }

// showOpen asks for a new account.
func showOpen(v *visit) error {
	return v.render(http.StatusOK, "open", "New account", &openPage{ID: v.r.Query.Get("prefix")})
}

// openAccount opens an account.
func openAccount(v *visit, form url.Values) error {
	p := &openPage{ID: strings.TrimSpace(form.Get("id")), Name: form.Get("name"), Email: form.Get("email"), Currency: strings.ToUpper(strings.TrimSpace(form.Get("currency")))}
	if p.ID == "" {
		p.Fault = "Enter an id."
		return v.render(http.StatusUnprocessableEntity, "open", "New account", p)
	}
	_, err := v.send(http.MethodPut, accountPath(p.ID), nil, map[string]string{"name": p.Name, "email": p.Email, "currency": p.Currency}, nil)
	refused, ok := errors.AsType[*refusal](err)
	switch {
	case ok && refused.Status != http.StatusUnauthorized && refused.Status != http.StatusForbidden:
		p.Fault = refused.Title + ". " + string(refused.Detail)
		return v.render(refused.Status, "open", "New account", p)
	case err != nil:
		return err
	}
	return v.redirect("account", url.Values{"account": {p.ID}, "note": {"created"}})
}
