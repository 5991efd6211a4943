package histories

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
)

// asking is what a read asks of whoever answers it: so many partitions, or to be so
// fresh.
type freshness struct {
	copies       int
	maxStaleness time.Duration
}

// stale says which reads were answered by something older than they asked for. A
// read of so many copies is at least as new as what, when it began, as many were
// known to hold as make them overlap; a bounded one, as what was known to be written
// by so long before.
func (s *observations) freshnessViolations(partitions int) (faults []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := newSessionChecker(s.all)
	byKey := make(map[string][]*observation)
	for i := range s.all {
		byKey[s.all[i].key] = append(byKey[s.all[i].key], &s.all[i])
	}
	for key, all := range byKey {
		for _, one := range all {
			if one.wanted == (freshness{}) {
				continue
			}
			c.seenDeletions = make(map[string]change) // no other read's concern
			if fault := c.checkAnswer(one, one.newestRequired(all, partitions)); fault != "" {
				faults = append(faults, fmt.Sprintf("%s at %v: %s: %+v", key, one.called, fault, *one))
			}
		}
	}
	return faults
}

// due is the last write that a read must have come as far as, of those that were
// answered by the time that counts, or were seen by then.
func (s *observation) newestRequired(all []*observation, partitions int) (due change) {
	for _, one := range all {
		if one.revision <= due.revision || one.returned > s.called-s.wanted.maxStaleness {
			continue
		}
		if s.wanted.copies > 0 && one.copies+s.wanted.copies <= partitions {
			continue
		}
		due = change{one.revision, one.op == "delete", one.called}
	}
	return due
}

// freshClient writes with copies, and reads what must be as new as it asks for.
type freshClient struct {
	client
	observations *observations
	partitions   int
	lazy         bool // it asks for nothing, and says it did
}

const freshKeys = 4

func (c *freshClient) randomStep() outcome {
	s := observation{session: c.id, key: fmt.Sprintf("fresh/%d", c.random.IntN(freshKeys))}
	query := ""
	switch dice := c.random.IntN(20); {
	case dice < 2:
		s.op, s.copies = "put", 1
	case dice < 6:
		s.op, s.copies = "put", 1+c.random.IntN(c.partitions)
		query = "?copies=" + strconv.Itoa(s.copies)
	case dice < 8:
		s.op, s.copies = "delete", 1
	case dice < 12:
		s.op, s.wanted.maxStaleness = "get", time.Duration(20+c.random.IntN(3000))*time.Millisecond
		query = "?max_staleness=" + s.wanted.maxStaleness.String()
	default:
		s.op, s.wanted.copies = "get", 1+c.random.IntN(c.partitions)
		query = "?consistency=quorum&r=" + strconv.Itoa(s.wanted.copies)
	}
	return c.perform(s, query)
}

func (c *freshClient) perform(s observation, query string) outcome {
	if s.op == "put" {
		s.value = c.observations.record.newValue()
	}
	if c.lazy {
		query = ""
	}
	s.called = c.observations.record.now()
	r, f, fault := c.send(strings.ToUpper(s.op), "/v1/keys/"+s.key+query, s.value)
	s.returned = c.observations.record.now()
	if fault != nil {
		c.observations.record.addFault("%v", fault)
	}
	s.unknown = f == outcomeUnknown
	if f == outcomeFailed || s.unknown && s.op == "get" {
		return f
	}
	if f == outcomeOK {
		c.complete(&s, r)
	}
	c.observations.add(s)
	return f
}

// took completes what was seen by an answer.
func (c *freshClient) complete(s *observation, r reply) {
	s.found, s.revision, s.by = r.status != http.StatusNotFound, r.revision(), r.header.Get("Runnel-Partition")
	switch {
	case s.op == "get" && s.found:
		s.value, s.copies = string(r.body), 1 // at least
	case s.op == "put" && !c.lazy && s.copies > 1:
		held, err := strconv.Atoi(r.header.Get("Runnel-Copies"))
		if err != nil || (held < s.copies) != (r.status == http.StatusAccepted) {
			c.observations.record.addFault("a write of %d copies was answered %d, Runnel-Copies %q", s.copies, r.status, r.header.Get("Runnel-Copies"))
		}
		s.copies = held
	}
}

// mustBeFresh fails the test with what stale found, or if too little was asked for
// to show anything.
func (s *observations) mustBeFresh(t testing.TB, partitions int) {
	t.Helper()
	var copied, quorum, bounded, byReplica int
	for _, one := range s.all {
		switch {
		case one.op == "put" && one.copies > 1:
			copied++
		case one.wanted.copies > 0:
			quorum++
		case one.wanted.maxStaleness > 0:
			bounded++
			if one.by == "partition-2" {
				byReplica++
			}
		}
	}
	t.Logf("fresh reads: %d writes and reads; %d writes of several copies, %d quorum reads, %d bounded ones, %d of these answered by the replica",
		len(s.all), copied, quorum, bounded, byReplica)
	if copied == 0 || quorum == 0 || bounded == 0 {
		t.Error("fresh reads: nothing was asked for")
	}
	found := s.freshnessViolations(partitions)
	if len(found) > 0 {
		found[0] += ", see " + s.writeFile()
	}
	runnel.NoFaults(t, "fresh reads", found)
	runnel.NoFaults(t, "answers to fresh reads", s.record.faults)
}

// asFresh is whether somebody else than a master has answered a bounded read.
func (s *observations) hasBoundedReplicaRead() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.all, func(one observation) bool { return one.found && one.wanted.maxStaleness > 0 && one.by == "partition-2" }) {
		return fmt.Errorf("none of %d did", len(s.all))
	}
	return nil
}
