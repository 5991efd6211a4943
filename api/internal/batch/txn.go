package batch

import (
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runnelkv/runnel/api/internal/etag"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
)

// maxTxnOperations bounds the conditions and operations of a transaction, which blocks all other writers of the master
// while it runs.
const maxTxnOperations = 256

// Transact is POST /v1/txn: conditions and operations on keys of one master. All operations are applied in one commit,
// or none.
func (s *Service) Transact(w *exchange.Response, r *exchange.Request) error {
	if err := requireJSON(r.Header); err != nil {
		return err
	}
	majority, err := write.Durable(r.Query)
	if err != nil {
		return err
	}
	session, err := s.ReadSession(r.Header)
	if err != nil {
		return err
	}
	fences, err := write.Fences(r.Header)
	if err != nil {
		return err
	}
	body, err := w.ReadBody(r, s.largestBody(), problem.BodyTooLarge)
	if err != nil {
		return err
	}
	t, err := s.newOpDecoder(nil).transaction(body)
	if err != nil {
		return err
	}
	if !t.allowedBy(r.Grants) {
		return exchange.Forbidden()
	}
	o := t.updateOptions()
	o.Fences = fences
	if err := s.sharedMaster(t.keys); err != nil {
		return err
	}
	for _, ops := range [...][]op{t.then, t.otherwise} {
		if err := w.RequireItems(itemsOf(ops)); err != nil {
			return err
		}
	}
	if err := s.store.Update(r.Context(), t.keys, o, t.update); err != nil {
		return err
	}
	s.answerTransaction(w, t, session, majority)
	return nil
}

// answerTransaction writes the answer of a transaction that has been decided.
func (s *Service) answerTransaction(w *exchange.Response, t *transaction, session store.Vector, majority bool) {
	t.recordIn(w)
	master := s.store.Master(t.keys[0])
	answer := t.answer(master)
	h := w.Header()
	h["Content-Type"] = []string{negotiate.JSON.ContentType}
	h["Content-Length"] = []string{strconv.Itoa(len(answer))}
	h["Vary"] = exchange.VaryAccept
	h["Cache-Control"] = exchange.NoStore
	h["Runnel-Partition"] = []string{master}
	h[exchange.SessionHeader] = []string{s.SessionToken(t.seen(session))}
	w.WriteHeader(s.secureTransaction(w, t, majority))
	w.Write(answer) // an error means that the client is gone
}

// secureTransaction waits, if majority asks for that, until a majority of the voters holds what the transaction wrote, and
// returns the status of the answer.
func (s *Service) secureTransaction(w *exchange.Response, t *transaction, majority bool) int {
	newest := t.newest()
	if !majority || newest.Revision == 0 {
		return http.StatusOK
	}
	if !s.isSecured(w, newest) {
		w.SetField(exchange.DurableHeader, "master")
		return http.StatusAccepted
	}
	w.SetField(exchange.DurableHeader, "majority")
	return http.StatusOK
}

// newest returns the mark of the last write; zero: the transaction wrote nothing.
func (t *transaction) newest() (m store.Mark) {
	ops := t.chosen()
	for i := range t.results {
		if e := &t.results[i].entry; !ops[i].reads() && e.Revision > m.Revision {
			m = store.Mark{Origin: e.Origin, Revision: e.Revision}
		}
	}
	return m
}

func requireJSON(h http.Header) error {
	lines, err := hasLines(h)
	if err == nil && lines {
		e := problem.New(problem.MediaType, "A transaction is a JSON object, application/json.")
		e.Members.Available = []string{"application/json"}
		return e
	}
	return err
}

// sharedMaster refuses keys with different masters and names two of them.
func (s *Service) sharedMaster(keys []store.Key) error {
	first := s.store.Master(keys[0])
	for _, k := range keys[1:] {
		if m := s.store.Master(k); m != first {
			return problem.New(problem.DifferentMasters, "The master of %q is %s, that of %q is %s. Keys share a master if their names hold the same {tag}, as in %q.",
				store.Name(keys[0]), first, store.Name(k), m, "{tag}/"+store.Name(k))
		}
	}
	return nil
}

// transaction is a decoded transaction with its result.
type transaction struct {
	conditions      []compare
	then, otherwise []op

	keys      []store.Key  // distinct
	stood     []store.Mark // what the transaction has seen of each key
	succeeded bool
	results   []opResult // of the operations that ran
}

// compare is a condition of a transaction.
type compare struct {
	key    store.Key
	etag   etag.Tags
	absent bool // the key must not exist; if false and without etag, the key must exist
}

func (q *compare) holds(v *store.Tx) bool {
	e, exists := v.Get(q.key)
	switch {
	case q.absent:
		return !exists
	case q.etag.Given:
		return exists && q.etag.MatchRevision(e.Revision, false)
	}
	return exists
}

// opResult is the entry that an operation read or wrote.
type opResult struct {
	entry store.Entry
	found bool // the key existed
}

// seen returns the session after the transaction. Conditions count as reads.
func (t *transaction) seen(session store.Vector) store.Vector {
	session = session.Merge(store.VectorOf(t.stood...))
	for i := range t.results {
		session = session.With(store.Mark{Origin: t.results[i].entry.Origin, Revision: t.results[i].entry.Revision})
	}
	return session
}

// allowedBy reports whether the grants allow every condition and operation, also those that will not run.
func (t *transaction) allowedBy(g *access.Grants) bool {
	for i := range t.conditions {
		if !g.CanRead(store.Name(t.conditions[i].key)) {
			return false
		}
	}
	for _, ops := range [...][]op{t.then, t.otherwise} {
		for i := range ops {
			if !ops[i].allowedBy(g) {
				return false
			}
		}
	}
	return true
}

// updateOptions collects the transaction's distinct keys and returns how to update them.
func (t *transaction) updateOptions() store.UpdateOptions {
	o := store.UpdateOptions{WithoutValues: true}
	seen := make(map[store.Key]bool)
	add := func(k store.Key) {
		if !seen[k] {
			seen[k] = true
			t.keys = append(t.keys, k)
		}
	}
	for i := range t.conditions {
		add(t.conditions[i].key)
	}
	for _, ops := range [...][]op{t.then, t.otherwise} {
		for i := range ops {
			add(ops[i].Entry.Key)
			o.WithoutValues = o.WithoutValues && !ops[i].reads()
			o.Bytes += int64(len(ops[i].Entry.Value))
		}
	}
	return o
}

// update is the function for Store.Update. It may run more than once.
func (t *transaction) update(v *store.Tx) error {
	t.stood = t.stood[:0]
	for _, k := range t.keys {
		t.stood = append(t.stood, v.Seen(k))
	}
	t.succeeded = true
	for i := range t.conditions {
		t.succeeded = t.succeeded && t.conditions[i].holds(v)
	}
	ops := t.chosen()
	t.results = t.results[:0]
	for i := range ops {
		done, err := ops[i].applyIn(v)
		if err != nil {
			return err
		}
		t.results = append(t.results, done)
	}
	return nil
}

func (t *transaction) chosen() []op {
	if t.succeeded {
		return t.then
	}
	return t.otherwise
}

// applyIn runs an operation inside an Update.
func (o *op) applyIn(v *store.Tx) (done opResult, err error) {
	done.entry, done.found = v.Get(o.Entry.Key)
	switch o.name {
	case "get":
		if done.found && !done.entry.Intact() {
			return done, problem.New(problem.NoPartition, "The master's copy of a value is damaged.")
		}
	case "delete":
		done.entry, done.found = v.Delete(o.Entry.Key)
	case "put":
		e := o.Entry
		if o.TTL > 0 {
			e.ExpiresAt = v.Now().Add(o.TTL)
		}
		done.entry = v.Put(e)
	}
	return done, nil
}

// recordIn records the operations that were done in the audit log.
func (t *transaction) recordIn(w *exchange.Response) {
	ops := t.chosen()
	for i := range t.results {
		w.RecordItem(ops[i].act(), ops[i].Entry.Key, &t.results[i].entry, http.StatusOK)
	}
}

// answer returns the JSON answer.
func (t *transaction) answer(master string) []byte {
	rs := &resultWriter{b: strconv.AppendBool([]byte(`{"succeeded":`), t.succeeded)}
	rs.b = append(rs.b, `,"results":[`...)
	ops := t.chosen()
	for i := range t.results {
		o, done := &ops[i], &t.results[i]
		read := store.Read{Entry: done.entry, Partition: master}
		switch {
		case o.name == "put":
			rs.writeResult(o, &done.entry, writeStatus(o, !done.found, false))
		case !done.found:
			rs.problemResult(o, &store.Read{}, store.ErrNotFound)
		case o.name == "delete":
			rs.writeResult(o, &done.entry, http.StatusNoContent)
		default:
			rs.readResult(o, &read)
		}
	}
	return append(rs.b, "]}\n"...)
}

func (t *transaction) size() int { return len(t.conditions) + len(t.then) + len(t.otherwise) }

// transaction decodes a transaction. Any invalid part makes the whole transaction invalid.
func (d *opDecoder) transaction(body []byte) (*transaction, error) {
	d.Reset(body)
	if d.PeekKind() != '{' {
		return nil, problem.New(problem.InvalidJSON, "The body is not a JSON object.")
	}
	t := &transaction{}
	if err := d.Object(func(name jsontext.Value) error { return d.readMember(t, name) }); err != nil {
		return nil, wire.Syntax(err)
	}
	if t.size() == 0 {
		return nil, problem.Item("then", "A transaction needs an operation or a condition.")
	}
	return t, d.End()
}

// readMember decodes a member of a transaction.
func (d *opDecoder) readMember(t *transaction, name jsontext.Value) error {
	switch string(name) {
	case `"if"`:
		return d.readArray(t, "if", func() error {
			q, err := d.compare()
			t.conditions = append(t.conditions, q)
			return err
		})
	case `"then"`:
		return d.readArray(t, "then", func() error { return d.readOp(&t.then) })
	case `"else"`:
		return d.readArray(t, "else", func() error { return d.readOp(&t.otherwise) })
	}
	return problem.Item(wire.Shorten(name), "There is no member %s of a transaction; there are if, then and else.", wire.Shorten(name))
}

// readArray decodes the array of a member and bounds the size of the transaction.
func (d *opDecoder) readArray(t *transaction, member string, read func() error) error {
	if d.PeekKind() != '[' {
		return problem.Item(member, "The member %s is an array.", member)
	}
	return d.Array(func() error {
		if t.size() == maxTxnOperations {
			return problem.New(problem.TooLarge, "A transaction has at most %d conditions and operations.", maxTxnOperations)
		}
		return read()
	})
}

func (d *opDecoder) readOp(ops *[]op) error {
	var o op
	if err := d.readNext(&o); err != nil {
		return err
	}
	if own := o.given & (wire.MemberIfMatch | wire.MemberIfNoneMatch); own != 0 && o.failed == nil {
		return problem.Item(own.First(), "The conditions of a transaction stand in its member if.")
	}
	*ops = append(*ops, o)
	return o.failed
}

// compare decodes a condition.
func (d *opDecoder) compare() (q compare, err error) {
	if d.PeekKind() != '{' {
		return q, problem.Item("if", "A condition is an object.")
	}
	requirements := 0
	err = d.Object(func(name jsontext.Value) error {
		member := string(name)
		value, err := d.ReadValue()
		if err != nil {
			return err
		}
		if member != `"key"` {
			requirements++
		}
		return d.setCompare(&q, member, value)
	})
	switch {
	case err != nil:
		return q, err
	case q.key == "":
		return q, problem.Item("key", "A condition needs the member key.")
	case requirements != 1:
		return q, problem.Item("if", "A condition has exactly one of etag, absent and exists.")
	}
	return q, nil
}

func (d *opDecoder) setCompare(q *compare, quoted string, value jsontext.Value) error {
	switch quoted {
	case `"absent"`, `"exists"`:
		if string(value) != "true" {
			return problem.Item(quoted[1:len(quoted)-1], "The member %s is true.", quoted)
		}
		q.absent = quoted == `"absent"`
		return nil
	case `"key"`, `"etag"`:
	default:
		return problem.Item(wire.Shorten([]byte(quoted)), "There is no member %s of a condition; there are key, etag, absent and exists.", wire.Shorten([]byte(quoted)))
	}
	if value.Kind() != '"' {
		return problem.Item(quoted[1:len(quoted)-1], "The member %s is a string.", quoted)
	}
	text, err := wire.Unquote(value)
	if err != nil {
		return err
	}
	if quoted == `"key"` {
		q.key, err = d.keyOf(text)
		return err
	}
	if q.etag, err = itemTags("etag", text); err == nil && len(q.etag.List) != 1 {
		err = problem.Item("etag", "The member etag is one entity tag, as ETag gives it, with its quotes.")
	}
	return err
}
