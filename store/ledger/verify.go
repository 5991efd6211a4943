package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/runnelkv/runnel/store"
)

// Report is the result of Verify: the sums of a partition as of a single moment.
type Report struct {
	Partition string
	At        store.Instant
	Accounts  int64
	Transfers int64
	Lines     int64 // of history
	// Sums are by currency.
	Sums   map[string]*Sums
	Faults []string // at most maxFaults; empty: the books add up
}

// Sums add up the books of a currency: Balances + World + Debited − Credited is zero.
type Sums struct {
	Balances big.Int // of all accounts
	World    big.Int // of World
	Debited  big.Int // by the records of transfers with two sides, without refunds
	Credited big.Int // by the rows at the payees
}

// Off is the amount by which the books are off.
func (s *Sums) Off() *big.Int {
	off := new(big.Int).Add(&s.Balances, &s.World)
	return off.Sub(off.Add(off, &s.Debited), &s.Credited)
}

// maxFaults bounds the faults of a report.
const maxFaults = 100

// Verify adds up the books on a partition, as of a single moment; "": on the first readable partition. It re-adds the history of every
// account, and compares the sums with its balance. The errors are those of store.View.
func (l *Ledger) Verify(ctx context.Context, partition string) (*Report, error) {
	v, err := l.store.View(ctx, partition)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	c := &check{r: &Report{Partition: v.Partition, At: v.Now, Sums: make(map[string]*Sums)}}
	c.accounts, c.lines, c.records = cursorOf(v, accounts), cursorOf(v, histories), cursorOf(v, transfers)
	if err := c.addAccounts(ctx); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		space store.Space
		add   func(*store.Entry) error
	}{{credits, c.addCredit}, {worlds, c.addWorld}} {
		if err := cursorOf(v, part.space).each(ctx, part.add); err != nil {
			return nil, err
		}
	}
	for _, currency := range slices.Sorted(maps.Keys(c.r.Sums)) {
		if off := c.r.Sums[currency].Off(); off.Sign() != 0 {
			c.fault("the books in %s are off by %s minor units", currency, off)
		}
	}
	return c.r, nil
}

// cursor walks through the entries of a space of a view, in the order of their names.
type cursor struct {
	v     *store.View
	space store.Space
	page  []store.Entry
	more  bool
	last  string
}

func cursorOf(v *store.View, space store.Space) *cursor {
	return &cursor{v: v, space: space, more: true}
}

// peek returns the current entry; nil at the end.
func (c *cursor) peek(ctx context.Context) (*store.Entry, error) {
	if len(c.page) == 0 && c.more {
		var err error
		if c.page, c.more, err = c.v.List(ctx, c.space, c.last, 500); err != nil {
			return nil, err
		}
		if len(c.page) > 0 {
			c.last = store.Name(c.page[len(c.page)-1].Key)
		}
	}
	if len(c.page) == 0 {
		return nil, nil
	}
	return &c.page[0], nil
}

func (c *cursor) skip() { c.page = c.page[1:] }

func (c *cursor) each(ctx context.Context, f func(*store.Entry) error) error {
	for {
		e, err := c.peek(ctx)
		if err != nil || e == nil {
			return err
		}
		if err := f(e); err != nil {
			return err
		}
		c.skip()
	}
}

// check is a Verify under way.
type check struct {
	r                        *Report
	accounts, lines, records *cursor
}

func (c *check) fault(format string, args ...any) {
	if len(c.r.Faults) < maxFaults {
		c.r.Faults = append(c.r.Faults, fmt.Sprintf(format, args...))
	}
}

func (c *check) sums(currency string) *Sums {
	s := c.r.Sums[currency]
	if s == nil {
		s = new(Sums)
		c.r.Sums[currency] = s
	}
	return s
}

func (c *check) decode(e *store.Entry, into any) bool {
	if !e.Intact() || json.Unmarshal(e.Value, into) != nil {
		c.fault("the entry %s is damaged", e.Key)
		return false
	}
	return true
}

// addAccounts walks through accounts, histories and records side by side: all three are in the order of the accounts.
func (c *check) addAccounts(ctx context.Context) error {
	for {
		owner, err := c.lowest(ctx)
		if err != nil || owner == "" {
			return err
		}
		a, known, err := c.readAccount(ctx, owner)
		if err != nil {
			return err
		}
		totals, err := c.addLines(ctx, owner)
		if err != nil {
			return err
		}
		under, err := c.addRecords(ctx, owner)
		if err != nil {
			return err
		}
		switch {
		case !known:
			c.fault("there are records of %s, and no account", owner)
		case totals.balance != a.Balance || totals.held != a.Held || totals.count != a.Count || totals.count > 0 && totals.last != a.Balance:
			c.fault("the account %s has %d, of which %d held, after %d lines; its history adds up to %d, of which %d held, after %d lines, and ends with %d",
				owner, a.Balance, a.Held, a.Count, totals.balance, totals.held, totals.count, totals.last)
		case under.held != a.Held || under.pending != a.Pending:
			c.fault("the account %s has %d held and %d under way; its transfers add up to %d and %d", owner, a.Held, a.Pending, under.held, under.pending)
		}
	}
}

// ownerOf returns the account in braces at the beginning of a name, with the braces.
func ownerOf(name string) string {
	end := strings.IndexByte(name, '}')
	return name[:end+1]
}

// lowest returns the next account, with braces, of the three cursors; "" at the end.
func (c *check) lowest(ctx context.Context) (owner string, err error) {
	for _, cursor := range []*cursor{c.accounts, c.lines, c.records} {
		e, err := cursor.peek(ctx)
		if err != nil {
			return "", err
		}
		if e == nil {
			continue
		}
		if o := ownerOf(store.Name(e.Key)); owner == "" || o < owner {
			owner = o
		}
	}
	return owner, nil
}

func (c *check) readAccount(ctx context.Context, owner string) (a Account, known bool, err error) {
	e, err := c.accounts.peek(ctx)
	if err != nil || e == nil || store.Name(e.Key) != owner {
		return a, false, err
	}
	known = c.decode(e, &a)
	c.accounts.skip()
	c.r.Accounts++
	if known {
		sum := &c.sums(a.Currency).Balances
		sum.Add(sum, big.NewInt(a.Balance))
	}
	return a, true, nil
}

// history has the sums of the lines of an account.
type history struct {
	balance, held, count int64
	last                 int64 // the balance after the newest line
}

func (c *check) addLines(ctx context.Context, owner string) (h history, err error) {
	err = c.ofOwner(ctx, c.lines, owner, func(e *store.Entry) {
		var line Line
		if !c.decode(e, &line) {
			return
		}
		if h.count == 0 {
			h.last = line.BalanceAfter
		}
		h.balance, h.held, h.count = h.balance+line.Amount, h.held+line.Held, h.count+1
		c.r.Lines++
	})
	return h, err
}

// unfinished has the sums of the records of an account.
type unfinished struct{ held, pending int64 }

func (c *check) addRecords(ctx context.Context, owner string) (u unfinished, err error) {
	err = c.ofOwner(ctx, c.records, owner, func(e *store.Entry) {
		var t Transfer
		if !c.decode(e, &t) {
			return
		}
		c.r.Transfers++
		switch {
		case t.Status == Held:
			u.held += t.Amount()
		case t.Status == Pending:
			u.pending += t.Amount()
		}
		if t.TwoSided && (t.Status == Pending || t.Status == Posted) {
			sum := &c.sums(t.Currency).Debited
			sum.Add(sum, big.NewInt(t.Amount()))
		}
	})
	return u, err
}

// ofOwner calls f for the entries of a cursor that belong to an account.
func (c *check) ofOwner(ctx context.Context, in *cursor, owner string, f func(*store.Entry)) error {
	for {
		e, err := in.peek(ctx)
		if err != nil || e == nil || ownerOf(store.Name(e.Key)) != owner {
			return err
		}
		f(e)
		in.skip()
	}
}

func (c *check) addCredit(e *store.Entry) error {
	var row credit
	if c.decode(e, &row) && row.Amount > 0 {
		sum := &c.sums(row.Currency).Credited
		sum.Add(sum, big.NewInt(row.Amount))
	}
	return nil
}

func (c *check) addWorld(e *store.Entry) error {
	var balances map[string]int64
	if c.decode(e, &balances) {
		for currency, n := range balances {
			sum := &c.sums(currency).World
			sum.Add(sum, big.NewInt(n))
		}
	}
	return nil
}

// Halt stops all writes of the ledger in every process, with the reason; the reason "" lifts that.
func (l *Ledger) Halt(ctx context.Context, reason string) error { return l.store.Halt(ctx, reason) }

// Halted is the reason for which the ledger takes no writes, or "".
func (l *Ledger) Halted() string { return l.store.Halted() }
