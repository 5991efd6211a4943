package test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// sightings are what sessions wrote and read, in the order of each session.
type sightings struct {
	record *record // its clock and values

	mu  sync.Mutex // guards all
	all []sighting
}

// sighting is a read of a key in a session, or a write.
type sighting struct {
	session  int
	group    string // keys of one group share a master
	key      string
	op       string // get, put or delete
	unknown  bool   // the outcome of a write
	found    bool   // by a read
	value    string // read or put
	revision int64  // 0 where it is not known, or nothing was found
	by       string // the partition that answered a read

	called, returned time.Duration
}

func (s *sightings) note(all ...sighting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, all...)
}

// revised is what is known of one write of a key.
type revised struct {
	revision int64
	delete   bool
	called   time.Duration
}

// sessionChecker knows all writes, and what a session has come to know.
type sessionChecker struct {
	known     map[string][]revised // by key, of known revision and in its order
	deletions map[string][]revised // by key, of unknown outcome
	puts      map[string]*sighting // by value
	reached   map[string]int64     // by group: the session has seen this revision
	gone      map[string]revised   // by key: the session has seen that this or a later deletion is done
}

// older says which reads gave a session something older than it had written or
// seen: an older entry, or none where nobody had deleted it since. What has been
// seen of one key binds the reads of the others in its group too, as revisions of
// a master become visible in their order.
func (s *sightings) older() (faults []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &sessionChecker{known: make(map[string][]revised), deletions: make(map[string][]revised), puts: make(map[string]*sighting)}
	sessions := make(map[int][]*sighting)
	for i := range s.all {
		one := &s.all[i]
		c.learn(one)
		sessions[one.session] = append(sessions[one.session], one)
	}
	for key, changes := range c.known {
		slices.SortFunc(changes, func(a, b revised) int { return cmp.Compare(a.revision, b.revision) })
		c.known[key] = slices.CompactFunc(changes, func(a, b revised) bool { return a.revision == b.revision })
	}
	for id, session := range sessions {
		c.reached, c.gone = make(map[string]int64), make(map[string]revised)
		for _, one := range session {
			if fault := c.next(one); fault != "" {
				faults = append(faults, fmt.Sprintf("session %d at %v: %s %s: %s: %+v", id, one.called, one.op, one.key, fault, *one))
			}
		}
	}
	return faults
}

func (c *sessionChecker) learn(s *sighting) {
	switch {
	case s.op == "get" && !s.found:
	case s.op == "delete" && s.unknown:
		c.deletions[s.key] = append(c.deletions[s.key], revised{0, true, s.called})
	case s.revision != 0:
		c.known[s.key] = append(c.known[s.key], revised{s.revision, s.op == "delete", s.called})
	}
	if s.op == "put" {
		c.puts[s.value] = s
	}
}

// next judges what a session sees next, and says what is wrong with it.
func (c *sessionChecker) next(s *sighting) (fault string) {
	if s.unknown {
		return ""
	}
	least := c.least(s)
	switch {
	case s.op == "get" && !s.found:
		return c.absent(s, least)
	case s.op == "get" && c.nobodyPut(s):
		fault = "nobody had written that"
	case s.revision == 0: // a deletion that found nothing is no read
		return ""
	case s.revision < least.revision:
		fault = fmt.Sprintf("the session had come as far as revision %d", least.revision)
	case s.op == "get" && s.revision == least.revision && least.delete:
		fault = fmt.Sprintf("revision %d had deleted it", least.revision)
	}
	c.reached[s.group] = max(c.reached[s.group], s.revision)
	return fault
}

// least is the last write of the key that the session must see, or a later one.
func (c *sessionChecker) least(s *sighting) revised {
	least := c.gone[s.key]
	changes := c.known[s.key]
	for i := len(changes) - 1; i >= 0; i-- {
		if changes[i].revision <= c.reached[s.group] {
			if changes[i].revision > least.revision {
				least = changes[i]
			}
			break
		}
	}
	return least
}

// absent judges a read that found nothing: what the session must see, or a later
// write that had begun, deletes.
func (c *sessionChecker) absent(s *sighting, least revised) string {
	if least.revision == 0 || least.delete {
		return ""
	}
	unknown := func(d revised) bool { return d.called < s.returned }
	if slices.ContainsFunc(c.deletions[s.key], unknown) {
		c.gone[s.key] = revised{least.revision, true, s.called} // at least that
		return ""
	}
	for _, d := range c.known[s.key] {
		if d.delete && d.revision > least.revision && d.called < s.returned {
			c.gone[s.key] = d
			return ""
		}
	}
	return fmt.Sprintf("nothing, and nobody had deleted it since revision %d", least.revision)
}

func (c *sessionChecker) nobodyPut(s *sighting) bool {
	put := c.puts[s.value]
	return put == nil || put.key != s.key || put.called >= s.returned || !put.unknown && put.revision != s.revision
}

// sessionClient is one session, over all servers.
type sessionClient struct {
	client
	sightings *sightings
	token     string // "" for none; forgetful ones never have one
	forgetful bool
}

const sessionKeys = 4

// sessionGroups have a master each, which may be the same.
var sessionGroups = []string{"{session-0}", "{session-1}", "{session-2}"}

// step does one random thing.
func (c *sessionClient) step() fate {
	group := sessionGroups[c.random.IntN(len(sessionGroups))]
	s := sighting{session: c.id, group: group, key: fmt.Sprintf("%s/%d", group, c.random.IntN(sessionKeys))}
	switch dice := c.random.IntN(20); {
	case dice < 5:
		s.op, s.value = "put", c.sightings.record.value()
	case dice < 7:
		s.op = "delete"
	case dice < 10:
		return c.list(s)
	default:
		s.op = "get"
	}
	s.called = c.sightings.record.now()
	r, f := c.ask(strings.ToUpper(s.op), "/v1/keys/"+s.key, s.value)
	s.returned = c.sightings.record.now()
	s.unknown = f == unclear
	if f == undone || s.unknown && s.op == "get" {
		return f
	}
	if f == answered {
		s.found, s.revision = r.status != http.StatusNotFound, r.revision()
	}
	if s.op == "get" {
		s.value, s.by = "", r.header.Get("Runnel-Partition")
		if s.found {
			s.value = string(r.body)
		}
	}
	c.sightings.note(s)
	return f
}

// list reads all keys of a group at once.
func (c *sessionClient) list(s sighting) fate {
	s.op, s.called = "get", c.sightings.record.now()
	r, f := c.ask(http.MethodGet, "/v1/keys?values=true&limit=1000&prefix="+s.group, "")
	s.returned = c.sightings.record.now()
	if f != answered {
		return f
	}
	var page struct{ Keys []feedLine }
	if err := json.Unmarshal(r.body, &page); err != nil {
		c.sightings.record.fault("a list was answered %d %s", r.status, r.body)
		return f
	}
	listed := make(map[string]feedLine)
	for _, l := range page.Keys {
		listed[l.Key] = l
	}
	s.by = r.header.Get("Runnel-Partition")
	for i := range sessionKeys {
		s.key = fmt.Sprintf("%s/%d", s.group, i)
		l, found := listed[s.key]
		s.found, s.value, s.revision = found, l.Value, l.Revision
		c.sightings.note(s)
	}
	return f
}

// ask sends a request in the session.
func (c *sessionClient) ask(method, path, body string) (received, fate) {
	var header []string
	if c.token != "" && !c.forgetful {
		header = []string{"Runnel-Session", c.token}
	}
	r, f, fault := c.send(method, path, body, header...)
	if fault != nil {
		c.sightings.record.fault("%v", fault)
	}
	if f == answered {
		if token := r.header.Get("Runnel-Session"); token != "" {
			c.token = token
		} else if r.status != http.StatusPreconditionFailed {
			c.sightings.record.fault("%s %s: %d without a session", method, path, r.status)
		}
	}
	return r, f
}

// fromReplica says whether a partition that is no master has answered a read that
// found something.
func (s *sightings) fromReplica() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.all, func(one sighting) bool { return one.found && one.by == "partition-2" }) {
		return fmt.Errorf("none of %d did", len(s.all))
	}
	return nil
}

// mustHold fails the test with what older found.
func (s *sightings) mustHold(t testing.TB) {
	t.Helper()
	by := make(map[string]int)
	for _, one := range s.all {
		if one.op == "get" {
			by[cmp.Or(one.by, "several masters")]++
		}
	}
	t.Logf("sessions: %d writes and reads; who answered reads: %v", len(s.all), by)
	mustHold(t, "sessions", s.older())
	mustHold(t, "answers to sessions", s.record.faults)
}
