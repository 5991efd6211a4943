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

// clientTimeout is how long a client waits for an answer, shorter than many faults last.
const clientTimeout = 1500 * time.Millisecond

// client sends requests to random servers.
type client struct {
	id     int
	random *rand.Rand
	http   *http.Client
	server func(*rand.Rand) string // returns the URL of a server
}

// reply is the answer to a request.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// outcome says whether an operation took effect.
type outcome int

const (
	outcomeOK      outcome = iota
	outcomeFailed          // nothing was done, for sure
	outcomeUnknown         // something may have been done, or may be yet
)

// send sends a request. The fault says that the answer is none that anybody
// should get.
func (c *client) send(method, path, body string, header ...string) (r reply, f outcome, fault error) {
	request, err := http.NewRequest(method, c.server(c.random)+path, strings.NewReader(body))
	if err != nil {
		return r, outcomeFailed, err
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(request)
	if err != nil {
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			return r, outcomeFailed, nil
		}
		return r, outcomeUnknown, nil
	}
	defer resp.Body.Close()
	r.status, r.header = resp.StatusCode, resp.Header
	if r.body, err = io.ReadAll(resp.Body); err != nil {
		return r, outcomeUnknown, nil
	}
	return r, r.outcome(), r.unexpected(method, path)
}

func (r *reply) outcome() outcome { return outcomeOf(r.status, runnel.ProblemOf(r.body)) }

// outcomeOf derives the outcome from a status and the problem in the body.
func outcomeOf(status int, problem string) outcome {
	if status < 300 {
		return outcomeOK
	}
	switch problem {
	case "not-found", "precondition-failed":
		return outcomeOK
	case "master-unavailable", "insufficient-storage", "not-ready", "shutting-down", "no-partition", "session-unavailable", "too-stale", "too-few-partitions":
		return outcomeFailed
	}
	return outcomeUnknown
}

func (r *reply) unexpected(method, path string) error {
	if isExpected(r.status, runnel.ProblemOf(r.body)) {
		return nil
	}
	return fmt.Errorf("%s %s: %d %s", method, path, r.status, r.body)
}

// isExpected reports whether the API allows the answer.
func isExpected(status int, problem string) bool {
	return outcomeOf(status, problem) != outcomeUnknown || problem == "outcome-unknown" || problem == "timed-out"
}

func (r *reply) revision() int64 {
	n, _ := strconv.ParseInt(r.header.Get("Runnel-Revision"), 10, 64)
	return n
}

// recordingClient performs operations on groups of keys and records each with its response.
type recordingClient struct {
	client
	record *record
	name   func(group string, key int) string
	read   string            // the query of reads
	alter  func(*invocation) // if set, changes an invocation between record and request
	known  map[string][groupKeys]int64
}

func newRecordingClient(c client, r *record, name func(string, int) string) *recordingClient {
	return &recordingClient{client: c, record: r, name: name, read: runnel.MasterRead, known: make(map[string][groupKeys]int64)}
}

// perform sends an invocation as a single request if possible, else as a transaction.
func (g *recordingClient) perform(group string, o invocation) outcome {
	noted := operation{group: group, client: g.id, invocation: o, called: g.record.now()}
	do := g.sendTransaction
	if len(o.then) == 1 && len(o.otherwise) == 0 && (len(o.conditions) == 0 || len(o.conditions) == 1 && o.conditions[0].key == o.then[0].key) {
		do = g.sendSingle
	}
	a, f, fault := do(group, g.altered(o))
	noted.returned, noted.response = g.record.now(), a
	if fault != nil {
		g.record.addFault("%v", fault)
	}
	g.recordOutcome(noted, f)
	return f
}

// altered returns the invocation to send.
func (g *recordingClient) altered(o invocation) invocation {
	if g.alter != nil {
		o.then = slices.Clone(o.then)
		g.alter(&o)
	}
	return o
}

// recordOutcome records an operation and learns the revisions in its response.
func (g *recordingClient) recordOutcome(o operation, f outcome) {
	o.response.unknown = f == outcomeUnknown
	if f == outcomeOK || f == outcomeUnknown && o.invocation.changes() {
		g.record.add(o)
	}
	if f == outcomeOK {
		g.learnRevisions(o.group, o.invocation, o.response)
	}
}

func (o *invocation) changes() bool {
	for _, st := range o.then {
		if st.op != "get" {
			return true
		}
	}
	return false
}

// learnRevisions keeps the revisions for the conditions of later operations.
func (g *recordingClient) learnRevisions(group string, o invocation, a response) {
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

// sendSingle sends an invocation as GET, PUT or DELETE.
func (g *recordingClient) sendSingle(group string, o invocation) (a response, f outcome, fault error) {
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
	if a.succeeded = r.status != http.StatusPreconditionFailed && !o.isFailedMatch(r.status); !a.succeeded || f != outcomeOK {
		return a, f, fault
	}
	one := result{found: r.status != http.StatusNotFound && r.status != http.StatusCreated, revision: r.revision()}
	if st.op == "get" && one.found {
		one.value = string(r.body)
	}
	a.results = []result{one}
	return a, f, fault
}

// isFailedMatch reports whether a deletion with If-Match found no entry. The condition cannot hold then, and the
// status is 404 in place of 412.
func (o invocation) isFailedMatch(status int) bool {
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

// sendTransaction sends an invocation as POST /v1/txn.
func (g *recordingClient) sendTransaction(group string, o invocation) (a response, f outcome, fault error) {
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
		return a, outcomeFailed, err
	}
	r, f, fault := g.send(http.MethodPost, "/v1/txn", string(body), "Content-Type", "application/json")
	if f != outcomeOK {
		return a, f, fault
	}
	var done transactionPage
	if err := json.Unmarshal(r.body, &done); err != nil || r.status != http.StatusOK {
		return a, outcomeUnknown, fmt.Errorf("a transaction was answered %d %s", r.status, r.body)
	}
	a.succeeded = done.Succeeded
	for _, one := range done.Results {
		a.results = append(a.results, result{one.Status == http.StatusOK || one.Status == http.StatusNoContent, one.Value, one.Revision})
	}
	return a, f, nil
}

func getOf(key int) step { return step{op: "get", key: key} }

// randomPut returns a write, one time in four with a short ttl.
func (g *recordingClient) randomPut(key int) step {
	st := step{op: "put", key: key, value: g.record.newValue()}
	if g.random.IntN(4) == 0 {
		st.ttl = g.shortTTL()
	}
	return st
}

func (g *recordingClient) shortTTL() time.Duration {
	return time.Duration(100+g.random.IntN(500)) * time.Millisecond
}

// ifUnchanged returns the condition that a key has the revision that this client has seen last.
func (g *recordingClient) ifUnchanged(group string, key int) condition {
	return condition{key, g.known[group][key]}
}

// randomRegister returns an operation on a group of one key.
func (g *recordingClient) randomRegister(group string) (o invocation) {
	switch dice := g.random.IntN(10); {
	case dice < 4:
		return invocation{then: []step{getOf(0)}}
	case dice < 5:
		return invocation{then: []step{g.randomPut(0)}}
	case dice < 7:
		return invocation{conditions: []condition{g.ifUnchanged(group, 0)}, then: []step{g.randomPut(0)}}
	case dice < 8:
		return invocation{conditions: []condition{{0, 0}}, then: []step{g.randomPut(0)}}
	case dice < 9 && g.known[group][0] != 0:
		return invocation{conditions: []condition{g.ifUnchanged(group, 0)}, then: []step{{op: "delete"}}}
	}
	return invocation{then: []step{{op: "delete"}}}
}

// randomLease returns an operation on a group of one key that is written seldom, so that entries expire. The
// operation acquires, renews or reads a lease.
func (g *recordingClient) randomLease(group string) invocation {
	taking := g.randomPut(0)
	taking.ttl = g.shortTTL()
	switch dice := g.random.IntN(40); {
	case dice < 3:
		return invocation{conditions: []condition{{0, 0}}, then: []step{taking}}
	case dice < 6:
		return invocation{conditions: []condition{g.ifUnchanged(group, 0)}, then: []step{taking}}
	case dice < 7:
		return invocation{then: []step{g.randomPut(0)}}
	case dice < 8:
		return invocation{then: []step{{op: "delete"}}}
	}
	return invocation{then: []step{getOf(0)}}
}

// randomTransaction returns an operation on a group of several keys.
func (g *recordingClient) randomTransaction(group string) invocation {
	var all []step
	for key := range groupKeys {
		all = append(all, getOf(key))
	}
	one := g.random.IntN(groupKeys)
	other := (one + 1 + g.random.IntN(groupKeys-1)) % groupKeys
	both := []condition{g.ifUnchanged(group, one), g.ifUnchanged(group, other)}
	switch dice := g.random.IntN(10); {
	case dice < 3:
		return invocation{then: all}
	case dice < 6: // a transfer
		return invocation{conditions: both, then: []step{g.randomPut(one), g.randomPut(other)}, otherwise: all}
	case dice < 7: // write skew: of two crossing transactions at most one condition may hold
		return invocation{conditions: both[:1], then: []step{g.randomPut(other), getOf(other), getOf(one)}, otherwise: all}
	case dice < 8:
		return invocation{conditions: both[:1], then: []step{{op: "delete", key: one}, g.randomPut(other)}, otherwise: []step{g.randomPut(one)}}
	case dice < 9:
		return invocation{then: []step{g.randomPut(one), g.randomPut(other)}}
	case g.random.IntN(2) == 0:
		return invocation{then: []step{getOf(one)}}
	}
	return invocation{then: []step{g.randomPut(one)}}
}
