package quota

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Quota bounds the live entries with names that begin with a prefix.
type Quota struct {
	Prefix   string // of names of the user; "" for all names
	MaxKeys  int64  // number of entries; 0: no limit
	MaxBytes int64  // sum of the sizes of their values; 0: no limit
}

// Amount is a number of entries and of bytes in their values. As growth an Amount may be negative.
type Amount struct{ Keys, Bytes int64 }

func (a *Amount) add(b Amount) { a.Keys, a.Bytes = a.Keys+b.Keys, a.Bytes+b.Bytes }

func (a *Amount) subtract(b Amount) { a.Keys, a.Bytes = a.Keys-b.Keys, a.Bytes-b.Bytes }

// positive is the part of a net growth that takes room.
func (a Amount) positive() Amount { return Amount{max(a.Keys, 0), max(a.Bytes, 0)} }

// Status is the known use of a quota.
type Status struct {
	Quota
	Used       Amount
	MeasuredAt time.Time // end of the last complete measurement; zero: only the growth is known
}

// Error says that a write would exceed a quota. Nothing was stored.
type Error struct {
	Prefix              string
	Unit                string // "keys" or "bytes"
	Limit, Used, Growth int64
}

func (e *Error) Error() string {
	return fmt.Sprintf("the names that begin with %q may have %d %s, have %d, and the write adds %d", e.Prefix, e.Limit, e.Unit, e.Used, e.Growth)
}

// Book knows the use of all quotas. All methods are safe for concurrent use, except Measure, which
// a single goroutine calls at a time. A nil Book has no quotas.
type Book struct {
	changed  chan struct{} // buffered, 1: a measurement is due
	accounts atomic.Pointer[[]*account]

	mu sync.Mutex // guards the contents of the accounts, and replacing them
}

// account is a quota with its use.
type account struct {
	prefix     string // of stored keys; never changes
	quota      Quota
	used       Amount           // sum over the masters
	reserved   Amount           // by commits that have not ended
	masters    map[string]*part // the use by the entries of each master
	measuredAt time.Time
}

// NewBook makes a Book without quotas.
func NewBook() *Book {
	b := &Book{changed: make(chan struct{}, 1)}
	b.accounts.Store(new([]*account))
	return b
}

// Set replaces all quotas. space begins the stored key of every name. A quota with the prefix of a
// former quota keeps its use.
func (b *Book) Set(space string, quotas []Quota) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old, accounts := *b.accounts.Load(), make([]*account, len(quotas))
	for i, q := range quotas {
		prefix := space + q.Prefix
		j := slices.IndexFunc(old, func(a *account) bool { return a.prefix == prefix })
		if j < 0 {
			accounts[i] = &account{prefix: prefix, masters: make(map[string]*part)}
		} else {
			accounts[i] = old[j]
		}
		accounts[i].quota = q
	}
	b.accounts.Store(&accounts)
	b.Remeasure()
}

// IsActive reports whether there are quotas.
func (b *Book) IsActive() bool { return len(*b.accounts.Load()) > 0 }

// Remeasure asks for a measurement before the next is due.
func (b *Book) Remeasure() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// Due receives a token when Remeasure was called.
func (b *Book) Due() <-chan struct{} { return b.changed }

// Status returns the use of all quotas, in their order.
func (b *Book) Status() []Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	accounts := *b.accounts.Load()
	s := make([]Status, len(accounts))
	for i, a := range accounts {
		s[i] = Status{Quota: a.quota, Used: a.used.positive(), MeasuredAt: a.measuredAt}
	}
	return s
}

// refusal is the reason why an account has no room for growth; nil if there is room. own is the net
// growth that the commit has reserved so far. Only a growing unit is refused. Book.mu is held.
func (a *account) refusal(own, growth Amount) error {
	used := a.used
	used.add(a.reserved)
	used.subtract(own.positive())
	used.add(own)
	for _, u := range [...]struct {
		name                string
		limit, used, growth int64
	}{{"keys", a.quota.MaxKeys, used.Keys, growth.Keys}, {"bytes", a.quota.MaxBytes, used.Bytes, growth.Bytes}} {
		if u.limit > 0 && u.growth > 0 && u.used+u.growth > u.limit {
			return &Error{Prefix: a.quota.Prefix, Unit: u.name, Limit: u.limit, Used: max(u.used, 0), Growth: u.growth}
		}
	}
	return nil
}

func (a *account) matches(k partition.Key) bool { return strings.HasPrefix(string(k), a.prefix) }

// record counts a change that was committed on a master. Book.mu is held.
func (a *account) record(master string, c *Change) {
	if !a.matches(c.Key) {
		return
	}
	p := a.part(master)
	if p.last == nil || !p.last.includes(c) {
		p.used.add(c.Growth)
		a.used.add(c.Growth)
	}
	if p.running != nil {
		p.running.record(c)
	}
}

// part is the use by the entries of a master.
func (a *account) part(master string) *part {
	p := a.masters[master]
	if p == nil {
		p = &part{}
		a.masters[master] = p
	}
	return p
}
