package wire

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Paths of the ledger.
const (
	AccountsPath  = "/v1/accounts"
	TransfersPath = "/v1/transfers"
	VerifyPath    = "/v1/ledger/verify"
)

// Amount is a sum in minor units, from -(2^63-1) to 2^63-1. JSON has it as a number, and beyond 2^53, which many programs
// cannot read exactly, or with Quoted, as a decimal string.
type Amount struct {
	Value  int64
	Quoted bool
}

// exactBound is the bound of the whole numbers that a 64-bit float holds exactly.
const exactBound = 1 << 53

// ErrAmount: the text is no whole number of 64 bits.
var ErrAmount = errors.New("is not a whole number of minor units that fits 64 bits")

// String returns the decimal number.
func (a Amount) String() string { return strconv.FormatInt(a.Value, 10) }

// MarshalJSON implements json.Marshaler.
func (a Amount) MarshalJSON() ([]byte, error) {
	if a.Quoted || a.Value > exactBound || a.Value < -exactBound {
		return strconv.AppendQuote(nil, a.String()), nil
	}
	return strconv.AppendInt(nil, a.Value, 10), nil
}

// UnmarshalJSON implements json.Unmarshaler: a number or a string, of digits with an optional sign alone.
func (a *Amount) UnmarshalJSON(b []byte) error {
	text := string(b)
	a.Quoted = len(text) > 0 && text[0] == '"'
	if a.Quoted {
		if json.Unmarshal(b, &text) != nil {
			return ErrAmount
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != text {
		return ErrAmount
	}
	a.Value = n
	return nil
}

// MarshalXML implements xml.Marshaler.
func (a Amount) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	return e.EncodeElement(a.String(), start)
}

// Account is the document of an account.
type Account struct {
	XMLName    xml.Name  `json:"-" xml:"account"`
	ID         Text      `json:"id" xml:"id"`
	Name       Text      `json:"name" xml:"name"`
	Email      Text      `json:"email" xml:"email"`
	Currency   string    `json:"currency" xml:"currency"`
	Balance    Amount    `json:"balance" xml:"balance"`
	Available  Amount    `json:"available" xml:"available"` // for transfers
	Held       Amount    `json:"held" xml:"held"`           // by holds, part of the balance
	Pending    Amount    `json:"pending" xml:"pending"`     // of transfers under way, no more part of the balance
	MinBalance Amount    `json:"min_balance" xml:"min_balance"`
	State      string    `json:"state" xml:"state"` // open, frozen or closed
	CreatedAt  time.Time `json:"created_at" xml:"created_at"`
}

// World is the document of the account @world.
type World struct {
	XMLName  xml.Name          `json:"-" xml:"account"`
	ID       string            `json:"id" xml:"id"`
	Balances map[string]Amount `json:"balances" xml:"-"` // by currency; negative: paid in and not paid out
}

// AccountPage is a page of accounts.
type AccountPage struct {
	XMLName  xml.Name   `json:"-" xml:"accounts"`
	Accounts []*Account `json:"accounts" xml:"account"`
	Next     string     `json:"next,omitempty" xml:"next,omitempty"`
}

// Posting moves an amount between two accounts.
type Posting struct {
	From   Text   `json:"from" xml:"from"`
	To     Text   `json:"to" xml:"to"`
	Amount Amount `json:"amount" xml:"amount"`
}

// TransferRef names a transfer: the account at which its record lies, and the id.
type TransferRef struct {
	Account Text `json:"account" xml:"account"`
	ID      Text `json:"id" xml:"id"`
}

// Transfer is the document of a transfer.
type Transfer struct {
	XMLName    xml.Name     `json:"-" xml:"transfer"`
	Account    Text         `json:"account" xml:"account_id"` // at which the record lies: the payer, or the payee of a deposit
	ID         Text         `json:"id" xml:"id"`
	From       Text         `json:"from,omitempty" xml:"from,omitempty"` // from, to and amount of a transfer with a single posting
	To         Text         `json:"to,omitempty" xml:"to,omitempty"`
	Amount     *Amount      `json:"amount,omitempty" xml:"amount,omitempty"`
	Postings   []Posting    `json:"postings,omitempty" xml:"posting"` // of a transfer with several
	Currency   string       `json:"currency" xml:"currency"`
	Memo       Text         `json:"memo,omitempty" xml:"memo,omitempty"`
	Status     string       `json:"status" xml:"status"`
	Reason     string       `json:"reason,omitempty" xml:"reason,omitempty"`   // why the status is FAILED or VOIDED
	Settled    *Amount      `json:"settled,omitempty" xml:"settled,omitempty"` // by a posted hold
	CreatedAt  time.Time    `json:"created_at" xml:"created_at"`
	PostedAt   *time.Time   `json:"posted_at,omitempty" xml:"posted_at,omitempty"`
	ExpiresAt  *time.Time   `json:"expires_at,omitempty" xml:"expires_at,omitempty"` // of a hold
	By         Text         `json:"by,omitempty" xml:"by,omitempty"`                 // the name of the API key
	Reverses   *TransferRef `json:"reverses,omitempty" xml:"reverses,omitempty"`
	ReversedBy *TransferRef `json:"reversed_by,omitempty" xml:"reversed_by,omitempty"`
}

// TransferPage is a page of transfers.
type TransferPage struct {
	XMLName   xml.Name    `json:"-" xml:"transfers"`
	Transfers []*Transfer `json:"transfers" xml:"transfer"`
	Next      string      `json:"next,omitempty" xml:"next,omitempty"`
}

// HistoryLine is a line of an account's history.
type HistoryLine struct {
	XMLName      xml.Name     `json:"-" xml:"line"`
	Event        string       `json:"event" xml:"event"` // moved, held, voided, expired, posted, failed, refunded, opened, changed, frozen, open or closed
	Transfer     *TransferRef `json:"transfer,omitempty" xml:"transfer,omitempty"`
	Peer         Text         `json:"peer,omitempty" xml:"peer,omitempty"` // the opposite account
	Amount       Amount       `json:"amount" xml:"amount"`                 // added to the balance
	Held         *Amount      `json:"held,omitempty" xml:"held,omitempty"` // added to the held money
	BalanceAfter Amount       `json:"balance_after" xml:"balance_after"`
	Memo         Text         `json:"memo,omitempty" xml:"memo,omitempty"`
	At           time.Time    `json:"at" xml:"at"`
	By           Text         `json:"by,omitempty" xml:"by,omitempty"`
}

// HistoryPage is a page of an account's history, the newest line first.
type HistoryPage struct {
	XMLName xml.Name       `json:"-" xml:"history"`
	History []*HistoryLine `json:"history" xml:"line"`
	Next    string         `json:"next,omitempty" xml:"next,omitempty"`
}

// TransferResult is the result of an item of a batch of transfers.
type TransferResult struct {
	Index    int       `json:"index" xml:"index"`
	Status   int       `json:"status" xml:"status"` // as the answer to the transfer alone
	Transfer *Transfer `json:"transfer,omitempty" xml:"transfer,omitempty"`
	Problem  *Problem  `json:"problem,omitempty" xml:"problem,omitempty"`
}

// TransferResults is the answer to a batch of transfers.
type TransferResults struct {
	XMLName xml.Name         `json:"-" xml:"results"`
	Results []TransferResult `json:"results" xml:"result"`
}

// BookSums are the sums of a currency. Balances + World + Debited − Credited is Off, and 0 if the books add up.
type BookSums struct {
	Currency string `json:"currency" xml:"currency"`
	Balances string `json:"balances" xml:"balances"` // decimal numbers, of any length
	World    string `json:"world" xml:"world"`
	Debited  string `json:"debited" xml:"debited"`
	Credited string `json:"credited" xml:"credited"`
	Off      string `json:"off" xml:"off"`
}

// VerifyReport is the report of a verification of the books.
type VerifyReport struct {
	XMLName   xml.Name   `json:"-" xml:"verification"`
	Partition Text       `json:"partition" xml:"partition"`
	At        time.Time  `json:"at" xml:"at"`
	Accounts  int64      `json:"accounts" xml:"accounts"`
	Transfers int64      `json:"transfers" xml:"transfers"`
	LineCount int64      `json:"lines" xml:"lines"` // of history
	Sums      []BookSums `json:"sums" xml:"sum"`
	Faults    []Text     `json:"faults" xml:"fault"`                      // empty: the books add up
	Halted    Text       `json:"halted,omitempty" xml:"halted,omitempty"` // why the ledger takes no writes
}

// Pages and plain text show the Title and the Rows of the documents of the ledger.

func (a *Account) Title() string { return "Account " + string(a.ID) }

func (a *Account) Rows() [][2]string {
	return [][2]string{{"id", string(a.ID)}, {"name", string(a.Name)}, {"email", string(a.Email)}, {"balance", a.Balance.String() + " " + a.Currency}, {"available", a.Available.String()},
		{"held", a.Held.String()}, {"pending", a.Pending.String()}, {"min_balance", a.MinBalance.String()}, {"state", a.State}}
}

func (w *World) Title() string { return "Account @world" }

func (w *World) Rows() (rows [][2]string) {
	for currency, a := range w.Balances {
		rows = append(rows, [2]string{currency, a.String()})
	}
	return rows
}

func (p *AccountPage) Title() string { return "Accounts" }

func (p *AccountPage) Rows() (rows [][2]string) {
	for _, a := range p.Accounts {
		rows = append(rows, [2]string{string(a.ID), fmt.Sprintf("%s %s %s %s", a.Balance, a.Currency, a.State, a.Name)})
	}
	return appendNext(rows, p.Next)
}

func appendNext(rows [][2]string, next string) [][2]string {
	if next != "" {
		rows = append(rows, [2]string{"next", next})
	}
	return rows
}

func (t *Transfer) Title() string { return "Transfer " + string(t.ID) }

// Summary is the transfer in a line.
func (t *Transfer) Summary() string {
	text := t.Status
	if t.Reason != "" {
		text += " (" + t.Reason + ")"
	}
	postings := t.Postings
	if t.Amount != nil {
		postings = []Posting{{From: t.From, To: t.To, Amount: *t.Amount}}
	}
	for _, p := range postings {
		text += fmt.Sprintf(" %s from %s to %s;", p.Amount, p.From, p.To)
	}
	return text
}

func (t *Transfer) Rows() [][2]string {
	return [][2]string{{"account", string(t.Account)}, {"id", string(t.ID)}, {"status", t.Summary()}, {"memo", string(t.Memo)}, {"created_at", t.CreatedAt.Format(time.RFC3339Nano)}}
}

func (p *TransferPage) Title() string { return "Transfers" }

func (p *TransferPage) Rows() (rows [][2]string) {
	for _, t := range p.Transfers {
		rows = append(rows, [2]string{string(t.Account) + "/" + string(t.ID), t.Summary()})
	}
	return appendNext(rows, p.Next)
}

func (p *HistoryPage) Title() string { return "History" }

func (p *HistoryPage) Rows() (rows [][2]string) {
	for _, l := range p.History {
		rows = append(rows, [2]string{l.At.Format(time.RFC3339), l.Summary()})
	}
	return appendNext(rows, p.Next)
}

// Summary is the line without its time.
func (l *HistoryLine) Summary() string {
	text := fmt.Sprintf("%s %s, balance %s", l.Event, l.Amount, l.BalanceAfter)
	if l.Held != nil {
		text += fmt.Sprintf(", held %s", l.Held)
	}
	if l.Transfer != nil {
		text += fmt.Sprintf(", %s/%s", l.Transfer.Account, l.Transfer.ID)
	}
	if l.By != "" {
		text += ", by " + string(l.By)
	}
	return text
}

func (r *TransferResults) Title() string { return "Transfers of a batch" }

func (r *TransferResults) Rows() (rows [][2]string) {
	for _, one := range r.Results {
		text := strconv.Itoa(one.Status)
		if one.Transfer != nil {
			text += " " + one.Transfer.Summary()
		}
		if one.Problem != nil {
			text += " " + one.Problem.Title
		}
		rows = append(rows, [2]string{strconv.Itoa(one.Index), text})
	}
	return rows
}

func (r *VerifyReport) Title() string { return "Verification of the books" }

func (r *VerifyReport) Rows() [][2]string {
	rows := [][2]string{{"partition", string(r.Partition)}, {"at", r.At.Format(time.RFC3339)}, {"accounts", strconv.FormatInt(r.Accounts, 10)},
		{"transfers", strconv.FormatInt(r.Transfers, 10)}, {"lines of history", strconv.FormatInt(r.LineCount, 10)}}
	for _, s := range r.Sums {
		rows = append(rows, [2]string{s.Currency, fmt.Sprintf("balances %s, world %s, debited %s, credited %s, off %s", s.Balances, s.World, s.Debited, s.Credited, s.Off)})
	}
	for _, f := range r.Faults {
		rows = append(rows, [2]string{"fault", string(f)})
	}
	if r.Halted != "" {
		rows = append(rows, [2]string{"halted", string(r.Halted)})
	}
	return rows
}

// linesOf joins rows for the templates of pages and plain text.
func linesOf(rows [][2]string) (lines []string) {
	for _, row := range rows {
		lines = append(lines, row[0]+"\t"+row[1])
	}
	return lines
}

// Heading, Lines and NextPage are for the templates.

func (a *Account) Heading() string  { return a.Title() }
func (a *Account) Lines() []string  { return linesOf(a.Rows()) }
func (a *Account) NextPage() string { return "" }

func (w *World) Heading() string  { return w.Title() }
func (w *World) Lines() []string  { return linesOf(w.Rows()) }
func (w *World) NextPage() string { return "" }

func (p *AccountPage) Heading() string  { return p.Title() }
func (p *AccountPage) Lines() []string  { return linesOf(p.Rows()) }
func (p *AccountPage) NextPage() string { return "" }

func (t *Transfer) Heading() string  { return t.Title() }
func (t *Transfer) Lines() []string  { return linesOf(t.Rows()) }
func (t *Transfer) NextPage() string { return "" }

func (p *TransferPage) Heading() string  { return p.Title() }
func (p *TransferPage) Lines() []string  { return linesOf(p.Rows()) }
func (p *TransferPage) NextPage() string { return "" }

func (p *HistoryPage) Heading() string  { return p.Title() }
func (p *HistoryPage) Lines() []string  { return linesOf(p.Rows()) }
func (p *HistoryPage) NextPage() string { return "" }

func (r *TransferResults) Heading() string  { return r.Title() }
func (r *TransferResults) Lines() []string  { return linesOf(r.Rows()) }
func (r *TransferResults) NextPage() string { return "" }

func (r *VerifyReport) Heading() string  { return r.Title() }
func (r *VerifyReport) Lines() []string  { return linesOf(r.Rows()) }
func (r *VerifyReport) NextPage() string { return "" }
