package histories

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/runnelkv/runnel/test/runnel"
)

const batchMost = 6 // operations

// batch asks for several operations on groups of one key each by one POST
// /v1/batch. Each is an operation by itself, under way as long as the batch is.
func (g *registrar) batch(group func() string, next func(group string) asked) fate {
	items := make([]told, 2+g.random.IntN(batchMost-1))
	for i := range items {
		name := group()
		items[i] = told{group: name, client: g.id, asked: next(name)}
	}
	return g.askBatch(items)
}

// askSome asks for one operation, or for several in a batch.
func (g *registrar) askSome(group func() string, next func(group string) asked) fate {
	if g.random.IntN(5) == 0 {
		return g.batch(group, next)
	}
	one := group()
	return g.ask(one, next(one))
}

func (g *registrar) askBatch(items []told) fate {
	var request []any
	for i := range items {
		request = append(request, g.batchItem(&items[i]))
	}
	body, err := json.Marshal(request)
	if err != nil {
		panic(err)
	}
	called := g.record.now()
	r, f, fault := g.send(http.MethodPost, "/v1/batch"+g.read, string(body), "Content-Type", "application/json")
	returned := g.record.now()
	if fault != nil {
		g.record.fault("%v", fault)
	}
	results, f := g.batchResults(r, f, len(items))
	last := make(map[string]int64)
	for i := range items {
		o := &items[i]
		o.called, o.returned = called, returned
		if results == nil {
			g.settle(*o, f)
			continue
		}
		one := results[i]
		if !expected(one.Status, one.problem()) {
			g.record.fault("operation %d of a batch was answered %+v", i, one)
		}
		o.answer = one.answer(o.asked)
		if at := one.Revision; at != 0 {
			if at < last[o.group] || at == last[o.group] && o.asked.changes() {
				g.record.fault("operation %d of a batch was given revision %d of %s, one before it %d", i, at, o.group, last[o.group])
			}
			last[o.group] = at
		}
		g.settle(*o, fateOf(one.Status, one.problem()))
	}
	return f
}

// batchItem is an operation of one step as a batch takes it.
func (g *registrar) batchItem(o *told) map[string]any {
	asked := g.sent(o.asked)
	st := asked.then[0]
	item := map[string]any{"op": st.op, "key": g.name(o.group, st.key)}
	if st.op == "put" {
		item["value"] = st.value
	}
	if st.ttl != 0 {
		item["ttl"] = st.ttl.String()
	}
	for _, c := range asked.conditions {
		if c.revision == 0 {
			item["if_none_match"] = "*"
		} else {
			item["if_match"] = fmt.Sprintf(`"%d"`, c.revision)
		}
	}
	return item
}

// batchResult is the answer to one operation of a batch.
type batchResult struct {
	Status   int
	Value    string
	Revision int64
	Problem  json.RawMessage
}

// batchResults are the answers to n operations, and whether there are any.
func (g *registrar) batchResults(r received, f fate, n int) ([]batchResult, fate) {
	if f != answered {
		return nil, f
	}
	var page struct{ Results []batchResult }
	if err := json.Unmarshal(r.body, &page); err != nil || len(page.Results) != n {
		g.record.fault("a batch of %d was answered %d %s", n, r.status, r.body)
		return nil, unclear
	}
	return page.Results, answered
}

func (b *batchResult) problem() string { return runnel.ProblemOf(b.Problem) }

func (b *batchResult) answer(o asked) answer {
	switch {
	case b.Status == http.StatusPreconditionFailed, o.missed(b.Status):
		return answer{}
	case b.Status == http.StatusNotFound, b.Status == http.StatusCreated:
		return done(result{revision: b.Revision})
	}
	return done(result{found: true, value: b.Value, revision: b.Revision})
}
