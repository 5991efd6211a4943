package histories

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
)

// observations holds the reads and writes of sessions, in the order of each session.
type observations struct {
	record *record // for its clock and values

	mu  sync.Mutex // guards all
	all []observation
}

// observation is a read or a write of a key in a session.
type observation struct {
	session  int
	group    string // a group's keys share a master
	key      string
	op       string    // get, put, delete or txn, which is a transaction's view of its keys
	keys     []string  // of a transaction
	unknown  bool      // the outcome of a write
	found    bool      // by a read
	value    string    // read or put
	revision int64     // 0 if unknown or nothing was found
	listed   bool      // read in a list: the entries share a call
	by       string    // the partition that answered a read
	copies   int       // that held a write at the time of the answer
	wanted   freshness // of a read

	called, returned time.Duration
}

func (s *observations) add(all ...observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, all...)
}

// as returns s with a different key and op.
func (s observation) as(key, op string) observation {
	s.key, s.op = key, op
	return s
}

// change is a write of a key, as far as known.
type change struct {
	revision int64
	delete   bool
	called   time.Duration
}

// sessionChecker knows all writes and tracks the state that a session has seen.
type sessionChecker struct {
	changes       map[string][]change     // by key, sorted by revision
	deletions     map[string][]change     // by key, of unknown outcome
	puts          map[string]*observation // by value
	groups        map[string][]*observation
	page          time.Duration     // the call of the current list
	seenBefore    map[term]int64    // what was seen at that call
	seen          map[term]int64    // the session has seen this revision
	seenDeletions map[string]change // by key: the session has seen that this or a later deletion is done
}

// term is the time in which a master wrote a group.
type term struct {
	group string
	epoch int64
}

// termOf returns the term of a revision, which contains its epoch.
func termOf(group string, revision int64) term { return term{group, revision >> 40} }

// see notes that the session has seen a revision of the group.
func (c *sessionChecker) see(group string, revision int64) {
	at := termOf(group, revision)
	c.seen[at] = max(c.seen[at], revision)
}

// sessionViolations returns the reads that are older than a read or write before them in the session: an older
// entry, or no entry although no client had deleted the key. A revision seen in one key binds the reads of all
// keys of the group up to that revision in the same term, because a master's revisions become visible in order. Between
// the masters before and after a move there is no such order.
func (s *observations) sessionViolations() (faults []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := newSessionChecker(s.all)
	sessions := make(map[int][]*observation)
	for i := range s.all {
		one := &s.all[i]
		sessions[one.session] = append(sessions[one.session], one)
	}
	for id, session := range sessions {
		c.seen, c.seenDeletions, c.page = make(map[term]int64), make(map[string]change), -1
		for _, one := range session {
			if fault := c.checkNext(one); fault != "" {
				faults = append(faults, fmt.Sprintf("session %d at %v: %s %s: %s: %+v", id, one.called, one.op, one.key, fault, *one))
			}
		}
	}
	return faults
}

func newSessionChecker(all []observation) *sessionChecker {
	c := &sessionChecker{changes: make(map[string][]change), deletions: make(map[string][]change), puts: make(map[string]*observation)}
	c.groups = make(map[string][]*observation)
	for i := range all {
		c.learn(&all[i])
		c.groups[all[i].group] = append(c.groups[all[i].group], &all[i])
	}
	for key, changes := range c.changes {
		slices.SortFunc(changes, func(a, b change) int { return cmp.Compare(a.revision, b.revision) })
		c.changes[key] = slices.CompactFunc(changes, func(a, b change) bool { return a.revision == b.revision })
	}
	return c
}

func (c *sessionChecker) learn(s *observation) {
	switch {
	case s.op == "get" && !s.found:
	case s.op == "delete" && s.unknown:
		c.deletions[s.key] = append(c.deletions[s.key], change{0, true, s.called})
	case s.revision != 0:
		c.changes[s.key] = append(c.changes[s.key], change{s.revision, s.op == "delete", s.called})
	}
	if s.op == "put" {
		c.puts[s.value] = s
	}
}

// checkNext checks the next observation of the session and describes the violation, if any.
func (c *sessionChecker) checkNext(s *observation) (fault string) {
	if s.unknown {
		return ""
	}
	if s.op == "txn" {
		c.seeTransaction(s)
		return ""
	}
	fault = c.checkAnswer(s, c.oldestAllowed(s))
	if s.op != "get" || s.found {
		c.see(s.group, s.revision)
	}
	return fault
}

// seeTransaction notes the revisions of the transaction's keys that were known when the transaction began, which the
// session has therefore seen. Keys without an entry count for nothing.
func (c *sessionChecker) seeTransaction(s *observation) {
	for _, one := range c.groups[s.group] {
		if one.returned <= s.called && slices.Contains(s.keys, one.key) {
			c.see(s.group, one.revision)
		}
	}
}

// checkAnswer describes the violation if the answer is older than least, a write of the same key.
func (c *sessionChecker) checkAnswer(s *observation, least change) (fault string) {
	switch {
	case s.op == "get" && !s.found:
		return c.checkAbsent(s, least)
	case s.op == "get" && c.isUnwritten(s):
		fault = "nobody had written that"
	case s.revision == 0: // a deletion that found nothing is no read
		return ""
	case s.revision < least.revision:
		fault = fmt.Sprintf("it must have come as far as revision %d", least.revision)
	case s.op == "get" && s.revision == least.revision && least.delete:
		fault = fmt.Sprintf("revision %d had deleted it", least.revision)
	}
	return fault
}

// oldestAllowed returns the last write of the key that the session must see. Later writes are allowed too.
func (c *sessionChecker) oldestAllowed(s *observation) change {
	least := c.seenDeletions[s.key]
	changes, seen := c.changes[s.key], c.seenBeforePage(s)
	for i := len(changes) - 1; i >= 0; i-- {
		if changes[i].revision <= seen[termOf(s.group, changes[i].revision)] {
			if changes[i].revision > least.revision {
				least = changes[i]
			}
			break
		}
	}
	return least
}

// checkAbsent checks a read that found no entry: the last write that the session must see, or a later write that
// had begun, must be a deletion.
func (c *sessionChecker) checkAbsent(s *observation, least change) string {
	if least.revision == 0 || least.delete {
		return ""
	}
	unknown := func(d change) bool { return d.called < s.returned }
	if slices.ContainsFunc(c.deletions[s.key], unknown) {
		c.seenDeletions[s.key] = change{least.revision, true, s.called} // at least that
		return ""
	}
	for _, d := range c.changes[s.key] {
		if d.delete && d.revision > least.revision && d.called < s.returned {
			c.seenDeletions[s.key] = d
			return ""
		}
	}
	return fmt.Sprintf("nothing, and nobody had deleted it since revision %d", least.revision)
}

// seenBeforePage returns what the session had seen before. A list with values is not a snapshot: a later entry of a list
// may be older than an earlier entry. Entries of a list therefore do not bind each other.
func (c *sessionChecker) seenBeforePage(s *observation) map[term]int64 {
	if !s.listed {
		return c.seen
	}
	if s.called != c.page {
		c.page, c.seenBefore = s.called, maps.Clone(c.seen)
	}
	return c.seenBefore
}

func (c *sessionChecker) isUnwritten(s *observation) bool {
	put := c.puts[s.value]
	return put == nil || put.key != s.key || put.called >= s.returned || !put.unknown && put.revision != s.revision
}

// sessionClient is a session across all servers.
type sessionClient struct {
	client
	observations *observations
	token        string // "" for none
	forgets      string // answers on paths that begin so, if any
}

const sessionKeys = 4

// sessionGroups have a master each, which may be the same.
var sessionGroups = []string{"{session-0}", "{session-1}", "{session-2}"}

// randomStep performs a random operation.
func (c *sessionClient) randomStep() outcome {
	group := sessionGroups[c.random.IntN(len(sessionGroups))]
	s := observation{session: c.id, group: group, key: fmt.Sprintf("%s/%d", group, c.random.IntN(sessionKeys))}
	switch dice := c.random.IntN(20); {
	case dice < 5:
		s.op, s.value = "put", c.observations.record.newValue()
	case dice < 7:
		s.op = "delete"
	case dice < 9:
		return c.list(s)
	case dice < 12:
		return c.transact(s)
	default:
		s.op = "get"
	}
	s.called = c.observations.record.now()
	r, f := c.sendInSession(strings.ToUpper(s.op), "/v1/keys/"+s.key, s.value)
	s.returned = c.observations.record.now()
	s.unknown = f == outcomeUnknown
	if f == outcomeFailed || s.unknown && s.op == "get" {
		return f
	}
	if f == outcomeOK {
		s.found, s.revision = r.status != http.StatusNotFound, r.revision()
	}
	if s.op == "get" {
		s.value, s.by = "", r.header.Get("Runnel-Partition")
		if s.found {
			s.value = string(r.body)
		}
	}
	c.observations.add(s)
	return f
}

// list reads all keys of a group at once.
func (c *sessionClient) list(s observation) outcome {
	s.op, s.called = "get", c.observations.record.now()
	r, f := c.sendInSession(http.MethodGet, "/v1/keys?values=true&limit=1000&prefix="+s.group, "")
	s.returned = c.observations.record.now()
	if f != outcomeOK {
		return f
	}
	type entry struct {
		Key, Value string
		Revision   int64
	}
	var page struct{ Keys []entry }
	if err := json.Unmarshal(r.body, &page); err != nil {
		c.observations.record.addFault("a list was answered %d %s", r.status, r.body)
		return f
	}
	listed := make(map[string]entry)
	for _, l := range page.Keys {
		listed[l.Key] = l
	}
	s.by = r.header.Get("Runnel-Partition")
	for i := range sessionKeys {
		s.key = fmt.Sprintf("%s/%d", s.group, i)
		l, found := listed[s.key]
		s.found, s.value, s.revision, s.listed = found, l.Value, l.Revision, true
		c.observations.add(s)
	}
	return f
}

// transact performs a transaction on several keys of a group, in a third of the cases with a condition.
func (c *sessionClient) transact(s observation) outcome {
	whole := s.as("", "txn")
	var steps []observation
	var then []map[string]string
	for _, key := range c.random.Perm(sessionKeys)[:1+c.random.IntN(sessionKeys)] {
		one := s.as(fmt.Sprintf("%s/%d", s.group, key), []string{"put", "get", "delete", "put", "get"}[c.random.IntN(5)])
		step := map[string]string{"op": one.op, "key": one.key}
		if one.op == "put" {
			one.value = c.observations.record.newValue()
			step["value"] = one.value
		}
		steps, then = append(steps, one), append(then, step)
		whole.keys = append(whole.keys, one.key)
	}
	request := map[string]any{"then": then}
	if c.random.IntN(3) == 0 {
		request["if"] = []map[string]any{{"key": s.key, "absent": true}}
		whole.keys = append(whole.keys, s.key)
	}
	body, err := json.Marshal(request)
	if err != nil {
		panic(err)
	}
	called := c.observations.record.now()
	r, f := c.sendInSession(http.MethodPost, "/v1/txn", string(body))
	returned := c.observations.record.now()
	var done transactionPage
	if f == outcomeOK {
		if err := json.Unmarshal(r.body, &done); err != nil || done.Succeeded && len(done.Results) != len(steps) {
			c.observations.record.addFault("a transaction was answered %d %s", r.status, r.body)
			return outcomeUnknown
		}
	}
	all := append([]observation{whole}, steps...)
	switch {
	case f == outcomeFailed:
		return f
	case f == outcomeOK && !done.Succeeded:
		all = all[:1]
	case f == outcomeOK:
		for i, one := range done.Results {
			at := &all[1+i]
			at.found = at.op == "put" || one.Status != http.StatusNotFound
			if at.revision = one.Revision; at.op == "get" {
				at.value, at.by = one.Value, "a transaction"
			}
		}
	}
	for i := range all {
		at := &all[i]
		at.called, at.returned, at.unknown = called, returned, f == outcomeUnknown
		if f == outcomeOK || at.op == "put" || at.op == "delete" {
			c.observations.add(*at)
		}
	}
	return f
}

// sendInSession sends a request with the session token and keeps the token of the answer.
func (c *sessionClient) sendInSession(method, path, body string) (reply, outcome) {
	var header []string
	if method == http.MethodPost {
		header = []string{"Content-Type", "application/json"}
	}
	if c.token != "" {
		header = append(header, "Runnel-Session", c.token)
	}
	r, f, fault := c.send(method, path, body, header...)
	if fault != nil {
		c.observations.record.addFault("%v", fault)
	}
	if f == outcomeOK {
		if token := r.header.Get("Runnel-Session"); token != "" {
			if c.forgets == "" || !strings.HasPrefix(path, c.forgets) {
				c.token = token
			}
		} else if r.status != http.StatusPreconditionFailed {
			c.observations.record.addFault("%s %s: %d without a session", method, path, r.status)
		}
	}
	return r, f
}

// hasReplicaRead returns nil once the replica has answered a read with an entry.
func (s *observations) hasReplicaRead() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.all, func(one observation) bool { return one.found && one.by == "partition-2" }) {
		return fmt.Errorf("none of %d did", len(s.all))
	}
	return nil
}

// writeFile writes all observations to a file, sorted by call, and returns its path.
func (s *observations) writeFile() string {
	f, err := os.CreateTemp("", "runnel-observations-*.txt")
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	all := slices.Clone(s.all)
	slices.SortStableFunc(all, func(a, b observation) int { return cmp.Compare(a.called, b.called) })
	for _, one := range all {
		fmt.Fprintf(f, "%+v\n", one)
	}
	return f.Name()
}

// mustBeConsistent fails the test if a session went back or an answer is not allowed.
func (s *observations) mustBeConsistent(t testing.TB) {
	t.Helper()
	by := make(map[string]int)
	for _, one := range s.all {
		if one.op == "get" {
			by[cmp.Or(one.by, "several masters")]++
		}
	}
	t.Logf("sessions: %d writes and reads; who answered reads: %v", len(s.all), by)
	found := s.sessionViolations()
	if len(found) > 0 {
		found[0] += ", see " + s.writeFile()
	}
	runnel.NoFaults(t, "sessions", found)
	runnel.NoFaults(t, "answers to sessions", s.record.faults)
}
