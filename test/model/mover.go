package main

import (
	"slices"
)

// move is a move of slots under way.
type move struct {
	p        *process
	m        *clusterMap // that says "moving"
	slots    []int
	from, to int
	gave     revision // the newest revision of the old master, if it has accepted m
	hasGiven bool
}

// moves returns the role of a mover: a mover moves all slots of a master, or in a planned move some of them, to a
// candidate, and completes a move that was begun before. A from of -1 begins nothing.
func moves(from, to int, planned bool) func(*process) {
	return func(p *process) {
		some := p.chance(0.5)
		m := p.changeMap(func(m *clusterMap) *clusterMap { return beginMove(m, from, to, planned, some) })
		if m == nil || len(m.moving()) == 0 {
			return
		}
		v := &move{p: p, m: m, slots: m.moving()}
		v.from, v.to = m.slots[v.slots[0]].owner, m.slots[v.slots[0]].to
		if v.excludeOldMaster() && v.levelCandidate() {
			v.finish()
		}
	}
}

func beginMove(m *clusterMap, from, to int, planned, some bool) *clusterMap {
	if from < 0 || m.masters[from] == 0 || len(m.moving()) > 0 {
		return nil
	}
	next := m.next()
	next.masters[from] = 0
	begun := false
	for i, s := range m.slots {
		switch {
		case s.owner != from:
		case planned && some && begun:
			next.masters[from] = next.epoch // goes on with the other slots, in a new epoch
		default:
			begun = true
			next.slots[i] = slot{owner: from, moving: true, to: to, lossless: planned}
		}
	}
	return next
}

// with returns a change that only applies to the map of the move.
func (v *move) with(f func(next *clusterMap)) func(*clusterMap) *clusterMap {
	return func(now *clusterMap) *clusterMap {
		if now != v.m {
			return nil
		}
		next := now.next()
		f(next)
		return next
	}
}

// retarget changes the candidate, and whether the move waits for the old master.
func (v *move) retarget(to int) {
	v.p.changeMap(v.with(func(next *clusterMap) {
		for _, i := range v.slots {
			next.slots[i] = slot{owner: v.from, moving: true, to: to}
		}
	}))
}

// excludeOldMaster waits until the old master has accepted the map of the move, or every lease has ended. False: the move
// has changed meanwhile.
func (v *move) excludeOldMaster() bool {
	p := v.p
	began := p.clock()
	for {
		p.yield()
		if p.reaches(v.from) != nil {
			p.teach(v.from, v.m)
			q := p.w.partitions[v.from]
			if p.reaches(v.from) != nil && q.m == v.m {
				v.gave, v.hasGiven = q.gave[v.m], true
				return true
			}
			if q.m.epoch > v.m.epoch {
				return false
			}
		}
		haveEnded := p.clock() >= began+leaseTime*(1+drift)/(1-drift)+1
		if (haveEnded || !p.w.has(waitForLeases) || !p.w.has(leases)) && !v.m.slots[v.slots[0]].lossless {
			return true
		}
		if p.clock() > began+10*leaseTime { // a planned move becomes a promotion
			v.retarget(v.to)
			return false
		}
	}
}

// formerOrigins returns every origin of the moving slots but the candidate.
func (v *move) formerOrigins() (origins []int) {
	for o := range v.p.w.n {
		isFormer := o == v.from || slices.ContainsFunc(v.m.terms, func(t term) bool { return t.origin == o && slices.Contains(v.slots, t.slot) })
		if o != v.to && isFormer {
			origins = append(origins, o)
		}
	}
	return origins
}

// bound limits how much of an origin the candidate needs.
func (v *move) bound(origin int, head revision) revision {
	if origin == v.from {
		if v.hasGiven {
			return min(head, v.gave)
		}
		return head
	}
	end := revision(0)
	for _, t := range v.m.terms {
		if t.origin == origin && slices.Contains(v.slots, t.slot) && t.first <= t.last {
			end = max(end, t.last)
		}
	}
	return min(head, end)
}

// need is an origin of which the candidate lacks changes, and the partition to copy them from.
type need struct{ origin, source int }

// levelCandidate brings the candidate level in every former origin, from the most advanced of a majority that has accepted
// the map of the move. False: the move has changed meanwhile.
func (v *move) levelCandidate() bool {
	p := v.p
	var needs []need
	for range 40 {
		var ok bool
		var answered int
		if needs, answered, ok = v.gather(); !ok {
			return false
		}
		switch {
		case p.reaches(v.to) == nil:
			continue
		case !p.w.has(gatherFromMajority):
			return true
		case answered < p.w.majority:
			continue
		case len(needs) == 0:
			return true
		}
		for _, n := range needs {
			p.copy(n.origin, n.source, v.to)
		}
	}
	v.retarget(v.anotherCandidate(needs))
	return false
}

// anotherCandidate prefers a partition with strays that hide rows that the present candidate needs.
func (v *move) anotherCandidate(needs []need) int {
	for _, n := range needs {
		if len(v.p.w.partitions[n.source].strays()) > 0 {
			return n.source
		}
	}
	return v.p.rnd().IntN(v.p.w.n)
}

// gather asks every partition for the heads of the former origins.
func (v *move) gather() (needs []need, answered int, ok bool) {
	p := v.p
	origins := v.formerOrigins()
	best := make([]revision, len(origins))
	source := make([]int, len(origins))
	for id := range p.w.n {
		p.yield()
		if p.reaches(id) == nil {
			continue
		}
		p.teach(id, v.m)
		q := p.reaches(id)
		if q == nil {
			continue
		}
		if q.m.epoch > v.m.epoch {
			return nil, 0, false
		}
		if q.m != v.m && p.w.has(gatherFromMajority) {
			continue
		}
		answered++
		for i, o := range origins {
			if head := v.bound(o, v.m.effective(q.head(o), o)); head > best[i] {
				best[i], source[i] = head, id
			}
		}
	}
	for i, o := range origins {
		if best[i] > p.w.partitions[v.to].position[o] && (o == v.from || p.w.has(levelAllOrigins)) {
			needs = append(needs, need{o, source[i]})
		}
	}
	return needs, answered, true
}

// finish makes the candidate the master.
func (v *move) finish() {
	p := v.p
	q := p.reaches(v.to)
	if q == nil || q.m != v.m && p.w.has(gatherFromMajority) {
		return
	}
	at := make([]revision, p.w.n)
	for o := range at {
		at[o] = q.head(o)
	}
	if v.hasGiven && v.from != v.to && at[v.from] < v.m.effective(v.gave, v.from) && p.w.has(gatherFromMajority) {
		return
	}
	m := p.changeMap(v.with(func(next *clusterMap) { v.endTerms(next, at) }))
	switch {
	case m == nil || m.epoch != v.m.epoch+1:
	case v.hasGiven:
		p.w.stats.Moves++
	default:
		p.w.stats.Promotions++
	}
}

// endTerms ends the terms of the moving slots where the candidate's copy ends, and begins the candidate's term.
func (v *move) endTerms(next *clusterMap, at []revision) {
	for _, i := range v.slots {
		next.slots[i] = slot{owner: v.to}
	}
	next.masters[v.to] = next.epoch
	if v.from == v.to {
		return
	}
	for i := range next.terms {
		t := &next.terms[i]
		if !slices.Contains(v.slots, t.slot) {
			continue
		}
		switch {
		case t.last == unended && !v.p.w.has(endTerms):
		case t.last == unended && v.hasGiven:
			t.last = v.gave
		case t.last == unended:
			t.last = at[v.from]
		case t.origin != v.to && v.p.w.has(shortenTerms): // a partition with more of the origin holds strays
			t.last = min(t.last, at[t.origin])
		}
		t.last = max(t.last, t.first-1)
	}
	for _, i := range v.slots {
		next.terms = append(next.terms, term{i, v.to, firstOf(next.epoch), unended})
	}
}

// changeMap replaces the map by f of the chosen map; the map is one register, which ballots order (CASPaxos). A nil of f only
// confirms the present map. The result is the chosen map, or nil if no majority answered.
func (p *process) changeMap(f func(*clusterMap) *clusterMap) *clusterMap {
	ballot := p.w.newBallot()
	if !p.w.has(useBallots) {
		return p.changeBlindly(ballot, f)
	}
	chosen, answers := clusterRow{accepted: -1}, 0
	order := p.w.shuffled()
	for _, id := range order { // prepare
		p.yield()
		if q := p.reaches(id); q != nil && q.promised < ballot {
			q.promised = ballot
			q.sync()
			answers++
			if q.accepted > chosen.accepted {
				chosen = q.clusterRow
			}
		}
	}
	if answers < p.w.majority {
		return nil
	}
	proposed := f(chosen.m)
	if proposed == nil {
		proposed = chosen.m
	} else {
		proposed.ballot = ballot
	}
	return p.propose(ballot, proposed)
}

// propose returns the map if a majority has accepted it.
func (p *process) propose(ballot int, m *clusterMap) *clusterMap {
	n := 0
	for _, id := range p.w.shuffled() {
		p.yield()
		q := p.reaches(id)
		if q == nil || q.promised > ballot {
			continue
		}
		q.promised = ballot
		q.adopt(ballot, m)
		p.pause(p.w.between(0, 12)) // visible, not durable yet
		if q.up && q.accepted == ballot {
			q.sync()
			n++
		}
	}
	if n < p.w.majority {
		return nil
	}
	return m
}

// changeBlindly is a change without ballots: the newest map of a majority counts.
func (p *process) changeBlindly(ballot int, f func(*clusterMap) *clusterMap) *clusterMap {
	var newest *clusterMap
	answers := 0
	for id := range p.w.n {
		p.yield()
		if q := p.reaches(id); q != nil {
			if answers++; newest == nil || q.m.epoch > newest.epoch {
				newest = q.m
			}
		}
	}
	if answers < p.w.majority {
		return nil
	}
	proposed := f(newest)
	if proposed == nil {
		return newest
	}
	proposed.ballot = ballot
	n := 0
	for id := range p.w.n {
		p.yield()
		if q := p.reaches(id); q != nil && q.m.epoch < proposed.epoch {
			q.promised = ballot
			q.adopt(ballot, proposed)
			q.sync()
			n++
		}
	}
	if n < p.w.majority {
		return nil
	}
	return proposed
}
