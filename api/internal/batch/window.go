package batch

import (
	"context"
	"errors"
	"slices"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/store"
)

// runWindow runs a window of operations and answers them in order. Operations run together unless their order can be
// observed: a get and a write of the same key run one after the other.
func (b *batch) runWindow(ops []op) error {
	for len(ops) > 0 {
		n := independent(ops)
		b.runIndependent(ops[:n])
		if err := b.request.Context().Err(); err != nil {
			return err // the client is gone
		}
		ops = ops[n:]
	}
	return nil
}

// independent returns how many of the first operations can run together: no get has a key that another of them writes.
// Writes of the same key keep their order anyway.
func independent(ops []op) int {
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
		before, seen := read[o.Entry.Key]
		if seen && before != o.reads() {
			return i
		}
		read[o.Entry.Key] = o.reads()
	}
	return len(ops)
}

// runIndependent runs the writes of independent operations, then the gets, and answers all in order.
func (b *batch) runIndependent(ops []op) {
	b.keys, b.changes = b.keys[:0], b.changes[:0]
	writes := 0
	for i := range ops {
		switch o := &ops[i]; {
		case o.failed != nil:
		case o.reads():
			b.keys = append(b.keys, o.Entry.Key)
		default:
			writes++
		}
	}
	if err := b.answer.w.RequireItems(itemsOf(ops)); err != nil {
		refuseAll(ops, err)
		b.keys, writes = b.keys[:0], 0
	}
	b.applyWrites(ops, writes)
	rest, changes := ops, b.changes // not answered yet
	answerWrites := func() {
		for len(rest) > 0 && (rest[0].failed != nil || !rest[0].reads()) {
			changes = b.answerWrite(&rest[0], changes)
			rest = rest[1:]
		}
	}
	b.readKeys(func(_ int, r store.Read, err error) {
		answerWrites()
		if err == nil {
			b.service.Budget.Learn(string(rest[0].Entry.Key), r.Entry.Size)
		}
		b.answer.answerRead(&rest[0], &r, err)
		rest = rest[1:]
	})
	answerWrites()
}

// refuseAll makes every operation that was not refused yet fail with err.
func refuseAll(ops []op, err error) {
	for i := range ops {
		if ops[i].failed == nil {
			ops[i].failed = err
		}
	}
}

// readKeys reads the keys of gets. In a session no get reads older data than the get before, whichever partition
// answers.
func (b *batch) readKeys(each func(i int, r store.Read, err error)) {
	read, n := b.read, len(b.keys)
	if err := b.reserveValues(); err != nil {
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
	default: // GetMany would read these keys independently of each other
		n = 1
	}
	for keys := b.keys; len(keys) > 0; {
		some := keys[:min(n, len(keys))]
		if b.keeps {
			read.Session = b.answer.seen.vector()
		}
		b.service.store.GetMany(b.request.Context(), some, read, each)
		keys = keys[len(some):]
	}
}

// manyBytes is the size of values that GetMany reads in one step, approximately.
const manyBytes = 12 << 20

// reserveValues reserves memory for the values that are known to be large.
func (b *batch) reserveValues() error {
	n, largest := int64(0), int64(0)
	for _, k := range b.keys {
		size := b.service.Budget.Expected(string(k))
		n, largest = n+size, max(largest, size)
	}
	b.reading.Budget = b.service.Budget
	return b.reading.Resize(b.request.Context(), min(n, manyBytes+largest)+budget.EncodeCopies*largest/2, budget.Wait)
}

// applyWrites applies the n writes among the operations.
func (b *batch) applyWrites(ops []op, n int) {
	if n == 0 {
		return
	}
	b.changes = slices.Grow(b.changes, n)[:n]
	i := 0
	for j := range ops {
		if o := &ops[j]; o.failed == nil && !o.reads() {
			o.fillWrite(&b.changes[i])
			b.changes[i].Options.Fences = b.fences
			i++
		}
	}
	b.service.store.UpdateEach(b.request.Context(), b.changes)
	b.secure(ops)
	for i := range b.changes {
		err := b.changes[i].Err
		b.wrote = b.wrote || err == nil || errors.Is(err, store.ErrOutcomeUnknown)
	}
}

// secure waits until a majority of the voters holds the writes among the operations, if the request asks for that.
func (b *batch) secure(ops []op) {
	clear(b.answer.unsecured)
	if !b.majority {
		return
	}
	newest := make(map[store.Origin]store.Revision)
	changes := b.changes
	for i := range ops {
		if o := &ops[i]; o.failed == nil && !o.reads() {
			if e, _ := outcome(o, &changes[0]); changes[0].Err == nil {
				newest[e.Origin] = max(newest[e.Origin], e.Revision)
			}
			changes = changes[1:]
		}
	}
	for origin, revision := range newest {
		if b.service.isSecured(b.answer.w, store.Mark{Origin: origin, Revision: revision}) {
			continue
		}
		if b.answer.unsecured == nil {
			b.answer.unsecured = make(map[store.Origin]bool)
		}
		b.answer.unsecured[origin] = true
	}
}

// isSecured waits until a majority of the voters holds a write, and reports whether that is known.
func (s *Service) isSecured(w *exchange.Response, m store.Mark) bool {
	err := s.store.Secure(context.WithoutCancel(w.Request.Context()), m)
	if err != nil {
		s.Logger.Debug("writes are not known to be on a majority of the voters", "request", w.ID, "error", err)
	}
	return err == nil
}

// outcome returns the entry that a change has written for an operation.
func outcome(o *op, c *store.Write) (e *store.Entry, created bool) {
	if o.written != nil {
		return &o.written.Entry, o.written.Created
	}
	return &c.Entry, c.Created
}

// answerWrite answers a write, or an operation that was refused before it ran, and returns the remaining changes.
func (b *batch) answerWrite(o *op, changes []store.Write) []store.Write {
	if o.failed != nil {
		b.answer.answerRefusal(o, o.failed)
		return changes
	}
	if c := &changes[0]; c.Err != nil {
		b.answer.answerRefusal(o, c.Err)
	} else {
		e, created := outcome(o, c)
		b.answer.answerWrite(o, e, created)
	}
	return changes[1:]
}
