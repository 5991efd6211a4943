package main

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
)

const (
	leaseTime  = 100  // of a lease, in ticks of the process's own clock
	drift      = 0.05 // clocks run at rates of 1-drift to 1+drift
	clientKeys = 3
	slots      = 2
)

// world is a cluster with its processes, and a record of all writes and reads.
type world struct {
	n, majority int // partitions
	rules       rule
	rnd         *rand.Rand
	now         int
	slow        bool // replicas lag, and copies arrive late
	storm       bool // many crashes, movers that die and compete
	partitions  []*partition
	processes   []*process
	ballots     int
	values      int
	keys        []keyInfo
	keyOf       map[keyInfo]key
	faults      []fault
	order       []int // of shuffled

	writes []*write
	acks   []acknowledgement
	reads  []masterRead
	first  map[slotEpoch]acknowledgement // of each slot and epoch
	kept   map[stray]bool                // strays that were written again as the master's own
	stats  stats
}

// write is a commit of a client.
type write struct {
	key      key
	row      row
	acked    bool
	majority bool // a majority held the write before the acknowledgement
}

type acknowledgement struct {
	time, slot, epoch int
	write             *write
}

type slotEpoch struct{ slot, epoch int }

// masterRead is a read that a master answered.
type masterRead struct {
	began int
	key   key
	rev   revision
	epoch int
}

type stray struct {
	key    key
	origin int
	rev    revision
}

// stats counts the events of a run.
type stats struct {
	Acknowledged, Majority, Stale, Withheld, SessionReads, Copies, Moves, Promotions, Rescued, AckedStrays int
}

func (s *stats) add(o stats) {
	s.Acknowledged += o.Acknowledged
	s.Majority += o.Majority
	s.Stale += o.Stale
	s.Withheld += o.Withheld
	s.SessionReads += o.SessionReads
	s.Copies += o.Copies
	s.Moves += o.Moves
	s.Promotions += o.Promotions
	s.Rescued += o.Rescued
	s.AckedStrays += o.AckedStrays
}

func (s stats) String() string {
	return fmt.Sprintf("%d writes acknowledged, %d of them held by a majority, %d refused by the counter, %d withheld; %d reads of sessions; "+
		"%d copies; %d moves without loss, %d promotions; %d strays published, %d acknowledged writes among strays",
		s.Acknowledged+s.Majority, s.Majority, s.Stale, s.Withheld, s.SessionReads, s.Copies, s.Moves, s.Promotions, s.Rescued, s.AckedStrays)
}

// violation is a broken invariant. As a panic, a violation ends the run.
type violation string

func (v violation) Error() string { return string(v) }

func violate(format string, args ...any) { panic(violation(fmt.Sprintf(format, args...))) }

func newWorld(seed uint64, rules rule, n int) *world {
	w := &world{
		n: n, majority: n/2 + 1, rules: rules, rnd: rand.New(rand.NewPCG(seed, 0)), slow: seed%3 == 1, storm: seed%3 == 0, ballots: 1,
		keyOf: make(map[keyInfo]key), first: make(map[slotEpoch]acknowledgement), kept: make(map[stray]bool),
	}
	for i := range clientKeys {
		w.key(keyInfo{slot: i / 2, client: i})
	}
	m := &clusterMap{epoch: 1, masters: make([]int, n)}
	for s := range slots {
		m.slots = append(m.slots, slot{owner: s})
		m.masters[s] = 1
		m.terms = append(m.terms, term{s, s, firstOf(1), unended})
	}
	for id := range n {
		w.partitions = append(w.partitions, newPartition(w, id, m))
		w.order = append(w.order, id)
	}
	return w
}

func (w *world) has(r rule) bool { return w.rules&r != 0 }

// key returns the key with a name, which may be new.
func (w *world) key(name keyInfo) key {
	k, found := w.keyOf[name]
	if !found {
		k = key(len(w.keys))
		w.keys, w.keyOf[name] = append(w.keys, name), k
	}
	return k
}

// between returns a number of from ≤ n < below.
func (w *world) between(from, below int) int { return from + w.rnd.IntN(below-from) }

// shuffled returns the partitions in random order.
func (w *world) shuffled() []int {
	order := append([]int(nil), w.order...)
	w.rnd.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

func (w *world) newBallot() int { w.ballots++; return w.ballots }

func (w *world) newValue() int { w.values++; return w.values }

func (w *world) add(r role, run func(*process)) *process {
	p := &process{w: w, role: r, run: run, rate: 1 + (2*w.rnd.Float64()-1)*drift, cut: make([]bool, w.n)}
	w.processes = append(w.processes, p)
	p.start()
	return p
}

func (w *world) tick() {
	w.now++
	for _, p := range w.processes { // a process that a step adds waits for the next tick
		if w.rnd.Float64() < 0.8 {
			p.step()
		}
	}
}

func (w *world) close() {
	for _, p := range w.processes {
		p.stop()
	}
}

// process is an API process, a sync process, a mover or a reader of the feed. Its role runs as a coroutine: the scheduler
// resumes the role, which runs until its next yield.
type process struct {
	w       *world
	role    role
	run     func(*process)
	rate    float64 // of the process's clock
	cut     []bool  // links to partitions that are broken
	asleep  int     // until this time
	done    bool
	m       *clusterMap // the newest map that the process knows to be chosen; nil: none
	ballot  int         // under which a majority showed m
	until   float64     // the end of the lease, by the process's own clock
	view    []row       // of a reader of the feed: by key
	resume  func() (struct{}, bool)
	discard func()
	yielded func(struct{}) bool
}

type role uint8

const (
	writer role = iota
	sessionUser
	feedReader
	synchronizer
	mover
)

// discarded unwinds the coroutine of a process that is not resumed any more.
type discarded struct{}

func (p *process) start() {
	p.stop()
	p.m, p.ballot, p.until, p.asleep, p.done = nil, 0, -1, 0, false
	p.resume, p.discard = iter.Pull(func(yield func(struct{}) bool) {
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(discarded); !ok {
					panic(r)
				}
			}
		}()
		p.yielded = yield
		p.run(p)
	})
}

func (p *process) stop() {
	if p.discard != nil {
		p.discard()
	}
}

// step runs the process until its next yield.
func (p *process) step() {
	if p.asleep > p.w.now || p.done {
		return
	}
	if _, ok := p.resume(); !ok {
		p.done = true
	}
}

// yield ends the step.
func (p *process) yield() {
	if !p.yielded(struct{}{}) {
		panic(discarded{})
	}
}

// pause yields n times.
func (p *process) pause(n int) {
	for range n {
		p.yield()
	}
}

// clock is the time of the process's own clock.
func (p *process) clock() float64 { return float64(p.w.now) * p.rate }

// reaches returns the partition if the process can use it now, else nil.
func (p *process) reaches(id int) *partition {
	if q := p.w.partitions[id]; q.up && !p.cut[id] {
		return q
	}
	return nil
}

func (p *process) rnd() *rand.Rand { return p.w.rnd }

// chance reports true with a probability.
func (p *process) chance(probability float64) bool { return p.w.rnd.Float64() < probability }

// mayServe reports whether the process may commit on the master of a slot, and answer reads from it.
func (p *process) mayServe(slot, master, epoch int) bool {
	return p.m != nil && p.m.isMaster(slot, master, epoch) && (!p.w.has(leases) || p.clock() < p.until)
}

// readMap confirms the map by a majority that shows the same accepted ballot, and extends the lease: also by a majority that
// shows no later ballot than that of the map.
func (p *process) readMap() {
	began := p.clock()
	var seen []clusterRow
	older := 0
	for _, id := range p.w.shuffled() {
		p.yield()
		q := p.reaches(id)
		if q != nil && p.m != nil && q.accepted <= p.ballot {
			older++
		}
		if q == nil || p.w.has(barrier) && q.durable.accepted != q.accepted {
			continue
		}
		seen = append(seen, q.clusterRow)
	}
	for _, a := range seen {
		n := 0
		for _, b := range seen {
			if a.accepted == b.accepted || !p.w.has(equalBallots) && a.m == b.m {
				n++
			}
		}
		if n >= p.w.majority && (p.m == nil || a.m.epoch > p.m.epoch || a.m == p.m || !p.w.has(equalBallots) && a.m.epoch == p.m.epoch) {
			p.m, p.ballot, p.until = a.m, a.accepted, began+leaseTime
			break
		}
	}
	if older >= p.w.majority {
		p.until = max(p.until, began+leaseTime)
	}
	if !p.w.has(leases) { // the newest map that any partition shows
		for _, a := range seen {
			if p.m == nil || a.m.epoch > p.m.epoch {
				p.m = a.m
			}
		}
	}
}

// rule is a rule of the protocol that a run can do without.
type rule uint32

const (
	leases             rule = 1 << iota // a process commits only while its lease lasts
	checkAfterCommit                    // a process checks its lease again before it acknowledges
	guardReads                          // a read from the master checks the master's counter
	waitForLeases                       // a mover waits until every lease has ended
	useBallots                          // the map is changed by prepare and accept
	equalBallots                        // a majority shows the same ballot, not only the same map
	sameMap                             // a copied step lands only on a partition that has the map of the step
	endTerms                            // revisions beyond the end of a term are not copied
	touchStrays                         // a stray's key is written again
	setAside                            // a partition sets its strays aside when it accepts a map
	jointCopies                         // one step copies all origins from one snapshot
	copyAhead                           // a step also copies rows that its source holds ahead of its position
	cleanSources                        // nothing is copied from a partition that holds strays
	levelAllOrigins                     // a candidate is brought level in all former origins of a slot
	shortenTerms                        // a term ends where the new master's copy of its origin ends
	gatherFromMajority                  // a candidate is brought level from a majority that accepted the move
	countThisEpoch                      // a write is held by a majority that still has its master's epoch
	keepStaged                          // a staged stray is kept until its record is held
	barrier                             // a ballot counts once it is durable
	rulesEnd
)

const allRules = rulesEnd - 1

var ruleNames = []string{
	"leases", "checkAfterCommit", "guardReads", "waitForLeases", "useBallots", "equalBallots", "sameMap", "endTerms",
	"touchStrays", "setAside", "jointCopies", "copyAhead", "cleanSources", "levelAllOrigins", "shortenTerms",
	"gatherFromMajority", "countThisEpoch", "keepStaged", "barrier",
}

// each calls f for each rule of a set.
func (r rule) each(f func(one rule)) {
	for one := rule(1); one < rulesEnd; one <<= 1 {
		if r&one != 0 {
			f(one)
		}
	}
}

func (r rule) String() string {
	var names []string
	for i, name := range ruleNames {
		if r&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// parseRules reads names that commas separate.
func parseRules(text string) (rules rule, err error) {
	for name := range strings.SplitSeq(text, ",") {
		found := false
		for i, known := range ruleNames {
			if name == known {
				rules |= 1 << i
				found = true
			}
		}
		if !found && name != "" {
			return 0, fmt.Errorf("no rule %q; the rules are %v", name, allRules)
		}
	}
	return rules, nil
}
