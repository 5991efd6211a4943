package ledger

import (
	"encoding/json"
	"fmt"

	"github.com/runnelkv/runnel/store"
)

// oneUpdate is a transfer between accounts of the same master, as a single Update.
type oneUpdate struct {
	l     *Ledger
	order *Order
	keys  []store.Key
	lines int // of history, at most

	result   Transfer
	repeated bool
	marks    []store.Mark // of what the Update has read and written, in a Batch

	accounts map[string]*Account // of the attempt
	worlds   map[store.Key]map[string]int64
	history  []noted
}

// noted is a line for the history of an account.
type noted struct {
	account *Account
	line    Line
}

func newOneUpdate(l *Ledger, o *Order) *oneUpdate {
	u := &oneUpdate{l: l, order: o, keys: []store.Key{o.key()}}
	for _, id := range o.names() {
		u.keys = append(u.keys, accountKey(id))
	}
	seen := make(map[store.Key]bool)
	for i := range o.Postings {
		p := &o.Postings[i]
		u.lines += 2
		for _, pair := range [][2]string{{p.From, p.To}, {p.To, p.From}} {
			if pair[0] != World {
				continue
			}
			u.lines--
			if k := worldKey(pair[1]); !seen[k] {
				seen[k] = true
				u.keys = append(u.keys, k)
			}
		}
	}
	return u
}

// makeTransfer is the function of the Update.
func (u *oneUpdate) makeTransfer(tx *step) (err error) {
	o := u.order
	if u.result, u.repeated, err = tx.existing(o); err != nil || u.repeated {
		return err
	}
	if err := u.load(tx); err != nil {
		return err
	}
	t := o.newTransfer(u.accounts[o.Account].Currency, tx.Now())
	for i := range o.Postings {
		if t.Reason, err = u.applyPosting(&o.Postings[i], &t); err != nil {
			return err
		}
		if t.Reason != nil {
			t.Status = Failed
			tx.putTransfer(&t)
			u.result = t
			return nil
		}
	}
	t.Status = Posted
	u.l.options.Failpoint("debit")
	u.write(tx)
	tx.putTransfer(&t)
	u.result = t
	return nil
}

// load reads the accounts and checks their currencies.
func (u *oneUpdate) load(tx *step) error {
	o := u.order
	u.accounts, u.worlds, u.history = make(map[string]*Account, 2), nil, u.history[:0]
	for _, id := range o.names() {
		a, err := tx.readAccount(id)
		if err != nil {
			return err
		}
		u.accounts[id] = &a
	}
	currency := u.accounts[o.Account].Currency
	if o.Currency != "" {
		currency = o.Currency
	}
	for _, a := range u.accounts {
		if a.Currency != currency {
			return &CurrencyError{Account: a.ID, Has: a.Currency, Wanted: currency}
		}
	}
	for _, k := range u.keys[1+len(u.accounts):] {
		balances, err := tx.world(k)
		if err != nil {
			return err
		}
		if u.worlds == nil {
			u.worlds = make(map[store.Key]map[string]int64, 1)
		}
		u.worlds[k] = balances
	}
	return nil
}

// applyPosting makes a posting on the loaded accounts, or returns why the business refuses the transfer.
func (u *oneUpdate) applyPosting(p *Posting, t *Transfer) (*Reason, error) {
	for _, id := range []string{p.From, p.To} {
		if a := u.accounts[id]; a != nil && a.State != Open {
			return stateReason(a), nil
		}
	}
	if from := u.accounts[p.From]; from != nil {
		if r := pay(from, p.Amount); r != nil {
			return r, nil
		}
		u.remember(from, Line{Transfer: &t.Ref, Amount: -p.Amount, Peer: p.To, Memo: t.Memo, By: t.By})
	} else if err := u.addWorld(p.To, t.Currency, -p.Amount); err != nil {
		return nil, err
	}
	if to := u.accounts[p.To]; to != nil {
		if !receive(to, p.Amount) {
			return nil, &OverflowError{Account: to.ID}
		}
		u.remember(to, Line{Transfer: &t.Ref, Amount: p.Amount, Peer: p.From, Memo: t.Memo, By: t.By})
	} else if err := u.addWorld(p.From, t.Currency, p.Amount); err != nil {
		return nil, err
	}
	return nil, nil
}

func (u *oneUpdate) remember(a *Account, line Line) {
	a.Count++
	line.BalanceAfter = a.Balance
	u.history = append(u.history, noted{a, line})
}

// addWorld changes the part of World that belongs to an account.
func (u *oneUpdate) addWorld(account, currency string, amount int64) error {
	balances := u.worlds[worldKey(account)]
	sum, fits := add(balances[currency], amount)
	if !fits {
		return &OverflowError{Account: World}
	}
	balances[currency] = sum
	return nil
}

// write writes the changes of applyPosting.
func (u *oneUpdate) write(tx *step) {
	for i := range u.history {
		n := &u.history[i]
		n.line.At = tx.Now()
		tx.noteLast(tx.Append(histories.Key(historyPrefix(n.account.ID)), store.Entry{ContentType: "application/json", Value: encode(n.line)}))
	}
	for _, k := range u.keys[1+len(u.accounts):] {
		tx.putValue(k, u.worlds[k])
	}
	for _, id := range u.order.names() {
		tx.putAccount(u.accounts[id])
	}
}

// pay takes an amount from an account, or returns why that is not possible.
func pay(a *Account, amount int64) *Reason {
	if available := a.Available(); available < amount {
		return &Reason{Code: InsufficientFunds, Account: a.ID, Available: available, Needed: amount}
	}
	a.Balance -= amount
	return nil
}

// receive adds an amount to an account. false: the balance, with the money that may be refunded, would exceed 2^63-1.
func receive(a *Account, amount int64) bool {
	sum, fits := add(a.Balance, amount)
	if _, refundable := add(sum, a.Pending); !fits || !refundable {
		return false
	}
	a.Balance = sum
	return true
}

func stateReason(a *Account) *Reason {
	code := AccountFrozen
	if a.State == Closed {
		code = AccountClosed
	}
	return &Reason{Code: code, Account: a.ID}
}

// world reads a part of World: its balances by currency.
func (tx *step) world(k store.Key) (map[string]int64, error) {
	e, ok := tx.Get(k)
	if !ok {
		return make(map[string]int64, 1), nil
	}
	return decodeWorld(&e)
}

func decodeWorld(e *store.Entry) (balances map[string]int64, err error) {
	if err := json.Unmarshal(e.Value, &balances); err != nil {
		return nil, fmt.Errorf("the entry %s is damaged: %w", e.Key, err)
	}
	return balances, nil
}
