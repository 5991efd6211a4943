package quota

import (
	"errors"

	"github.com/runnelkv/runnel/store/partition"
)

// Change is the growth of a key by a write.
type Change struct {
	Key      partition.Key
	Revision partition.Revision
	Growth   Amount
}

// NewChange is the change from the old entry of a key, nil if there is none, to a new entry.
// Tombstones and expired entries take no room.
func NewChange(old, e *partition.Entry, now partition.Instant) Change {
	c := Change{Key: e.Key, Revision: e.Revision}
	if old != nil && old.Live(now) {
		c.Growth.subtract(Amount{1, old.Size})
	}
	if e.Live(now) {
		c.Growth.add(Amount{1, e.Size})
	}
	return c
}

// Draft is the growth of a commit on a master. A single goroutine uses a Draft, for each commit
// again: Begin, then Need and Reserve, or Add and Admit, then Commit or Cancel. Reserve is for a commit that cannot know
// the old entries before it has ended.
type Draft struct {
	book     *Book
	master   string
	accounts []*account // as of Begin
	net      []Amount   // growth by account; reserved as far as it takes room
	changes  []Change   // accepted changes, then those that Add has added since
	accepted int
	growth   []Amount // to be reserved next, by account; otherwise zero
}

// NewDraft makes a Draft for the commits of a master.
func (b *Book) NewDraft(master string) *Draft { return &Draft{book: b, master: master} }

// Begin begins a commit. Without quotas the other methods do nothing.
func (d *Draft) Begin() {
	d.changes, d.accepted = d.changes[:0], 0
	if d.accounts = nil; d.book == nil {
		return
	}
	d.accounts = *d.book.accounts.Load()
	if n := len(d.accounts); len(d.net) != n {
		d.net, d.growth = make([]Amount, n), make([]Amount, n)
	}
}

// IsActive reports whether there are quotas.
func (d *Draft) IsActive() bool { return len(d.accounts) > 0 }

// Need adds a key, as if it were new, with a value of the size, to what Reserve reserves.
func (d *Draft) Need(key partition.Key, size int64) {
	for i, a := range d.accounts {
		if a.matches(key) {
			d.growth[i].add(Amount{1, size})
		}
	}
}

// Reserve reserves room for all that Need has added. Without room for all of it, Reserve reserves
// nothing and returns false.
func (d *Draft) Reserve() bool {
	if !d.IsActive() {
		return true
	}
	err := d.reserve()
	clear(d.growth)
	return err == nil
}

// Add adds a change of the next request.
func (d *Draft) Add(c Change) { d.changes = append(d.changes, c) }

// Accept accepts the added changes, for which Reserve has reserved room.
func (d *Draft) Accept() { d.accepted = len(d.changes) }

// Admit reserves room for the growth by the added changes together. The error, an *Error, drops
// them.
func (d *Draft) Admit() error {
	if !d.IsActive() {
		return nil
	}
	defer clear(d.growth)
	for i := range d.changes[d.accepted:] {
		c := &d.changes[d.accepted+i]
		for j, a := range d.accounts {
			if a.matches(c.Key) {
				d.growth[j].add(c.Growth)
			}
		}
	}
	if err := d.reserve(); err != nil {
		d.changes = d.changes[:d.accepted]
		return err
	}
	d.Accept()
	return nil
}

// reserve adds growth to net if every account has room.
func (d *Draft) reserve() error {
	d.book.mu.Lock()
	defer d.book.mu.Unlock()
	for i, a := range d.accounts {
		if err := a.refusal(d.net[i], d.growth[i]); err != nil {
			return err
		}
	}
	for i, a := range d.accounts {
		a.reserved.subtract(d.net[i].positive())
		d.net[i].add(d.growth[i])
		a.reserved.add(d.net[i].positive())
	}
	return nil
}

// Restart drops all changes and reservations: the commit is attempted again.
func (d *Draft) Restart() {
	if d.IsActive() {
		d.book.mu.Lock()
		d.release()
		d.book.mu.Unlock()
	}
}

// release drops the changes and their reservations. Book.mu is held.
func (d *Draft) release() {
	for i, a := range d.accounts {
		a.reserved.subtract(d.net[i].positive())
	}
	clear(d.net)
	clear(d.changes)
	d.changes, d.accepted = d.changes[:0], 0
}

// Commit counts the accepted changes: they are stored.
func (d *Draft) Commit() {
	if !d.IsActive() {
		return
	}
	d.book.mu.Lock()
	defer d.book.mu.Unlock()
	for _, a := range *d.book.accounts.Load() {
		for i := range d.changes[:d.accepted] {
			a.record(d.master, &d.changes[i])
		}
	}
	d.release()
}

// Cancel ends a commit that has failed with err. If the commit may have taken effect, a measurement
// follows.
func (d *Draft) Cancel(err error) {
	d.Restart()
	if d.IsActive() && errors.Is(err, partition.ErrOutcomeUnknown) {
		d.book.Remeasure()
	}
}
