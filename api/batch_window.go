package api

import (
	"errors"
	"slices"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/store"
)

// do does a window of operations and answers them in order. They are done
// together as far as no order between them can be told; where one reads what an
// earlier one writes, or the reverse, they are done in turns.
func (b *batch) do(ops []operation) error {
	for len(ops) > 0 {
		n := independent(ops)
		b.doTogether(ops[:n])
		if err := b.request.Context().Err(); err != nil {
			return err // the client is gone
		}
		ops = ops[n:]
	}
	return nil
}

// independent counts the first operations of which no get has a key that
// another one writes. Writes of one key are in order anyway.
func independent(ops []operation) int {
	reads := 0
	for i := range ops {
		if ops[i].reads() {
			reads++
		}
	}
	if reads == 0 || reads == len(ops) {
		return len(ops)
	}
	read := make(map[store.Key]bool, len(ops))
	for i := range ops {
		o := &ops[i]
		if o.failed != nil {
			continue
		}
		before, seen := read[o.entry.Key]
		if seen && before != o.reads() {
			return i
		}
		read[o.entry.Key] = o.reads()
	}
	return len(ops)
}

// doTogether does operations that are independent: the writes, then the gets,
// which answer the others on their way.
func (b *batch) doTogether(ops []operation) {
	b.keys, b.changes = b.keys[:0], b.changes[:0]
	writes := 0
	for i := range ops {
		switch o := &ops[i]; {
		case o.failed != nil:
		case o.reads():
			b.keys = append(b.keys, o.entry.Key)
		default:
			writes++
		}
	}
	b.write(ops, writes)
	rest, changes := ops, b.changes // not answered yet
	answerWrites := func() {
		for len(rest) > 0 && (rest[0].failed != nil || !rest[0].reads()) {
			changes = b.answerWrite(&rest[0], changes)
			rest = rest[1:]
		}
	}
	b.get(func(_ int, r store.Read, err error) {
		answerWrites()
		if err == nil {
			b.server.budget.Learn(string(rest[0].entry.Key), r.Entry.Size)
		}
		b.answer.got(&rest[0], &r, err)
		rest = rest[1:]
	})
	answerWrites()
}

// get reads the keys of gets. What a session reads is not older than what it read
// just before, whoever answers.
func (b *batch) get(each func(i int, r store.Read, err error)) {
	read, n := b.read, len(b.keys)
	if err := b.reserve(); err != nil {
		for i := range b.keys {
			each(i, store.Read{}, err)
		}
		return
	}
	defer b.reading.Release()
	switch {
	case b.wrote:
		read.Consistency = store.FromMaster
	case !b.keeps || read.Consistency == store.FromMaster:
	case read.Consistency == store.Any:
		read.Consistency = store.InSession
	default: // of these GetMany reads one without regard to the others
		n = 1
	}
	for keys := b.keys; len(keys) > 0; {
		some := keys[:min(n, len(keys))]
		if b.keeps {
			read.Session = b.answer.seen.vector()
		}
		b.server.store.GetMany(b.request.Context(), some, read, each)
		keys = keys[len(some):]
	}
}

// manyBytes is about what is read of many keys at a time, and what of the results gathers.
const manyBytes = 12 << 20

// reserve reserves the memory for reading the keys, as far as their values are
// known to be large.
func (b *batch) reserve() error {
	n, largest := int64(0), int64(0)
	for _, k := range b.keys {
		size := b.server.budget.Expected(string(k))
		n, largest = n+size, max(largest, size)
	}
	b.reading.Budget = b.server.budget
	return b.reading.Resize(b.request.Context(), min(n, manyBytes+largest)+budget.EncodeCopies*largest/2, budget.Wait)
}

// write makes the changes among the operations, of which there are n.
func (b *batch) write(ops []operation, n int) {
	if n == 0 {
		return
	}
	b.changes = slices.Grow(b.changes, n)[:n]
	i := 0
	for j := range ops {
		if o := &ops[j]; o.failed == nil && !o.reads() {
			o.change(&b.changes[i])
			i++
		}
	}
	b.server.store.UpdateEach(b.request.Context(), b.changes)
	for i := range b.changes {
		err := b.changes[i].Err
		b.wrote = b.wrote || err == nil || errors.Is(err, store.ErrOutcomeUnknown)
	}
}

// answerWrite answers an operation that is no get, or that was refused, and
// returns the changes behind its own.
func (b *batch) answerWrite(o *operation, changes []store.Write) []store.Write {
	if o.failed != nil {
		b.answer.refused(o, o.failed)
		return changes
	}
	switch c := &changes[0]; {
	case c.Err != nil:
		b.answer.refused(o, c.Err)
	case o.written != nil:
		b.answer.wrote(o, &o.written.Entry, o.written.Created)
	default:
		b.answer.wrote(o, &c.Entry, c.Created)
	}
	return changes[1:]
}
