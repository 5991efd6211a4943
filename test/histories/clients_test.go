package histories

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
)

// patience is how long a client waits for an answer: shorter than many a fault.
const patience = 1500 * time.Millisecond

// client is one that does one thing after another, each at any of the servers.
type client struct {
	id     int
	random *rand.Rand
	http   *http.Client
	server func(*rand.Rand) string // the URL of one
}

// received is what came back for a request.
type received struct {
	status int
	header http.Header
	body   []byte
}

// fate is what is known of a request.
type fate int

const (
	answered fate = iota
	undone        // nothing was done, for sure
	unclear       // something may have been done, or may be yet
)

// send sends a request. The fault says that the answer is none that anybody
// should get.
func (c *client) send(method, path, body string, header ...string) (r received, f fate, fault error) {
	request, err := http.NewRequest(method, c.server(c.random)+path, strings.NewReader(body))
	if err != nil {
		return r, undone, err
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(request)
	if err != nil {
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			return r, undone, nil
		}
		return r, unclear, nil
	}
	defer resp.Body.Close()
	r.status, r.header = resp.StatusCode, resp.Header
	if r.body, err = io.ReadAll(resp.Body); err != nil {
		return r, unclear, nil
	}
	return r, r.fate(), r.fault(method, path)
}

func (r *received) fate() fate { return fateOf(r.status, runnel.ProblemOf(r.body)) }

// fateOf is what a status says, with the problem that comes with it.
func fateOf(status int, problem string) fate {
	if status < 300 {
		return answered
	}
	switch problem {
	case "not-found", "precondition-failed":
		return answered
	case "master-unavailable", "shutting-down", "no-partition", "session-unavailable", "too-stale", "too-few-partitions":
		return undone
	}
	return unclear
}

func (r *received) fault(method, path string) error {
	if expected(r.status, runnel.ProblemOf(r.body)) {
		return nil
	}
	return fmt.Errorf("%s %s: %d %s", method, path, r.status, r.body)
}

// expected reports whether it is an answer that somebody should get.
func expected(status int, problem string) bool {
	return fateOf(status, problem) != unclear || problem == "outcome-unknown" || problem == "timed-out"
}

func (r *received) revision() int64 {
	n, _ := strconv.ParseInt(r.header.Get("Runnel-Revision"), 10, 64)
	return n
}

// registrar is a client of one group of keys after another, that records all it
// does and is told.
type registrar struct {
	client
	record *record
	name   func(group string, key int) string
	read   string       // the query of its reads
	sends  func(*asked) // makes what it sends differ from what it records, if set
	known  map[string][groupKeys]int64
}

func newRegistrar(c client, r *record, name func(string, int) string) *registrar {
	return &registrar{client: c, record: r, name: name, read: runnel.MasterRead, known: make(map[string][groupKeys]int64)}
}

// ask does an operation as a single request where it is one, else as a transaction.
func (g *registrar) ask(group string, o asked) fate {
	noted := told{group: group, client: g.id, asked: o, called: g.record.now()}
	do := g.transact
	if len(o.then) == 1 && len(o.otherwise) == 0 && (len(o.conditions) == 0 || len(o.conditions) == 1 && o.conditions[0].key == o.then[0].key) {
		do = g.single
	}
	a, f, fault := do(group, g.sent(o))
	noted.returned, noted.answer = g.record.now(), a
	if fault != nil {
		g.record.fault("%v", fault)
	}
	g.settle(noted, f)
	return f
}

// sent is what is sent of an operation.
func (g *registrar) sent(o asked) asked {
	if g.sends != nil {
		o.then = slices.Clone(o.then)
		g.sends(&o)
	}
	return o
}

// settle records an operation and learns from it.
func (g *registrar) settle(o told, f fate) {
	o.answer.unknown = f == unclear
	if f == answered || f == unclear && o.asked.changes() {
		g.record.note(o)
	}
	if f == answered {
		g.learn(o.group, o.asked, o.answer)
	}
}

func (o *asked) changes() bool {
	for _, st := range o.then {
		if st.op != "get" {
			return true
		}
	}
	return false
}

// learn keeps the revisions that conditions can name.
func (g *registrar) learn(group string, o asked, a answer) {
	known, steps := g.known[group], o.then
	if !a.succeeded {
		steps = o.otherwise
	}
	for i, st := range steps {
		known[st.key] = a.results[i].revision
		if st.op == "delete" {
			known[st.key] = 0
		}
	}
	g.known[group] = known
}

// single asks by GET, PUT or DELETE.
func (g *registrar) single(group string, o asked) (a answer, f fate, fault error) {
	st, query, header := o.then[0], "", []string(nil)
	if st.op == "get" {
		query = g.read
	} else if st.ttl != 0 {
		query = "?ttl=" + st.ttl.String()
	}
	for _, c := range o.conditions {
		if header = []string{"If-None-Match", "*"}; c.revision != 0 {
			header = []string{"If-Match", fmt.Sprintf(`"%d"`, c.revision)}
		}
	}
	r, f, fault := g.send(strings.ToUpper(st.op), "/v1/keys/"+g.name(group, st.key)+query, st.value, header...)
	if a.succeeded = r.status != http.StatusPreconditionFailed && !o.missed(r.status); !a.succeeded || f != answered {
		return a, f, fault
	}
	one := result{found: r.status != http.StatusNotFound && r.status != http.StatusCreated, revision: r.revision()}
	if st.op == "get" && one.found {
		one.value = string(r.body)
	}
	a.results = []result{one}
	return a, f, fault
}

// missed reports whether the status says that a deletion's If-Match met no entry: it cannot
// hold, and the answer is 404 in place of 412.
func (o asked) missed(status int) bool {
	return status == http.StatusNotFound && o.then[0].op == "delete" &&
		slices.ContainsFunc(o.conditions, func(c condition) bool { return c.revision != 0 })
}

// transactionPage is the answer to POST /v1/txn.
type transactionPage struct {
	Succeeded bool
	Results   []struct {
		Status   int
		Value    string
		Revision int64
	}
}

// transact asks by POST /v1/txn.
func (g *registrar) transact(group string, o asked) (a answer, f fate, fault error) {
	type object map[string]any
	steps := func(steps []step) (all []object) {
		for _, st := range steps {
			one := object{"op": st.op, "key": g.name(group, st.key)}
			if st.op == "put" {
				one["value"] = st.value
			}
			if st.ttl != 0 {
				one["ttl"] = st.ttl.String()
			}
			all = append(all, one)
		}
		return all
	}
	var conditions []object
	for _, c := range o.conditions {
		one := object{"key": g.name(group, c.key), "absent": true}
		if c.revision != 0 {
			one = object{"key": g.name(group, c.key), "etag": fmt.Sprintf(`"%d"`, c.revision)}
		}
		conditions = append(conditions, one)
	}
	request := object{"then": steps(o.then)}
	if len(conditions) > 0 {
		request["if"], request["else"] = conditions, steps(o.otherwise)
	}
	body, err := json.Marshal(request)
	if err != nil {
		return a, undone, err
	}
	r, f, fault := g.send(http.MethodPost, "/v1/txn", string(body), "Content-Type", "application/json")
	if f != answered {
		return a, f, fault
	}
	var done transactionPage
	if err := json.Unmarshal(r.body, &done); err != nil || r.status != http.StatusOK {
		return a, unclear, fmt.Errorf("a transaction was answered %d %s", r.status, r.body)
	}
	a.succeeded = done.Succeeded
	for _, one := range done.Results {
		a.results = append(a.results, result{one.Status == http.StatusOK || one.Status == http.StatusNoContent, one.Value, one.Revision})
	}
	return a, f, nil
}

func getOf(key int) step { return step{op: "get", key: key} }

// put makes up a write, at times one that expires soon.
func (g *registrar) put(key int) step {
	st := step{op: "put", key: key, value: g.record.value()}
	if g.random.IntN(4) == 0 {
		st.ttl = g.briefly()
	}
	return st
}

func (g *registrar) briefly() time.Duration {
	return time.Duration(100+g.random.IntN(500)) * time.Millisecond
}

// knownTo is the condition that a key stands as this client has seen it last.
func (g *registrar) knownTo(group string, key int) condition {
	return condition{key, g.known[group][key]}
}

// register makes up the next operation on a group of one key.
func (g *registrar) register(group string) (o asked) {
	switch dice := g.random.IntN(10); {
	case dice < 4:
		return asked{then: []step{getOf(0)}}
	case dice < 5:
		return asked{then: []step{g.put(0)}}
	case dice < 7:
		return asked{conditions: []condition{g.knownTo(group, 0)}, then: []step{g.put(0)}}
	case dice < 8:
		return asked{conditions: []condition{{0, 0}}, then: []step{g.put(0)}}
	case dice < 9 && g.known[group][0] != 0:
		return asked{conditions: []condition{g.knownTo(group, 0)}, then: []step{{op: "delete"}}}
	}
	return asked{then: []step{{op: "delete"}}}
}

// lease makes up the next operation on a group of one key that is written seldom
// enough to expire: it is taken where there is none, renewed, and looked at.
func (g *registrar) lease(group string) asked {
	taking := g.put(0)
	taking.ttl = g.briefly()
	switch dice := g.random.IntN(40); {
	case dice < 3:
		return asked{conditions: []condition{{0, 0}}, then: []step{taking}}
	case dice < 6:
		return asked{conditions: []condition{g.knownTo(group, 0)}, then: []step{taking}}
	case dice < 7:
		return asked{then: []step{g.put(0)}}
	case dice < 8:
		return asked{then: []step{{op: "delete"}}}
	}
	return asked{then: []step{getOf(0)}}
}

// transaction makes up the next operation on a group of several keys.
func (g *registrar) transaction(group string) asked {
	var all []step
	for key := range groupKeys {
		all = append(all, getOf(key))
	}
	one := g.random.IntN(groupKeys)
	other := (one + 1 + g.random.IntN(groupKeys-1)) % groupKeys
	both := []condition{g.knownTo(group, one), g.knownTo(group, other)}
	switch dice := g.random.IntN(10); {
	case dice < 3:
		return asked{then: all}
	case dice < 6: // what a transfer does
		return asked{conditions: both, then: []step{g.put(one), g.put(other)}, otherwise: all}
	case dice < 7: // what was read decides of another key: neither of two that cross may count on both
		return asked{conditions: both[:1], then: []step{g.put(other), getOf(other), getOf(one)}, otherwise: all}
	case dice < 8:
		return asked{conditions: both[:1], then: []step{{op: "delete", key: one}, g.put(other)}, otherwise: []step{g.put(one)}}
	case dice < 9:
		return asked{then: []step{g.put(one), g.put(other)}}
	case g.random.IntN(2) == 0:
		return asked{then: []step{getOf(one)}}
	}
	return asked{then: []step{g.put(one)}}
}
