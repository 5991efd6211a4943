package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/google/uuid"

	"github.com/runnelkv/runnel/api/wire"
)

// The documents of the ledger.
type (
	Account      = wire.Account
	Amount       = wire.Amount
	Transfer     = wire.Transfer
	HistoryPage  = wire.HistoryPage
	AccountPage  = wire.AccountPage
	VerifyReport = wire.VerifyReport
)

// AccountDraft is a new account. MinBalance is the lowest balance that payments may leave.
type AccountDraft struct {
	Name       string  `json:"name,omitempty"`
	Email      string  `json:"email,omitempty"`
	Currency   string  `json:"currency,omitempty"`
	MinBalance *Amount `json:"min_balance,omitempty"`
	State      string  `json:"state,omitempty"` // of ChangeAccount: open or frozen
}

// TransferOrder asks for a transfer. The zero value of a field is not sent.
type TransferOrder struct {
	From     string         `json:"from,omitempty"`
	To       string         `json:"to,omitempty"`
	Amount   *Amount        `json:"amount,omitempty"`
	Postings []wire.Posting `json:"postings,omitempty"` // in place of From, To and Amount
	Currency string         `json:"currency,omitempty"`
	Memo     string         `json:"memo,omitempty"`
	Hold     bool           `json:"hold,omitempty"`
	TTL      string         `json:"ttl,omitempty"` // of a hold, such as 10m
}

// ledgerCall sends a call of the ledger that may be repeated, and decodes the answer into document.
func (c *Client) ledgerCall(ctx context.Context, method, path string, query url.Values, body, document any) error {
	r := request{method: method, path: path, query: query, success: []int{200, 201, 202}, idempotent: true, isWrite: method != http.MethodGet}
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r.body, r.header = Bytes(b), http.Header{"Content-Type": {mediaJSON}}
	}
	_, err := c.getJSON(ctx, r, document)
	return err
}

func accountPath(id string) string { return wire.AccountsPath + "/" + url.PathEscape(id) }

func transferPath(account, id string) string {
	return wire.TransfersPath + "/" + url.PathEscape(account) + "/" + url.PathEscape(id)
}

// OpenAccount opens an account. The same again returns the account as it is.
func (c *Client) OpenAccount(ctx context.Context, id string, d AccountDraft) (a *Account, err error) {
	return a, c.ledgerCall(ctx, http.MethodPut, accountPath(id), nil, d, &a)
}

// ChangeAccount changes the fields of an account that are set.
func (c *Client) ChangeAccount(ctx context.Context, id string, d AccountDraft) (a *Account, err error) {
	return a, c.ledgerCall(ctx, http.MethodPatch, accountPath(id), nil, d, &a)
}

// CloseAccount closes an account without money.
func (c *Client) CloseAccount(ctx context.Context, id string) (a *Account, err error) {
	return a, c.ledgerCall(ctx, http.MethodDelete, accountPath(id), nil, nil, &a)
}

// Account reads an account from its master.
func (c *Client) Account(ctx context.Context, id string) (a *Account, err error) {
	return a, c.ledgerCall(ctx, http.MethodGet, accountPath(id), nil, nil, &a)
}

// Accounts reads a page of accounts; query has the parameters of GET /v1/accounts.
func (c *Client) Accounts(ctx context.Context, query url.Values) (p *AccountPage, err error) {
	return p, c.ledgerCall(ctx, http.MethodGet, wire.AccountsPath, query, nil, &p)
}

// History reads a page of the history of an account; query may have limit and after.
func (c *Client) History(ctx context.Context, id string, query url.Values) (p *HistoryPage, err error) {
	return p, c.ledgerCall(ctx, http.MethodGet, accountPath(id)+"/history", query, nil, &p)
}

// NewTransferID returns a new id.
func NewTransferID() (string, error) {
	id, err := uuid.NewV7()
	return id.String(), err
}

// PutTransfer makes the transfer with the id, with its record at the account: the payer, or the payee of a transfer from
// @world. Sent again, also after an unknown outcome, the transfer takes effect once.
func (c *Client) PutTransfer(ctx context.Context, account, id string, o TransferOrder) (t *Transfer, err error) {
	return t, c.ledgerCall(ctx, http.MethodPut, transferPath(account, id), nil, o, &t)
}

// Transfer reads a transfer from its master.
func (c *Client) Transfer(ctx context.Context, account, id string) (t *Transfer, err error) {
	return t, c.ledgerCall(ctx, http.MethodGet, transferPath(account, id), nil, nil, &t)
}

// PostHold moves the money of a hold, or a part of it; nil is all.
func (c *Client) PostHold(ctx context.Context, account, id string, amount *Amount) (t *Transfer, err error) {
	return t, c.resolve(ctx, account, id, "/post", TransferOrder{Amount: amount}, &t)
}

// VoidHold ends a hold without moving money.
func (c *Client) VoidHold(ctx context.Context, account, id string) (t *Transfer, err error) {
	return t, c.resolve(ctx, account, id, "/void", nil, &t)
}

// ReverseTransfer takes a transfer back and returns the transfer that does so.
func (c *Client) ReverseTransfer(ctx context.Context, account, id string) (t *Transfer, err error) {
	return t, c.resolve(ctx, account, id, "/reversal", nil, &t)
}

// resolve sends a request that succeeds once.
func (c *Client) resolve(ctx context.Context, account, id, action string, body any, t **Transfer) error {
	if body == nil {
		body = struct{}{}
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = c.getJSON(ctx, request{method: http.MethodPost, path: transferPath(account, id) + action, success: []int{200, 201, 202}, isWrite: true,
		body: Bytes(b), header: http.Header{"Content-Type": {mediaJSON}}}, t)
	return err
}

// VerifyBooks adds up the books on a partition ("": any), and halts the ledger if they do not add up. With accept the ledger
// takes writes again.
func (c *Client) VerifyBooks(ctx context.Context, partition string, accept bool) (r *VerifyReport, err error) {
	query := url.Values{}
	if partition != "" {
		query.Set("partition", partition)
	}
	if accept {
		query.Set("accept", "true")
	}
	return r, c.ledgerCall(ctx, http.MethodPost, wire.VerifyPath, query, nil, &r)
}

// CheckBooks adds up the books on a partition ("": any), and changes nothing.
func (c *Client) CheckBooks(ctx context.Context, partition string) (r *VerifyReport, err error) {
	query := url.Values{}
	if partition != "" {
		query.Set("partition", partition)
	}
	return r, c.ledgerCall(ctx, http.MethodGet, wire.VerifyPath, query, nil, &r)
}
