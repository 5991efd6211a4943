package main

import (
	"slices"
)

// synchronizes is the role of a sync process: to copy changes, to teach the map, and to publish strays.
func synchronizes(p *process) {
	w := p.w
	for {
		p.yield()
		x := p.rnd().Float64()
		switch {
		case p.m == nil || x < 0.15:
			p.readMap()
		case x < 0.75:
			p.copySome()
		case x < 0.85:
			p.teach(p.rnd().IntN(w.n), p.m)
		case x < 0.87:
			p.reopen()
		default:
			p.publishStrays(p.rnd().IntN(w.n))
		}
	}
}

func (p *process) copySome() {
	w := p.w
	origin, target := p.rnd().IntN(w.n), p.rnd().IntN(w.n)
	source := origin
	if p.reaches(origin) == nil || p.chance(0.3) {
		source = p.rnd().IntN(w.n)
	}
	if !w.slow || p.chance(0.2) {
		p.copy(origin, source, target)
	}
}

// copy is one step: from one snapshot of the source, everything that the target lacks, of all origins together. A step of
// one origin alone is wrong once mastership has moved: a later master's entry, which the target lacks, may have replaced
// the origin's entry at the source.
func (p *process) copy(origin, source, target int) {
	w := p.w
	if source == target || p.reaches(source) == nil || p.reaches(target) == nil {
		return
	}
	t := w.partitions[target]
	epoch, at := t.m.epoch, append([]revision(nil), t.position...)
	p.yield()
	s := p.reaches(source)
	if s == nil || s.m.epoch > epoch { // first the target learns the map, by which its rows may be strays
		return
	}
	if w.has(cleanSources) && (len(s.strays()) > 0 || len(s.straysBy(t.m)) > 0) { // strays have replaced rows
		return
	}
	to := p.goals(s, t, at, origin)
	rows := p.rowsFor(s, t, at, to)
	if to == nil && len(rows) == 0 {
		return
	}
	p.pauseForCopy()
	if p.reaches(target) == nil || w.has(sameMap) && t.m.epoch != epoch {
		return
	}
	for o, r := range at {
		if o != target && t.position[o] != r {
			return
		}
	}
	for _, r := range rows {
		t.put(r.key, r.row)
	}
	for o, r := range to {
		t.position[o] = max(r, t.position[o])
	}
	w.stats.Copies++
}

// goals returns the positions that a step reaches, zero for an origin that the step does not move; nil if there are none.
func (p *process) goals(s, t *partition, at []revision, origin int) (to []revision) {
	for o := range at {
		if o == t.id || !p.w.has(jointCopies) && o != origin {
			continue
		}
		head := s.head(o)
		if p.w.has(endTerms) {
			head = t.m.effective(head, o)
		}
		if head > at[o] {
			if to == nil {
				to = make([]revision, len(at))
			}
			to[o] = head
		}
	}
	return to
}

// rowsFor returns the rows of a step, with those that the source was given ahead of its position.
func (p *process) rowsFor(s, t *partition, at, to []revision) (rows []staged) {
	ahead := p.w.has(jointCopies) && p.w.has(copyAhead)
	for k, r := range s.rows {
		switch {
		case !r.exists() || r.origin == t.id || r.rev <= at[r.origin]:
		case !ahead && (to == nil || r.rev > to[r.origin]):
		case p.w.has(endTerms) && t.m.isStray(p.w.keys[k].slot, r.origin, r.rev):
		default:
			rows = append(rows, staged{key(k), r})
		}
	}
	return rows
}

// pauseForCopy is the time between a step's reading and its arrival.
func (p *process) pauseForCopy() {
	late, longest := 0.1, 120
	if p.w.slow {
		late, longest = 0.5, 300
	}
	if !p.chance(late) {
		longest = 3
	}
	p.pause(p.w.between(0, longest))
}

// teach brings a late partition to a map that a majority has accepted, under the ballot of the map.
func (p *process) teach(id int, m *clusterMap) {
	if m == nil || p.reaches(id) == nil {
		return
	}
	ballot := 0
	for _, q := range p.w.partitions {
		if q.m == m && p.reaches(q.id) != nil {
			ballot = max(ballot, q.accepted)
		}
	}
	if ballot == 0 {
		return
	}
	p.yield()
	if q := p.reaches(id); q != nil && q.m.epoch < m.epoch && q.promised <= ballot {
		q.promised = ballot
		q.adopt(ballot, m)
		q.sync()
	}
}

// reopen lets a master go on in a new epoch, which was frozen by a map that was not chosen.
func (p *process) reopen() {
	m := p.m
	if len(m.moving()) > 0 {
		return
	}
	for id, epoch := range m.masters {
		q := p.reaches(id)
		if epoch == 0 || q == nil || q.m != m || q.counter < firstOf(epoch+1) {
			continue
		}
		p.changeMap(func(now *clusterMap) *clusterMap {
			if now != m {
				return nil
			}
			next := now.next()
			next.masters[id] = next.epoch
			return next
		})
		return
	}
}

// fate says how a stray was published.
type fate uint8

const (
	undecided fate = iota
	recorded       // the record exists already
	keptAsRow      // the key's row is the stray
	setApart       // the stray was written as an orphan record
)

// publishStrays publishes the strays that a partition has set aside: on the key's present master, an orphan record and a new revision
// of the key.
func (p *process) publishStrays(id int) {
	q := p.reaches(id)
	if p.m == nil || q == nil || q.m.epoch != p.m.epoch {
		return
	}
	todo := slices.Clone(q.orphans)
	p.yield()
	p.rnd().Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
	for _, s := range todo[:min(3, len(todo))] {
		if !p.publish(q, s) {
			return
		}
	}
	if p.reaches(id) != nil {
		q.forgetPublished()
	}
	if len(q.orphans) == 0 && len(todo) == 0 { // the origin holds every revision that it ever gave out
		p.markEnds(id)
	}
}

// publish reports false if the slot has no master that the process may use.
func (p *process) publish(q *partition, s staged) bool {
	w := p.w
	slot := w.keys[s.key].slot
	if p.m.slots[slot].moving {
		return false
	}
	master := p.m.slots[slot].owner
	epoch := p.m.masters[master]
	if !p.mayServe(slot, master, epoch) {
		return false
	}
	if !p.m.isStray(slot, s.row.origin, s.row.rev) { // staged by a map that was accepted here, but not chosen
		if q.m == p.m && p.clock() < p.until {
			q.orphans = slices.DeleteFunc(q.orphans, s.is)
		}
		return true
	}
	record := w.key(keyInfo{kind: orphan, slot: slot, of: s.key, origin: s.row.origin, rev: s.row.rev})
	became := undecided
	_, result := p.commit(master, epoch, update{
		key:    s.key,
		decide: func(m *partition) (deleted bool, value int, ok bool) { return p.decideStray(m, s, record, &became) },
		extra:  func() (key, int, bool) { return record, s.row.value, became == setApart },
	})
	isDone := result == committed || result == nothing && (became == recorded || became == keptAsRow) || !w.has(touchStrays) && became != undecided
	if isDone {
		p.afterPublishing(q, master, s, record, became)
	}
	return true
}

// decideStray decides the write for a stray's key on the master.
func (p *process) decideStray(m *partition, s staged, record key, became *fate) (deleted bool, value int, ok bool) {
	stands := m.row(s.key)
	isSame := stands.exists() && (stands.origin == s.row.origin && stands.rev == s.row.rev ||
		stands.value == s.row.value && stands.deleted == s.row.deleted)
	switch {
	case m.row(record).exists():
		*became = recorded
		return false, 0, false
	case isSame:
		*became = keptAsRow
		return stands.deleted, stands.value, stands.rev < p.successor(p.w.keys[s.key].slot, s.row.rev)
	}
	*became = setApart
	if !p.w.has(touchStrays) {
		m.claim(record, false, s.row.value)
		return false, 0, false
	}
	return stands.deleted || !stands.exists(), stands.value, true
}

// successor returns the revision with which the first later term of a slot begins; 0: none.
func (p *process) successor(slot int, r revision) (first revision) {
	for _, t := range p.m.terms {
		if t.slot == slot && t.first > r && (first == 0 || t.first < first) {
			first = t.first
		}
	}
	return first
}

// afterPublishing gives the partition that had the stray the present rows of the master.
func (p *process) afterPublishing(q *partition, master int, s staged, record key, became fate) {
	w := p.w
	w.stats.Rescued++
	if became == keptAsRow {
		w.kept[stray{s.key, s.row.origin, s.row.rev}] = true
	}
	p.yield()
	m := p.reaches(master)
	if m == nil {
		return
	}
	fresh := []staged{{s.key, m.row(s.key)}, {record, m.row(record)}}
	p.yield()
	if p.reaches(q.id) == nil || q.m != p.m || q.id == master {
		return
	}
	for _, f := range fresh {
		if f.row.exists() && !q.m.isStray(w.keys[f.key].slot, f.row.origin, f.row.rev) {
			q.put(f.key, f.row)
		}
	}
}

// forgetPublished drops a staged stray once the partition holds the record, and the stray's row is replaced.
func (q *partition) forgetPublished() {
	strays := q.strays()
	q.orphans = slices.DeleteFunc(q.orphans, func(s staged) bool {
		if !q.w.has(keepStaged) {
			return true
		}
		record := q.w.key(keyInfo{kind: orphan, slot: q.w.keys[s.key].slot, of: s.key, origin: s.row.origin, rev: s.row.rev})
		return !slices.ContainsFunc(strays, s.is) && (q.row(record).exists() || q.w.kept[stray{s.key, s.row.origin, s.row.rev}])
	})
}

// markEnds writes, for each ended term of an origin whose strays are all published, the marker of the end.
func (p *process) markEnds(origin int) {
	w := p.w
	for _, t := range p.m.terms {
		s := p.m.slots[t.slot]
		if t.origin != origin || s.moving || t.last == unended {
			continue
		}
		master, epoch := s.owner, p.m.masters[s.owner]
		marker := w.key(keyInfo{kind: endOfOrigin, slot: t.slot, origin: origin, rev: t.first, master: master})
		if q := p.reaches(master); q == nil || !p.mayServe(t.slot, master, epoch) || q.row(marker).exists() {
			continue
		}
		p.commit(master, epoch, update{key: marker, value: w.newValue()})
	}
}
