package store

import (
	"errors"

	"github.com/runnelkv/runnel/store/partition"
)

// batch is the updates of one commit, and the state they work on.
type batch struct {
	origin  Origin
	updates []*update
	limit   int64 // of the bytes that functions write before the rest must wait
	decides bool  // some update has a function
	revs    int

	claim   partition.Claim // of the attempt under way
	current map[Key]Entry   // what stands, with what the batch's updates wrote so far
	changed map[Key]bool
	bytes   int64 // of the values written so far
	ran     int   // updates that were run; the others wait for the next commit
}

// errNothingWritten makes a commit roll back: no update of it wrote anything.
var errNothingWritten = errors.New("nothing was written")

func newBatch(origin Origin, us []*update, limit int64) *batch {
	b := &batch{origin: origin, updates: us, limit: limit, ran: len(us)}
	for _, u := range us {
		b.revs += len(u.keys)
		b.decides = b.decides || u.fn != nil
	}
	return b
}

// request is the batch in the partition's terms. Puts alone need no decision:
// the last one of each key is written as it is.
func (b *batch) request() partition.Batch {
	r := partition.Batch{Epoch: b.updates[0].epoch, Revisions: b.revs}
	r.Read, r.Heads = b.reads()
	if b.decides {
		r.Decide = b.decide
		return r
	}
	at := make(map[Key]int, len(b.updates))
	r.Write = make([]Entry, 0, len(b.updates))
	for i, u := range b.updates {
		e := u.entry
		e.Origin, e.Revision = b.origin, Revision(i) // one key each: the offset is the index
		if j, ok := at[e.Key]; ok {
			r.Write[j] = e
			continue
		}
		at[e.Key] = len(r.Write)
		r.Write = append(r.Write, e)
	}
	return r
}

// reads lists the distinct keys whose entries are needed, with and without
// their values.
func (b *batch) reads() (values, heads []Key) {
	const withValue, headOnly = 2, 1
	need := make(map[Key]int, len(b.updates))
	for _, u := range b.updates {
		want := headOnly
		if u.values {
			want = withValue
		}
		for _, k := range u.keys {
			need[k] = max(need[k], want)
		}
	}
	for k, want := range need {
		if want == withValue {
			values = append(values, k)
		} else {
			heads = append(heads, k)
		}
	}
	return values, heads
}

// decide runs the updates in order, each seeing the writes of those before it,
// until they have written too much for one commit.
func (b *batch) decide(claim partition.Claim) ([]Entry, error) {
	b.begin(claim)
	base := claim.First
	b.ran = 0
	for _, u := range b.updates {
		if b.ran > 0 && b.bytes >= b.limit {
			break
		}
		b.apply(u, base)
		base += Revision(len(u.keys))
		b.ran++
	}
	if len(b.changed) == 0 {
		return nil, errNothingWritten
	}
	entries := make([]Entry, 0, len(b.changed))
	for k := range b.changed {
		entries = append(entries, b.current[k])
	}
	return entries, nil
}

func (b *batch) begin(claim partition.Claim) {
	b.claim = claim
	b.current = make(map[Key]Entry, len(claim.Current))
	for _, e := range claim.Current {
		b.current[e.Key] = e
	}
	b.changed = make(map[Key]bool)
	b.bytes = 0
}

// apply runs one update over the current state; an error leaves it as it was.
func (b *batch) apply(u *update, base Revision) {
	if u.fn == nil {
		b.put(u, base)
		return
	}
	v := View{batch: b, keys: u.keys, base: base}
	if u.err = u.fn(&v); u.err != nil {
		return
	}
	for _, e := range v.own {
		b.set(e)
	}
}

func (b *batch) put(u *update, revision Revision) {
	old, ok := b.current[u.entry.Key]
	u.created = !ok || !old.Live(b.claim.Now)
	u.entry.Origin, u.entry.Revision, u.entry.ModifiedAt = b.origin, revision, b.claim.Now
	b.set(u.entry)
}

func (b *batch) set(e Entry) {
	b.current[e.Key] = e
	b.changed[e.Key] = true
	b.bytes += e.Size
}

// settle completes the Puts of a batch that needed no decision.
func (b *batch) settle(claim partition.Claim) {
	if b.decides {
		return
	}
	b.begin(claim)
	for i, u := range b.updates {
		b.put(u, claim.First+Revision(i))
	}
}
