package ledger

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode"

	"github.com/runnelkv/runnel/store"
)

// splitWords returns the words of a text, in lower case: runs of letters, digits and marks.
func splitWords(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
	})
}

// Query selects accounts.
type Query struct {
	Prefix   string // of the id
	Words    string // each word begins a word of name, e-mail or id
	Email    string // the whole e-mail address
	Contains string // is part of the id, the name or the e-mail
	After    string // continue after this cursor
	Limit    int    // 1..1000, default 100
}

// AccountPage is a page of accounts, in the order of their ids, or, for words and addresses, in the order of the words.
type AccountPage struct {
	Accounts []Account
	Next     string // Query.After of the next page; "" on the last page
	Page     store.Page
}

// maxScan bounds the accounts that are looked at for a page.
const maxScan = 5000

// Search reads a page of the accounts that a query selects. A page can have fewer accounts than the limit, and still a Next: at most
// maxScan accounts are looked at.
func (l *Ledger) Search(ctx context.Context, q Query, o store.ReadOptions) (AccountPage, error) {
	s := search{l: l, q: q, limit: q.Limit, wanted: splitWords(q.Words)}
	if s.limit < 1 || s.limit > store.MaxLimit {
		s.limit = store.DefaultLimit
	}
	s.list = store.ListOptions{ReadOptions: o, Space: accounts, Prefix: "{" + q.Prefix, After: q.After, Values: true}
	switch {
	case q.Words != "" && len(s.wanted) == 0:
		return AccountPage{}, &InputError{"q", "has no letter or digit"}
	case q.Email != "":
		s.lead = cutWord(strings.ToLower(q.Email))
		s.list.Space, s.list.Prefix, s.list.Values = words, s.lead+"/{"+q.Prefix, false
	case len(s.wanted) > 0:
		s.lead = cutWord(slices.MaxFunc(s.wanted, func(a, b string) int { return len(a) - len(b) }))
		s.list.Space, s.list.Prefix, s.list.Values = words, s.lead, false
	}
	if q.After != "" && !strings.HasPrefix(q.After, s.list.Prefix) {
		return AccountPage{}, &InputError{"after", "is not a cursor of this list"}
	}
	return s.collect(ctx)
}

// search is a Search under way.
type search struct {
	l      *Ledger
	q      Query
	wanted []string // the words of the query
	lead   string   // the word, or the beginning of words, by which the index is read; "": all accounts are read
	list   store.ListOptions
	limit  int
	found  AccountPage
}

func (s *search) collect(ctx context.Context) (AccountPage, error) {
	for scanned := 0; ; {
		s.list.Limit = min(max(s.limit, 100), store.MaxLimit)
		page, err := s.l.store.List(ctx, s.list)
		if err != nil {
			return AccountPage{}, err
		}
		s.found.Page = page
		candidates, err := s.accountsOf(ctx, &page)
		if err != nil {
			return AccountPage{}, err
		}
		for i := range candidates {
			c := &candidates[i]
			if !c.found || !s.selects(c) {
				continue
			}
			s.found.Accounts = append(s.found.Accounts, c.account)
			if len(s.found.Accounts) == s.limit {
				if page.Next != "" || i+1 < len(candidates) {
					s.found.Next = c.cursor
				}
				return s.found, nil
			}
		}
		scanned += len(candidates)
		s.list.After = page.Next
		if page.Next == "" || scanned >= maxScan {
			s.found.Next = page.Next
			return s.found, nil
		}
	}
}

// candidate is an account that the list names.
type candidate struct {
	account Account
	word    string // of the index
	cursor  string
	found   bool
}

// accountsOf reads the accounts that a page names.
func (s *search) accountsOf(ctx context.Context, page *store.Page) ([]candidate, error) {
	cs := make([]candidate, len(page.Entries))
	var keys []store.Key
	for i := range page.Entries {
		e := &page.Entries[i]
		cs[i].cursor = store.Name(e.Key)
		if s.list.Values {
			var err error
			if cs[i].account, err = decodeAccount(e); err != nil {
				return nil, err
			}
			cs[i].found = true
			continue
		}
		word, rest, _ := strings.Cut(cs[i].cursor, "/{")
		cs[i].word = word
		keys = append(keys, accountKey(strings.TrimSuffix(rest, "}")))
	}
	var failed error
	s.l.store.GetMany(ctx, keys, s.list.ReadOptions, func(i int, r store.Read, err error) {
		switch {
		case errors.Is(err, store.ErrNotFound): // the index is ahead
		case err != nil:
			failed = errors.Join(failed, err)
		default:
			if cs[i].account, err = decodeAccount(&r.Entry); err != nil {
				failed = errors.Join(failed, err)
			}
			cs[i].found = true
		}
	})
	return cs, failed
}

// selects reports whether the query selects an account. Of several words of an account that begin with the lead only the
// first counts, so that the account is found once.
func (s *search) selects(c *candidate) bool {
	a := &c.account
	if !strings.HasPrefix(a.ID, s.q.Prefix) {
		return false
	}
	if text := strings.ToLower(s.q.Contains); text != "" && !strings.Contains(strings.ToLower(a.ID+"\n"+a.Name+"\n"+a.Email), text) {
		return false
	}
	if s.q.Email != "" && !strings.EqualFold(a.Email, s.q.Email) {
		return false
	}
	own := wordsOf(a.ID, a.Name, a.Email)
	for _, w := range s.wanted {
		if !slices.ContainsFunc(own, func(o string) bool { return strings.HasPrefix(o, cutWord(w)) }) {
			return false
		}
	}
	if s.lead == "" || s.q.Email != "" {
		return true
	}
	first := ""
	for _, o := range own {
		if strings.HasPrefix(o, s.lead) && (first == "" || o < first) {
			first = o
		}
	}
	return c.word == first
}

// TransferPage is a page of transfers.
type TransferPage struct {
	Transfers []Transfer
	Next      string // after of the next page; "" on the last page
	Page      store.Page
}

// Transfers reads a page of the records of an account, in the order of their ids, that have the status; "": any.
func (l *Ledger) Transfers(ctx context.Context, account string, status Status, after string, limit int, o store.ReadOptions) (p TransferPage, err error) {
	if err := CheckID("account", account); err != nil {
		return p, err
	}
	prefix := historyPrefix(account)
	list := store.ListOptions{ReadOptions: o, Space: transfers, Prefix: prefix, Limit: limit, Values: true}
	if after != "" {
		list.After = prefix + after
	}
	for scanned := 0; ; {
		if p.Page, err = l.store.List(ctx, list); err != nil {
			return p, err
		}
		for i := range p.Page.Entries {
			t, err := decodeTransfer(&p.Page.Entries[i])
			if err != nil {
				return p, err
			}
			if status == "" || t.Status == status {
				p.Transfers = append(p.Transfers, t)
			}
		}
		scanned += len(p.Page.Entries)
		list.After, p.Next = p.Page.Next, strings.TrimPrefix(p.Page.Next, prefix)
		if p.Next == "" || len(p.Transfers) > 0 || scanned >= maxScan {
			return p, nil
		}
	}
}

// Unfinished reads a page of the PENDING transfers of all accounts, the oldest first.
func (l *Ledger) Unfinished(ctx context.Context, after string, limit int, o store.ReadOptions) (p TransferPage, err error) {
	p.Page, err = l.store.List(ctx, store.ListOptions{ReadOptions: o, Space: pending, After: after, Limit: limit})
	if err != nil {
		return p, err
	}
	p.Next = p.Page.Next
	var keys []store.Key
	for i := range p.Page.Entries {
		if _, r, ok := queueItem(store.Name(p.Page.Entries[i].Key)); ok {
			keys = append(keys, r.key())
		}
	}
	var failed error
	l.store.GetMany(ctx, keys, o, func(_ int, r store.Read, err error) {
		if errors.Is(err, store.ErrNotFound) {
			return
		}
		var t Transfer
		if err == nil {
			t, err = decodeTransfer(&r.Entry)
		}
		if failed = errors.Join(failed, err); err == nil && t.Status == Pending {
			p.Transfers = append(p.Transfers, t)
		}
	})
	return p, failed
}
