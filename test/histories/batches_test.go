package histories

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/runnelkv/runnel/test/runnel"
)

const batchMost = 6 // operations

// randomBatch sends several operations, each on a group of one key, in one POST /v1/batch. Every operation of the
// batch is recorded by itself and lasts as long as the batch.
func (g *recordingClient) randomBatch(group func() string, next func(group string) invocation) outcome {
	items := make([]operation, 2+g.random.IntN(batchMost-1))
	for i := range items {
		name := group()
		items[i] = operation{group: name, client: g.id, invocation: next(name)}
	}
	return g.performBatch(items)
}

// performSome performs a single operation, or several in a batch.
func (g *recordingClient) performSome(group func() string, next func(group string) invocation) outcome {
	if g.random.IntN(5) == 0 {
		return g.randomBatch(group, next)
	}
	one := group()
	return g.perform(one, next(one))
}

func (g *recordingClient) performBatch(items []operation) outcome {
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
		g.record.addFault("%v", fault)
	}
	results, f := g.batchResults(r, f, len(items))
	last := make(map[string]int64)
	for i := range items {
		o := &items[i]
		o.called, o.returned = called, returned
		if results == nil {
			g.recordOutcome(*o, f)
			continue
		}
		one := results[i]
		if !isExpected(one.Status, one.problem()) {
			g.record.addFault("operation %d of a batch was answered %+v", i, one)
		}
		o.response = one.answer(o.invocation)
		if at := one.Revision; at != 0 {
			if at < last[o.group] || at == last[o.group] && o.invocation.changes() {
				g.record.addFault("operation %d of a batch was given revision %d of %s, one before it %d", i, at, o.group, last[o.group])
			}
			last[o.group] = at
		}
		g.recordOutcome(*o, outcomeOf(one.Status, one.problem()))
	}
	return f
}

// batchItem returns an operation of one step as an item of a batch.
func (g *recordingClient) batchItem(o *operation) map[string]any {
	altered := g.altered(o.invocation)
	st := altered.then[0]
	item := map[string]any{"op": st.op, "key": g.name(o.group, st.key)}
	if st.op == "put" {
		item["value"] = st.value
	}
	if st.ttl != 0 {
		item["ttl"] = st.ttl.String()
	}
	for _, c := range altered.conditions {
		if c.revision == 0 {
			item["if_none_match"] = "*"
		} else {
			item["if_match"] = fmt.Sprintf(`"%d"`, c.revision)
		}
	}
	return item
}

// batchResult is the result of an operation in a batch.
type batchResult struct {
	Status   int
	Value    string
	Revision int64
	Problem  json.RawMessage
}

// batchResults are the answers to n operations, and whether there are any.
func (g *recordingClient) batchResults(r reply, f outcome, n int) ([]batchResult, outcome) {
	if f != outcomeOK {
		return nil, f
	}
	var page struct{ Results []batchResult }
	if err := json.Unmarshal(r.body, &page); err != nil || len(page.Results) != n {
		g.record.addFault("a batch of %d was answered %d %s", n, r.status, r.body)
		return nil, outcomeUnknown
	}
	return page.Results, outcomeOK
}

func (b *batchResult) problem() string { return runnel.ProblemOf(b.Problem) }

func (b *batchResult) answer(o invocation) response {
	switch {
	case b.Status == http.StatusPreconditionFailed, o.isFailedMatch(b.Status):
		return response{}
	case b.Status == http.StatusNotFound, b.Status == http.StatusCreated:
		return done(result{revision: b.Revision})
	}
	return done(result{found: true, value: b.Value, revision: b.Revision})
}
