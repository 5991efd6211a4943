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

// freshness is the requirement of a read: to ask so many copies, or to be at most so old.
type freshness struct {
	copies       int
	maxStaleness time.Duration
}

// freshnessViolations returns the reads with an answer older than allowed. Let n be the number of
// partitions. A read of r copies must see every write that, when the read began, was known on w copies with w + r
// > n. A bounded read must see every write that was answered or seen before the bound.
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
			c.seenDeletions = make(map[string]change) // each read is judged by itself
			if fault := c.checkAnswer(one, one.newestRequired(all, partitions)); fault != "" {
				faults = append(faults, fmt.Sprintf("%s at %v: %s: %+v", key, one.called, fault, *one))
			}
		}
	}
	return faults
}

// newestRequired returns the newest write that the read must see.
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

// freshClient writes with copies and reads with a freshness.
type freshClient struct {
	client
	observations *observations
	partitions   int
	lazy         bool // a planted fault: sends no requirement, but records it
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

// complete fills in the response.
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

// mustBeFresh fails the test if a read was older than allowed, or if the record is too small to show anything.
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

// hasBoundedReplicaRead returns nil once the replica has answered a bounded read.
func (s *observations) hasBoundedReplicaRead() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.all, func(one observation) bool { return one.found && one.wanted.maxStaleness > 0 && one.by == "partition-2" }) {
		return fmt.Errorf("none of %d did", len(s.all))
	}
	return nil
}
