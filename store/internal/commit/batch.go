package commit

import (
	"errors"
	"time"

	"github.com/runnelkv/runnel/store/internal/quota"
	"github.com/runnelkv/runnel/store/partition"
)

// batch holds the requests of a single commit and the rows they work on. A committer
// reuses its batch for every commit.
type batch struct {
	origin   partition.Origin
	requests []*Request
	limit    int64 // bytes that functions may write before the remaining requests must wait
	decides  bool  // some request has a function, or locks are read
	locks    bool  // the locks that may protect the keys are read
	revs     int   // revisions to claim: the numbers of keys and of appended entries, counted per request

	at    map[partition.Key]int // index of each declared key in rows
	order []int                 // indexes of the requests' keys in rows, request by request
	rows  []rowState

	slotOf func(partition.Key) uint16 // of the cluster map

	claim   partition.Claim   // of the current attempt
	changed int               // rows that changed
	fresh   []partition.Entry // appended under keys of their own, which are no rows
	bytes   int64             // of the values written so far
	done    int               // requests that were run; the rest waits for the next commit

	draft *quota.Draft // growth of the batch towards the quotas

	read, heads []partition.Key   // requested from the partition
	write       []partition.Entry // written
}

// rowState is the state of a key's row: first as the partition has it, then with the
// writes of the batch so far.
type rowState struct {
	key     partition.Key
	value   bool // some request needs the value
	found   bool
	changed bool
	write   int // 1 + index in batch.write, 0: none; of a batch without functions
	entry   partition.Entry
	known   bool       // the commit relies on writtenKeys for this key, …
	current knownEntry // … which says this of the current entry
}

// errNothingWritten rolls a commit back when none of its requests wrote an entry.
var errNothingWritten = errors.New("nothing was written")

func newBatch(origin partition.Origin, limit int64, d *quota.Draft) *batch {
	return &batch{origin: origin, limit: limit, at: make(map[partition.Key]int), draft: d}
}

// loadRequests makes b the batch of these requests. guarded: the master has guards.
func (b *batch) loadRequests(us []*Request, guarded bool) {
	b.requests, b.done, b.revs, b.decides, b.locks = us, len(us), 0, false, false
	for _, u := range us {
		u.firstOrder = len(b.order)
		b.revs += len(u.Keys) + u.Appends
		b.decides = b.decides || u.fn != nil
		for _, k := range u.Keys {
			i, ok := b.at[k]
			if !ok {
				i = len(b.rows)
				b.at[k] = i
				b.rows = append(b.rows, rowState{key: k})
			}
			b.order = append(b.order, i)
			b.rows[i].value = b.rows[i].value || u.values
		}
	}
	if guarded || b.needsLocks(us) {
		b.readLocks()
	}
	b.draft.Begin()
	if !b.decides && !b.reservePuts() {
		b.decides = true // only the exact growth tells which requests fit
	}
}

// reservePuts reserves room for a batch of Puts as if all of their keys were new.
func (b *batch) reservePuts() bool {
	if !b.draft.IsActive() {
		return true
	}
	for _, u := range b.requests {
		b.draft.Need(u.entry.Key, u.entry.Size)
	}
	return b.draft.Reserve()
}

// keepKeys bounds the capacity that a batch keeps for the next commit.
const keepKeys = 8192

// clearRequests drops the batch's contents and keeps their capacity.
func (b *batch) clearRequests() {
	if len(b.at) > keepKeys {
		slotOf := b.slotOf
		*b = *newBatch(b.origin, b.limit, b.draft)
		b.slotOf = slotOf
		return
	}
	clear(b.fresh)
	b.fresh = b.fresh[:0]
	clear(b.at)
	clear(b.rows)
	clear(b.read)
	clear(b.heads)
	clear(b.write)
	b.requests, b.claim = nil, partition.Claim{}
	b.order, b.rows = b.order[:0], b.rows[:0]
	b.read, b.heads, b.write = b.read[:0], b.heads[:0], b.write[:0]
}

// request translates the batch for the partition. A batch of Puts alone needs no function:
// the last Put of each key is written directly. Rows that the Puts replace are read only if
// writtenKeys does not know them.
func (b *batch) request(written *writtenKeys, atLeast partition.Revision, now time.Time) partition.Batch {
	b.read, b.heads, b.write = b.read[:0], b.heads[:0], b.write[:0]
	usable := !b.decides && written.usableAt(now)
	r := partition.Batch{Epoch: b.requests[0].Epoch, AtLeast: atLeast, Unguarded: !b.locks, Revisions: b.revs}
	for i := range b.rows {
		row := &b.rows[i]
		row.write, row.known, row.current = 0, false, knownEntry{}
		if usable {
			row.current, row.known = written.entry(row.key)
		}
		switch {
		case row.known:
			r.After = written.last
		case row.value:
			b.read = append(b.read, row.key)
		default:
			b.heads = append(b.heads, row.key)
		}
	}
	r.Read, r.Heads = b.read, b.heads
	if b.decides {
		r.Decide = b.runAll
		return r
	}
	for i, u := range b.requests {
		e := u.entry
		e.Origin, e.Revision = b.origin, partition.Revision(i) // a Put has a single key: its offset is its index
		if row := b.row(u, 0); row.write > 0 {
			b.write[row.write-1] = e
		} else {
			b.write = append(b.write, e)
			row.write = len(b.write)
		}
	}
	r.Write = b.write
	return r
}

// runAll runs the requests in order, each on the writes of the earlier requests, until they
// have written as many bytes as a commit may hold.
func (b *batch) runAll(claim partition.Claim) ([]partition.Entry, error) {
	b.loadRows(claim)
	b.draft.Restart()
	base := claim.First
	b.done = 0
	for _, u := range b.requests {
		if b.done > 0 && b.bytes >= b.limit {
			break
		}
		b.runRequest(u, base)
		base += partition.Revision(len(u.Keys) + u.Appends)
		b.done++
	}
	if b.changed+len(b.fresh) == 0 {
		return nil, errNothingWritten
	}
	b.write = b.write[:0]
	for i := range b.rows {
		if b.rows[i].changed {
			b.write = append(b.write, b.rows[i].entry)
		}
	}
	b.write = append(b.write, b.fresh...)
	return b.write, nil
}

// loadRows sets the rows to their state before the attempt.
func (b *batch) loadRows(claim partition.Claim) {
	b.claim, b.changed, b.bytes, b.fresh = claim, 0, 0, b.fresh[:0]
	for i := range b.rows {
		row := &b.rows[i]
		row.found, row.changed, row.entry = row.known, false, partition.Entry{ExpiresAt: row.current.expiry, Size: row.current.size}
	}
	for i := range claim.Current {
		if j, ok := b.at[claim.Current[i].Key]; ok {
			b.rows[j].found, b.rows[j].entry = true, claim.Current[i]
		}
	}
}

// runRequest applies a request to the rows. If a fence, the function, a lock or a quota refuses, the rows stay
// unchanged.
func (b *batch) runRequest(u *Request, base partition.Revision) {
	if u.err = b.checkFences(u); u.err != nil {
		return
	}
	if u.fn == nil {
		if u.err = b.checkLock(u, u.entry.Key); u.err != nil {
			return
		}
		row := b.row(u, 0)
		u.created = !row.found || !row.entry.Live(b.claim.Now)
		u.entry.Origin, u.entry.Revision, u.entry.ModifiedAt = b.origin, base, b.claim.Now
		b.addGrowth(row, &u.entry)
		if u.err = b.admitGrowth(); u.err == nil {
			b.setRow(row, &u.entry)
		}
		return
	}
	tx := Tx{batch: b, request: u, base: base}
	if u.err = u.fn(&tx); u.err != nil {
		return
	}
	for i := range tx.own {
		if u.err = b.checkLock(u, tx.own[i].Key); u.err != nil {
			return
		}
	}
	for i := range tx.own {
		b.addGrowth(b.row(u, u.indexOf(tx.own[i].Key)), &tx.own[i])
	}
	for i := range tx.fresh {
		b.addGrowth(&rowState{}, &tx.fresh[i])
	}
	if u.err = b.admitGrowth(); u.err != nil {
		return
	}
	for i := range tx.own {
		b.setRow(b.row(u, u.indexOf(tx.own[i].Key)), &tx.own[i])
	}
	for i := range tx.fresh {
		b.fresh = append(b.fresh, tx.fresh[i])
		b.bytes += tx.fresh[i].Size
	}
}

// addGrowth tells the quotas of an entry that replaces the entry of a row.
func (b *batch) addGrowth(row *rowState, e *partition.Entry) {
	if !b.draft.IsActive() {
		return
	}
	var old *partition.Entry
	if row.found {
		old = &row.entry
	}
	b.draft.Add(quota.NewChange(old, e, b.claim.Now))
}

// admitGrowth asks the quotas for the growth of a request. A batch of Puts has asked before.
func (b *batch) admitGrowth() error {
	if !b.decides {
		b.draft.Accept()
		return nil
	}
	return b.draft.Admit()
}

// row is the row of the request's i-th key.
func (b *batch) row(u *Request, i int) *rowState { return &b.rows[b.order[u.firstOrder+i]] }

func (b *batch) setRow(row *rowState, e *partition.Entry) {
	if row.entry, row.found = *e, true; !row.changed {
		row.changed = true
		b.changed++
	}
	b.bytes += e.Size
}

// completePuts sets the results of a committed batch without functions.
func (b *batch) completePuts(claim partition.Claim) {
	if b.decides {
		return
	}
	b.loadRows(claim)
	for i, u := range b.requests {
		b.runRequest(u, claim.First+partition.Revision(i))
	}
}

// changedEntries yields the entries that the batch writes.
func (b *batch) changedEntries(yield func(*partition.Entry) bool) {
	for i := range b.rows {
		if row := &b.rows[i]; row.changed && !yield(&row.entry) {
			return
		}
	}
	for i := range b.fresh {
		if !yield(&b.fresh[i]) {
			return
		}
	}
}
