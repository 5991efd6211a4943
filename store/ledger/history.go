package ledger

import (
	"context"
	"strings"

	"github.com/runnelkv/runnel/store"
)

// HistoryPage is a page of a history, the newest line first.
type HistoryPage struct {
	Lines []Line
	Next  string // after of the next page; "" on the last page
	Page  store.Page
}

// History reads the history of an account: at most limit lines after the cursor of an earlier page. An account that does
// not exist has no lines.
func (l *Ledger) History(ctx context.Context, id, after string, limit int, o store.ReadOptions) (h HistoryPage, err error) {
	if err := CheckID("id", id); err != nil {
		return h, err
	}
	prefix := historyPrefix(id)
	list := store.ListOptions{ReadOptions: o, Space: histories, Prefix: prefix, Limit: limit, Values: true}
	if after != "" {
		if len(after) != 16 || strings.Trim(after, "0123456789abcdef") != "" {
			return h, &InputError{"after", "is not a cursor of this list"}
		}
		list.After = prefix + after
	}
	if h.Page, err = l.store.List(ctx, list); err != nil {
		return h, err
	}
	for i := range h.Page.Entries {
		e := &h.Page.Entries[i]
		line, err := decodeLine(e)
		if err != nil {
			return h, err
		}
		h.Lines = append(h.Lines, line)
	}
	h.Next = strings.TrimPrefix(h.Page.Next, prefix)
	return h, nil
}

// WorldBalances adds up the balances of World, by currency.
func (l *Ledger) WorldBalances(ctx context.Context, o store.ReadOptions) (map[string]int64, store.Page, error) {
	sums := make(map[string]int64)
	list := store.ListOptions{ReadOptions: o, Space: worlds, Limit: store.MaxLimit, Values: true}
	for {
		page, err := l.store.List(ctx, list)
		if err != nil {
			return nil, page, err
		}
		for i := range page.Entries {
			balances, err := decodeWorld(&page.Entries[i])
			if err != nil {
				return nil, page, err
			}
			for currency, n := range balances {
				sum, fits := add(sums[currency], n)
				if !fits {
					return nil, page, &OverflowError{Account: World}
				}
				sums[currency] = sum
			}
		}
		if list.After = page.Next; page.Next == "" {
			return sums, page, nil
		}
	}
}
