package main

import (
	"slices"
	"testing"
)

// plan is a world in which the test itself is the scheduler.
type plan struct {
	*world
	p *process // used by the test alone
}

func newPlan(t *testing.T, without rule) plan {
	w := newWorld(1, allRules&^without, 3)
	w.slow = false
	t.Cleanup(w.close)
	return plan{w, &process{w: w, rate: 1, cut: make([]bool, w.n), until: 1e9, yielded: func(struct{}) bool { return true }}}
}

func (l plan) write(master int, value int) {
	l.partitions[master].claim(0, false, value)
}

func (l plan) copy(source, target int) { l.p.copy(source, source, target) }

// accept lets partitions accept a map under a ballot.
func (l plan) accept(ballot int, m *clusterMap, partitions ...int) {
	for _, id := range partitions {
		p := l.partitions[id]
		p.promised = ballot
		p.adopt(ballot, m)
		p.sync()
	}
}

const a, b, c = 0, 1, 2 // the partitions

// mapOf returns a map in which b is the master of slot 1. terms are those of slot 0.
func mapOf(epoch int, ofSlot0 slot, masters []int, terms ...term) *clusterMap {
	return &clusterMap{
		epoch: epoch, slots: []slot{ofSlot0, {owner: b}}, masters: masters,
		terms: append(slices.Clone(terms), term{1, b, firstOf(1), unended}),
	}
}

// each runs a schedule with a rule and without, and wants the results.
func each(t *testing.T, removed rule, schedule func(t *testing.T, without rule) bool) {
	for _, without := range []rule{0, removed} {
		if isRight := schedule(t, without); isRight != (without == 0) {
			t.Errorf("without %q the result is right: %v", without, isRight)
		}
	}
}

// TestLateStepLandsNotOnANewMaster: a sync process reads the tail of a, and sleeps until c is the master.
func TestLateStepLandsNotOnANewMaster(t *testing.T) {
	each(t, sameMap, func(t *testing.T, without rule) bool {
		l := newPlan(t, without)
		l.write(a, 1)
		l.copy(a, c)
		l.copy(a, b)
		l.write(a, 2)
		moved := false
		yields := 0
		l.p.yielded = func(struct{}) bool {
			if yields++; yields == 2 { // the step has read a's second write
				end := l.partitions[c].position[a]
				first := term{0, a, firstOf(1), unended}
				l.accept(5, mapOf(2, slot{owner: a, moving: true, to: c}, []int{0, 1, 0}, first), b, c)
				first.last = end
				l.accept(6, mapOf(3, slot{owner: c}, []int{0, 1, 3}, first, term{0, c, firstOf(3), unended}), b, c)
				moved = true
			}
			return true
		}
		for !moved { // the pause of a step is random, and may be none
			yields = 0
			l.copy(a, c)
			if !moved {
				l.write(a, 2)
			}
		}
		return l.partitions[c].row(0).value != 2 || l.partitions[c].m.epoch < 3
	})
}

// TestTermEndsWhereTheNewMastersCopyEnds: a gave its slot to c without loss; c is lost before b had all of a; b becomes the
// master; a is a replica and alone holds its last write.
func TestTermEndsWhereTheNewMastersCopyEnds(t *testing.T) {
	each(t, shortenTerms, func(t *testing.T, without rule) bool {
		l := newPlan(t, without)
		l.write(a, 1)
		l.copy(a, b)
		l.write(a, 2)
		l.copy(a, c)
		ofA := term{0, a, firstOf(1), l.partitions[a].last}
		moving := mapOf(4, slot{owner: c, moving: true, to: b}, []int{0, 1, 0}, ofA, term{0, c, firstOf(3), unended})
		l.accept(6, mapOf(3, slot{owner: c}, []int{0, 1, 3}, ofA, term{0, c, firstOf(3), unended}), a, b, c)
		l.accept(7, moving, a, b)
		v := &move{p: l.p, m: moving, slots: []int{0}, from: c, to: b}
		next := moving.next()
		v.endTerms(next, []revision{l.partitions[b].position[a], l.partitions[b].last, l.partitions[b].position[c]})
		l.accept(8, next, a, b)
		before := l.partitions[b].row(0)
		l.copy(a, b)
		return l.partitions[b].row(0) == before
	})
}

// TestBallotCountsOnceItIsDurable: c is the master by the rows of a and b; b's row was not durable, and b crashes; the next
// mover chooses a.
func TestBallotCountsOnceItIsDurable(t *testing.T) {
	each(t, barrier, func(t *testing.T, without rule) bool {
		l := newPlan(t, without)
		l.ballots = 100
		ofA := term{0, a, firstOf(1), unended}
		moving := mapOf(2, slot{owner: a, moving: true, to: c}, []int{0, 1, 0}, ofA)
		l.accept(5, moving, a, b, c)
		ofA.last = firstOf(1)
		owned := mapOf(3, slot{owner: c}, []int{0, 1, 3}, ofA, term{0, c, firstOf(3), unended})
		for _, id := range []int{a, b} {
			l.partitions[id].promised = 6
			l.partitions[id].adopt(6, owned)
		}
		l.partitions[a].sync()
		l.p.readMap()
		isMaster := l.p.m == owned
		l.partitions[b].crash()
		l.partitions[b].up = true
		l.p.cut[a] = true
		chosen := l.p.changeMap(func(m *clusterMap) *clusterMap {
			if m != moving {
				return nil
			}
			next := m.next()
			next.slots[0], next.masters[a] = slot{owner: a}, next.epoch
			return next
		})
		if chosen == nil || chosen.slots[0].owner != a {
			t.Fatalf("the map that was chosen is %+v", chosen)
		}
		return !isMaster
	})
}

// TestMajorityShowsOneBallot: a map stands on a under ballot 11 and on b under ballot 13, another map on c under ballot 12.
// A majority shows the first map, but the second may be chosen.
func TestMajorityShowsOneBallot(t *testing.T) {
	each(t, equalBallots, func(t *testing.T, without rule) bool {
		l := newPlan(t, without)
		l.ballots = 100
		ofA := term{0, a, firstOf(1), unended}
		other := mapOf(3, slot{owner: a}, []int{3, 1, 0}, ofA)
		ofA.last = firstOf(1)
		owned := mapOf(3, slot{owner: c}, []int{0, 1, 3}, ofA, term{0, c, firstOf(3), unended})
		l.accept(11, owned, a)
		l.accept(12, other, c)
		l.accept(13, owned, b)
		l.p.readMap()
		isMaster := l.p.m == owned
		l.p.cut[b] = true
		if chosen := l.p.changeMap(func(*clusterMap) *clusterMap { return nil }); chosen != other {
			t.Fatalf("the map that was chosen is %+v", chosen)
		}
		return !isMaster
	})
}

// TestRowsAheadOfAPositionAreCopied: b has replaced its stray by the row that a wrote for the stray's key, ahead of b's
// position of a. What b gives to c must not lack the key.
func TestRowsAheadOfAPositionAreCopied(t *testing.T) {
	each(t, copyAhead, func(t *testing.T, without rule) bool {
		l := newPlan(t, without)
		l.write(a, 1)
		l.copy(a, b)
		ofA := term{0, a, firstOf(1), l.partitions[a].last}
		l.accept(6, mapOf(3, slot{owner: b}, []int{0, 3, 0}, ofA, term{0, b, firstOf(3), unended}), a, b, c)
		l.write(b, 2) // only b holds this write
		l.accept(8, mapOf(5, slot{owner: a}, []int{5, 3, 0}, ofA, term{0, b, firstOf(3), firstOf(3) - 1}, term{0, a, firstOf(5), unended}), a, b, c)
		if n := len(l.partitions[b].orphans); n != 1 {
			t.Fatalf("b has set %d strays aside", n)
		}
		l.write(a, 1)
		l.partitions[b].put(0, l.partitions[a].row(0))
		l.copy(b, c)
		if l.partitions[c].position[a] != ofA.last {
			t.Fatalf("c is at %v", l.partitions[c].position)
		}
		return l.partitions[c].row(0).exists()
	})
}
