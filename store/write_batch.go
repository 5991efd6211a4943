package store

import (
	"errors"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// batch is the updates of one commit, and the state they work on. A committer
// has one, and uses it again.
type batch struct {
	origin   Origin
	requests []*writeRequest
	limit    int64 // of the bytes that functions write before the rest must wait
	decides  bool  // some update has a function
	revs     int

	at    map[Key]int // the place of each declared key among stands
	order []int       // places of the updates' keys, one update's after the other's
	rows  []rowState

	claim   partition.Claim // of the attempt under way
	changed int             // keys
	bytes   int64           // of the values written so far
	done    int             // updates that were run; the others wait for the next commit

	read, heads []Key   // what the request asks for
	write       []Entry // what is written
}

// standing is what stands for a key, with what the batch's updates wrote so far.
type rowState struct {
	key     Key
	value   bool // it is needed with its value
	found   bool
	changed bool
	write   int // its place in a request that needs no decision, and 1
	entry   Entry
	known   bool    // the request relies on what is recalled: …
	expiry  Instant // … when what stands expires
}

// errNothingWritten makes a commit roll back: no update of it wrote anything.
var errNothingWritten = errors.New("nothing was written")

func newBatch(origin Origin, limit int64) *batch {
	return &batch{origin: origin, limit: limit, at: make(map[Key]int)}
}

// fill makes it the batch of these updates.
func (b *batch) load(us []*writeRequest) {
	b.requests, b.done, b.revs, b.decides = us, len(us), 0, false
	for _, u := range us {
		u.firstOrder = len(b.order)
		b.revs += len(u.keys)
		b.decides = b.decides || u.fn != nil
		for _, k := range u.keys {
			i := b.rowOf(k)
			b.order = append(b.order, i)
			b.rows[i].value = b.rows[i].value || u.values
		}
	}
}

func (b *batch) rowOf(k Key) int {
	i, ok := b.at[k]
	if !ok {
		i = len(b.rows)
		b.at[k] = i
		b.rows = append(b.rows, rowState{key: k})
	}
	return i
}

// keepKeys bounds the room that is kept from one commit for the next.
const keepKeys = 8192

// empty drops what the batch holds, so that only the room for it is kept.
func (b *batch) unload() {
	if len(b.at) > keepKeys {
		*b = *newBatch(b.origin, b.limit)
		return
	}
	clear(b.at)
	clear(b.rows)
	clear(b.read)
	clear(b.heads)
	clear(b.write)
	b.requests, b.claim = nil, partition.Claim{}
	b.order, b.rows = b.order[:0], b.rows[:0]
	b.read, b.heads, b.write = b.read[:0], b.heads[:0], b.write[:0]
}

// request is the batch in the partition's terms. Puts alone need no decision:
// the last one of each key is written as it is. What they replace is asked for
// where it is not recalled.
func (b *batch) request(known *writtenKeys, atLeast Revision, now time.Time) partition.Batch {
	b.read, b.heads, b.write = b.read[:0], b.heads[:0], b.write[:0]
	recalls := !b.decides && known.usable(now)
	r := partition.Batch{Epoch: b.requests[0].epoch, AtLeast: atLeast, Revisions: b.revs}
	for i := range b.rows {
		s := &b.rows[i]
		s.write, s.known, s.expiry = 0, false, 0
		if recalls {
			s.expiry, s.known = known.expiry(s.key)
		}
		switch {
		case s.known:
			r.After = known.last
		case s.value:
			b.read = append(b.read, s.key)
		default:
			b.heads = append(b.heads, s.key)
		}
	}
	r.Read, r.Heads = b.read, b.heads
	if b.decides {
		r.Decide = b.decide
		return r
	}
	for i, u := range b.requests {
		e := u.entry
		e.Origin, e.Revision = b.origin, Revision(i) // one key each: the offset is the index
		if s := &b.rows[b.order[i]]; s.write > 0 {
			b.write[s.write-1] = e
		} else {
			b.write = append(b.write, e)
			s.write = len(b.write)
		}
	}
	r.Write = b.write
	return r
}

// decide runs the updates in order, each seeing the writes of those before it,
// until they have written too much for one commit.
func (b *batch) decide(claim partition.Claim) ([]Entry, error) {
	b.loadRows(claim)
	base := claim.First
	b.done = 0
	for _, u := range b.requests {
		if b.done > 0 && b.bytes >= b.limit {
			break
		}
		b.runRequest(u, base)
		base += Revision(len(u.keys))
		b.done++
	}
	if b.changed == 0 {
		return nil, errNothingWritten
	}
	b.write = b.write[:0]
	for i := range b.rows {
		if b.rows[i].changed {
			b.write = append(b.write, b.rows[i].entry)
		}
	}
	return b.write, nil
}

// begin takes what stands before the attempt.
func (b *batch) loadRows(claim partition.Claim) {
	b.claim, b.changed, b.bytes = claim, 0, 0
	for i := range b.rows {
		s := &b.rows[i]
		s.found, s.changed, s.entry = s.known, false, Entry{ExpiresAt: s.expiry}
	}
	for i := range claim.Current {
		if j, ok := b.at[claim.Current[i].Key]; ok {
			b.rows[j].found, b.rows[j].entry = true, claim.Current[i]
		}
	}
}

// apply runs one update over the current state; an error leaves it as it was.
func (b *batch) runRequest(u *writeRequest, base Revision) {
	if u.fn == nil {
		b.putRow(u, base)
		return
	}
	v := Tx{batch: b, request: u, base: base}
	if u.err = u.fn(&v); u.err != nil {
		return
	}
	for i := range v.own {
		b.setRow(u.indexOf(v.own[i].Key), u, v.own[i])
	}
}

func (b *batch) putRow(u *writeRequest, revision Revision) {
	s := b.row(u, 0)
	u.created = !s.found || !s.entry.Live(b.claim.Now)
	u.entry.Origin, u.entry.Revision, u.entry.ModifiedAt = b.origin, revision, b.claim.Now
	b.setRow(0, u, u.entry)
}

// standing is what stands for the update's i-th key.
func (b *batch) row(u *writeRequest, i int) *rowState { return &b.rows[b.order[u.firstOrder+i]] }

func (b *batch) setRow(i int, u *writeRequest, e Entry) {
	s := b.row(u, i)
	if s.entry, s.found = e, true; !s.changed {
		s.changed = true
		b.changed++
	}
	b.bytes += e.Size
}

// settle completes the Puts of a batch that needed no decision.
func (b *batch) completePuts(claim partition.Claim) {
	if b.decides {
		return
	}
	b.loadRows(claim)
	for i, u := range b.requests {
		b.putRow(u, claim.First+Revision(i))
	}
}
