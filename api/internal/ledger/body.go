package ledger

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store/ledger"
)

// Bounds of bodies.
const (
	maxBodyBytes  = 64 << 10
	maxBatchBytes = 4 << 20
)

// readJSON decodes a body into a pointer to a struct. Unknown and repeated members are refused. An empty body is an empty object if that is allowed.
func readJSON(w *exchange.Response, r *exchange.Request, into any, mayBeEmpty bool) error {
	if mayBeEmpty && r.ContentLength == 0 {
		return nil
	}
	body, err := readBody(w, r, maxBodyBytes, "application/json")
	if err != nil {
		return err
	}
	return decode(body, into)
}

// readBody reads a body of one of the media types; without a type the first counts.
func readBody(w *exchange.Response, r *exchange.Request, limit int64, types ...string) ([]byte, error) {
	if r.Header["Content-Encoding"] != nil {
		return nil, problem.New(problem.Encoding, "The body has no Content-Encoding here.")
	}
	if _, err := mediaTypeOf(r, types); err != nil {
		return nil, err
	}
	return w.ReadBody(r, limit, problem.BodyTooLarge)
}

func mediaTypeOf(r *exchange.Request, types []string) (string, error) {
	if r.Header["Content-Type"] == nil {
		return types[0], nil
	}
	given, _, err := mime.ParseMediaType(strings.Join(r.Header["Content-Type"], ", "))
	for _, t := range types {
		if err == nil && given == t {
			return t, nil
		}
	}
	e := problem.New(problem.MediaType, "The body is %s.", strings.Join(types, " or "))
	e.Members.Available = types
	return "", e
}

// decode decodes a JSON object.
func decode(body []byte, into any) error {
	err := json.Unmarshal(body, into, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return problem.New(problem.InvalidJSON, "The body is not a JSON object of the form that the API expects.")
	}
	member := memberOf(semantic.JSONPointer)
	if errors.Is(err, wire.ErrAmount) {
		return notAnAmount(member)
	}
	e := problem.New(problem.InvalidTransfer, "The member %q is unknown here, or its value has another type.", member)
	e.Members.Parameter = member
	return e
}

func notAnAmount(member string) error {
	e := problem.New(problem.InvalidTransfer, "The member %s is not a whole number of minor units that fits 64 bits.", member)
	e.Members.Parameter = member
	return e
}

// memberOf is the last member that a JSON pointer names.
func memberOf(p jsontext.Pointer) string {
	name := problem.Printable(p.LastToken())
	if name == "" {
		return "body"
	}
	return name
}

// orderBody is the body of a request for a transfer.
type orderBody struct {
	Account  string        `json:"account"` // in a batch, at which the record is to lie
	ID       string        `json:"id"`      // in a batch
	From     string        `json:"from"`
	To       string        `json:"to"`
	Amount   *wire.Amount  `json:"amount"`
	Postings []postingBody `json:"postings"`
	Currency string        `json:"currency"`
	Memo     string        `json:"memo"`
	Hold     bool          `json:"hold"`
	TTL      string        `json:"ttl"`
}

type postingBody struct {
	From   string       `json:"from"`
	To     string       `json:"to"`
	Amount *wire.Amount `json:"amount"`
}

// defaultHold is the time for which money is held without a ttl.
const defaultHold = 7 * 24 * time.Hour

// order returns the order of a body. account is that of the path, "" if the path names none.
func (b *orderBody) order(account string, r *exchange.Request) (o ledger.Order, err error) {
	o = ledger.Order{Ref: ledger.Ref{Account: account, ID: b.ID}, Currency: b.Currency, Memo: b.Memo, By: by(r), Async: prefers(r.Header, "respond-async")}
	switch {
	case b.Postings == nil:
		if b.From == "" {
			b.From = account
		}
		b.Postings = []postingBody{{b.From, b.To, b.Amount}}
	case b.From != "" || b.To != "" || b.Amount != nil:
		return o, invalid("postings", "A transfer has the members from, to and amount, or the member postings.")
	}
	for _, p := range b.Postings {
		if p.Amount == nil {
			return o, invalid("amount", "The member amount is missing.")
		}
		o.Postings = append(o.Postings, ledger.Posting{From: p.From, To: p.To, Amount: p.Amount.Value})
	}
	if o.Account == "" && len(o.Postings) > 0 {
		if o.Account = o.Postings[0].From; o.Account == ledger.World {
			o.Account = o.Postings[0].To
		}
	}
	switch {
	case b.Hold && b.TTL == "":
		o.Hold = defaultHold
	case b.Hold:
		if o.Hold, err = time.ParseDuration(b.TTL); err != nil || o.Hold == 0 {
			return o, invalid("ttl", "The member ttl is a duration such as 10m, not %q.", problem.Printable(b.TTL))
		}
	case b.TTL != "":
		return o, invalid("ttl", "The member ttl is for holds.")
	}
	return o, nil
}

func invalid(member, format string, args ...any) error {
	e := problem.New(problem.InvalidTransfer, format, args...)
	e.Members.Parameter = member
	return e
}

// readOrders decodes the orders of a batch: an array, or lines. An item that is no order has an error in its place.
func readOrders(w *exchange.Response, r *exchange.Request) (bodies []orderBody, errs []error, err error) {
	body, err := readBody(w, r, maxBatchBytes, "application/json", "application/x-ndjson")
	if err != nil {
		return nil, nil, err
	}
	items, err := itemsOf(body)
	if err != nil {
		return nil, nil, err
	}
	if len(items) > ledger.MaxBatch {
		return nil, nil, invalid("body", "A batch has at most %d transfers, not %d.", ledger.MaxBatch, len(items))
	}
	bodies, errs = make([]orderBody, len(items)), make([]error, len(items))
	for i, item := range items {
		errs[i] = decode(item, &bodies[i])
	}
	return bodies, errs, nil
}

// itemsOf returns the items of an array, or of lines.
func itemsOf(body []byte) (items []jsontext.Value, err error) {
	if bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")) {
		if json.Unmarshal(body, &items) != nil {
			return nil, problem.New(problem.InvalidJSON, "The body is not a JSON array of transfers.")
		}
		return items, nil
	}
	d := jsontext.NewDecoder(bytes.NewReader(body))
	for {
		v, err := d.ReadValue()
		if errors.Is(err, io.EOF) {
			return items, nil
		}
		if err != nil {
			return nil, problem.New(problem.InvalidJSON, "Item %d of the body is not JSON.", len(items))
		}
		items = append(items, v.Clone())
	}
}
