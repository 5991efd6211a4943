package histories

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/runnelkv/runnel/test/runnel"
)

// record holds the operations of clients, with times of a common clock.
type record struct {
	began time.Time
	lag   time.Duration // clockLag, or less where nothing is paused

	mu         sync.Mutex // guards the fields below
	operations []operation
	faults     []string // answers that the API does not allow
	values     int
}

// operation is an invocation and its response. The check searches for an order of all operations of a group. A
// group is a single key, or several keys that transactions share.
type operation struct {
	group            string
	client           int
	invocation       invocation
	response         response
	called, returned time.Duration
}

const groupKeys = 3

// invocation is a transaction on the keys of a group, which are numbered. A single read or write is a transaction
// of one step and at most one condition.
type invocation struct {
	conditions      []condition
	then, otherwise []step

	called  time.Duration // for the model
	expires *expiry       // if set, this is an expiry and not a client's invocation
}

// underLock reports whether the operation is decided under the lock that orders all writers of a master.
func (o *invocation) underLock() bool {
	return len(o.conditions) > 0 || len(o.then) != 1 || o.then[0].op != "get"
}

type condition struct {
	key      int
	revision int64 // of the entry; 0: no entry exists
}

type step struct {
	op    string // get, put or delete
	key   int
	value string        // of a put, unique in the record
	ttl   time.Duration // of a put; 0: for ever

	expires *expiry // for the model
}

// response is the answer to an invocation. If the outcome is unknown, the invocation took effect at any moment
// after the call, or never.
type response struct {
	unknown   bool
	succeeded bool // the conditions held
	results   []result
}

// result is the result of a step.
type result struct {
	found    bool // there was an entry before
	value    string
	revision int64 // that was found or written
}

func newRecord() *record { return &record{began: time.Now(), lag: clockLag} }

func (r *record) now() time.Duration { return time.Since(r.began) }

func (r *record) add(o operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.operations = append(r.operations, o)
}

func (r *record) addFault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// newValue returns a value that no operation has written.
func (r *record) newValue() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values++
	return "v" + strconv.Itoa(r.values)
}

// cell is the state of a key in the model.
type cell struct {
	value    string // "" if no entry exists
	revision int64  // 0 until a response contains it
	floor    int64  // the highest revision in any response: revisions of a key only grow
	fading   fading
}

type cells [groupKeys]cell

// apply returns the possible states after an invocation, none if the response is impossible. An invocation of
// unknown outcome at the end of the history has the same effect as none.
func (s cells) apply(o invocation, a response) (after []cells) {
	if o.expires != nil {
		return []cells{s.beginExpiry(o.expires)}
	}
	for _, seen := range s.observations(&o) {
		if ok, next := seen.applyObserved(o, a); ok {
			after = append(after, s.merge(seen, next, o.underLock()))
		}
	}
	return after
}

// applyObserved applies an invocation to a state without uncertainty.
func (s cells) applyObserved(o invocation, a response) (bool, cells) {
	holds, steps := true, o.then
	for _, c := range o.conditions {
		holds = holds && s[c.key].matches(c.revision)
	}
	if !holds {
		steps = o.otherwise
	}
	if !a.unknown && (holds != a.succeeded || len(a.results) != len(steps)) {
		return false, s
	}
	after := s
	for i, st := range steps {
		var known *result
		if !a.unknown {
			known = &a.results[i]
		}
		if !after[st.key].applyStep(st, known) {
			return false, s
		}
	}
	return true, after
}

// matches is exact even while the model does not know a revision: a client can only name a revision from a
// response, from which the model has learned the revision too.
func (c *cell) matches(revision int64) bool {
	if revision == 0 {
		return c.value == ""
	}
	return c.value != "" && c.revision == revision
}

// applyStep applies a step with its result, nil if unknown, and reports whether the result is possible.
func (c *cell) applyStep(st step, known *result) bool {
	switch {
	case known == nil:
	case known.found != (c.value != ""):
		return false
	case st.op == "get" && known.found && known.value != c.value:
		return false
	case st.op == "get" && c.revision != 0 && known.revision != c.revision:
		return false
	}
	switch {
	case st.op == "put":
		c.value, c.revision, c.fading = st.value, 0, fading{expiry: st.expires}
	case st.op == "delete" && c.value != "":
		c.value, c.revision, c.fading = "", 0, fading{}
	}
	if known == nil || known.revision == 0 {
		return true
	}
	if c.revision == 0 && known.revision <= c.floor {
		return false
	}
	c.floor = known.revision
	if c.value != "" {
		c.revision = known.revision
	}
	return true
}

var model = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{cells{}} },
	Step: func(state, input, output any) (after []any) {
		for _, s := range state.(cells).apply(input.(invocation), output.(response)) {
			after = append(after, s)
		}
		return after
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
	DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
}).ToModel()

// checkTimeout bounds the search for an order of a group. A search that times out fails the test, because it has
// shown nothing.
const checkTimeout = 30 * time.Second

// nonLinearizable returns the groups with no order of operations that agrees with every response and with real
// time.
func (r *record) nonLinearizable() (found []string) {
	for name, operations := range r.operationsByGroup() {
		if verdict := porcupine.CheckOperationsTimeout(model, operations, checkTimeout); verdict != porcupine.Ok {
			found = append(found, name+": "+string(verdict))
		}
	}
	return found
}

// operationsByGroup converts the record for the checker.
func (r *record) operationsByGroup() map[string][]porcupine.Operation {
	r.mu.Lock()
	defer r.mu.Unlock()
	groups := make(map[string][]porcupine.Operation)
	for _, o := range r.operations {
		end := int64(o.returned)
		if o.response.unknown {
			end = math.MaxInt64
		}
		expiries := o.expiries(r.lag)
		o.invocation.called = o.called
		groups[o.group] = append(append(groups[o.group],
			porcupine.Operation{ClientId: o.client, Input: o.invocation, Call: int64(o.called), Output: o.response, Return: end}), expiries...)
	}
	return groups
}

// visualize writes a page that shows the longest order found, and returns its path.
func visualize(operations []porcupine.Operation) string {
	_, info := porcupine.CheckOperationsVerbose(model, operations, checkTimeout)
	f, err := os.CreateTemp("", "runnel-history-*.html")
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if err := porcupine.Visualize(model, info, f); err != nil {
		return err.Error()
	}
	return f.Name()
}

// logCounts logs the numbers of operations by kind and fails the test if there are too few to show anything.
func (r *record) logCounts(t testing.TB, what string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	groups := make(map[string]bool)
	var unknown, held, broken, expiring int
	for _, o := range r.operations {
		groups[o.group] = true
		expiring += o.countExpiring()
		switch {
		case o.response.unknown:
			unknown++
		case len(o.invocation.conditions) > 0 && o.response.succeeded:
			held++
		case len(o.invocation.conditions) > 0:
			broken++
		}
	}
	t.Logf("%s: %d operations in %d groups: %d of unknown outcome, %d whose conditions held, %d whose did not, %d with a ttl",
		what, len(r.operations), len(groups), unknown, held, broken, expiring)
	if held == 0 || broken == 0 {
		t.Errorf("%s: conditions never held, or always", what)
	}
}

// mustBeLinearizable fails the test if a group is not linearizable or an answer is not allowed.
func (r *record) mustBeLinearizable(t testing.TB, what string) {
	t.Helper()
	found, groups := r.nonLinearizable(), r.operationsByGroup()
	for i, fault := range found[:min(len(found), 5)] {
		name, _, _ := strings.Cut(fault, ": ")
		found[i] += ", see " + visualize(groups[name])
	}
	runnel.NoFaults(t, "the order of "+what, found)
	runnel.NoFaults(t, "answers to "+what, r.faults)
}
