package main

// outcome is the result of a commit, as far as the process knows.
type outcome uint8

const (
	unknown outcome = iota // the process was cut off, or the partition is down
	committed
	stale   // the master's counter is outside of the epoch
	nothing // the decision was to write nothing
)

// update describes a commit. decide runs inside of the commit.
type update struct {
	key     key
	deleted bool
	value   int
	decide  func(q *partition) (deleted bool, value int, ok bool) // nil: always writes deleted and value
	extra   func() (k key, value int, ok bool)                    // a second row of the same commit; nil: none
}

// commit sends an update to a master's database. The update runs there some time later, even if the process is cut off
// meanwhile.
func (p *process) commit(master, epoch int, u update) (*write, outcome) {
	if p.reaches(master) == nil {
		return nil, unknown
	}
	late := p.chance(0.15)
	if late {
		p.pause(p.w.between(1, 150))
	} else {
		p.pause(p.w.between(1, 4))
	}
	q := p.w.partitions[master]
	for i := 0; i < 400 && !q.up; i++ {
		p.yield()
	}
	if !q.up {
		return nil, unknown
	}
	if !q.accepts(epoch) {
		return nil, stale
	}
	if u.decide != nil {
		var ok bool
		if u.deleted, u.value, ok = u.decide(q); !ok {
			return nil, nothing
		}
	}
	done := &write{key: u.key, row: q.claim(u.key, u.deleted, u.value)}
	p.w.writes = append(p.w.writes, done)
	if u.extra != nil {
		if k, value, ok := u.extra(); ok {
			q.claim(k, false, value)
		}
	}
	if late {
		p.pause(p.w.between(0, 60))
	} else {
		p.pause(p.w.between(0, 3))
	}
	if p.reaches(master) == nil {
		return nil, unknown
	}
	return done, committed
}

func (p *process) acknowledge(slot, epoch int, done *write) {
	w := p.w
	done.acked = true
	w.stats.Acknowledged++
	a := acknowledgement{w.now, slot, epoch, done}
	w.acks = append(w.acks, a)
	if _, found := w.first[slotEpoch{slot, epoch}]; !found {
		w.first[slotEpoch{slot, epoch}] = a
	}
}

// anyKey returns a key of clients with its slot, and the slot's master with its epoch, if the process may serve the slot.
func (p *process) anyKey() (k key, slot, master, epoch int, ok bool) {
	k = key(p.rnd().IntN(clientKeys))
	slot = p.w.keys[k].slot
	s := p.m.slots[slot]
	if s.moving {
		return k, slot, 0, 0, false
	}
	master, epoch = s.owner, p.m.masters[s.owner]
	return k, slot, master, epoch, p.mayServe(slot, master, epoch)
}

// writes is the role of an API process: writes, some of them held by a majority, and reads from the master.
func writes(p *process) {
	for {
		p.yield()
		if p.m == nil || p.chance(0.3) {
			p.readMap()
			continue
		}
		k, slot, master, epoch, ok := p.anyKey()
		switch {
		case !ok:
		case p.chance(0.25):
			p.readFromMaster(k, slot, master, epoch)
		default:
			p.writeOne(k, slot, master, epoch)
		}
	}
}

func (p *process) readFromMaster(k key, slot, master, epoch int) {
	began := p.w.now
	p.pause(p.w.between(1, 5))
	q := p.reaches(master)
	if q == nil {
		return
	}
	r := q.row(k)
	if p.w.has(guardReads) && (q.counter < firstOf(epoch) || q.counter >= firstOf(epoch+1)) {
		return
	}
	if p.chance(0.1) {
		p.pause(p.w.between(0, 80))
	} else {
		p.pause(p.w.between(0, 3))
	}
	if !p.w.has(checkAfterCommit) || p.mayServe(slot, master, epoch) {
		p.w.reads = append(p.w.reads, masterRead{began, k, r.rev, epoch})
	}
}

func (p *process) writeOne(k key, slot, master, epoch int) {
	u := update{key: k, deleted: p.chance(0.2)}
	majority := p.chance(0.3)
	if !u.deleted {
		u.value = p.w.newValue()
	}
	done, result := p.commit(master, epoch, u)
	switch {
	case result == stale:
		p.w.stats.Stale++
	case result != committed:
	case majority:
		if p.isHeldByMajority(slot, master, epoch, done.row.rev) { // needs no clock
			done.majority, done.acked = true, true
			p.w.stats.Majority++
		}
	case !p.w.has(checkAfterCommit) || p.mayServe(slot, master, epoch):
		p.acknowledge(slot, epoch, done)
	default:
		p.w.stats.Withheld++
	}
}

// isHeldByMajority waits until a majority, with maps that still name the master in the epoch, holds a revision by position.
func (p *process) isHeldByMajority(slot, master, epoch int, r revision) bool {
	for range 12 {
		n := 0
		for id := range p.w.n {
			p.yield()
			q := p.reaches(id)
			if q != nil && q.head(master) >= r && (!p.w.has(countThisEpoch) || q.m.isMaster(slot, master, epoch)) {
				n++
			}
		}
		if n >= p.w.majority {
			return true
		}
	}
	return false
}

// session holds the marks of a client's token, and the newest revision of each key that the client has seen.
type session struct {
	p     *process
	marks []revision // by origin
	seen  [clientKeys]revision
}

// usesSession is the role of an API process whose client reads from any partition that qualifies for its token.
func usesSession(p *process) {
	s := &session{p: p, marks: make([]revision, p.w.n)}
	for {
		p.yield()
		switch {
		case p.m == nil || p.chance(0.3):
			p.readMap()
		case p.chance(0.4):
			s.write()
		default:
			s.read(key(p.rnd().IntN(clientKeys)), p.rnd().IntN(p.w.n))
		}
	}
}

func (s *session) write() {
	k, slot, master, epoch, ok := s.p.anyKey()
	if !ok {
		return
	}
	done, result := s.p.commit(master, epoch, update{key: k, value: s.p.w.newValue()})
	if result == committed && s.p.mayServe(slot, master, epoch) {
		s.p.acknowledge(slot, epoch, done)
		s.note(k, done.row)
	}
}

func (s *session) note(k key, r row) {
	s.marks[r.origin] = max(s.marks[r.origin], r.rev)
	s.seen[k] = max(s.seen[k], r.rev)
}

func (s *session) read(k key, id int) {
	q := s.p.reaches(id)
	if q == nil || len(q.straysBy(s.p.m)) > 0 { // a returning partition serves no reads
		return
	}
	for o, r := range s.marks {
		if r > 0 && !s.isServed(q, o, r) {
			return
		}
	}
	r := q.row(k)
	s.p.w.stats.SessionReads++
	if r.rev < s.seen[k] {
		violate("a session saw key %d at %d, then at %d on partition %d (marks %v, map %+v)", k, s.seen[k], r.rev, id, s.marks, q.m)
	}
	if r.exists() {
		s.note(k, r)
	}
}

// isServed reports whether a partition holds an origin's history up to a mark. Of a mark beyond the end of a term, which
// no later term covers, the marker of the end must be there.
func (s *session) isServed(q *partition, origin int, mark revision) bool {
	m, need := s.p.m, mark
	if mark.epoch() <= m.epoch { // of an epoch that is not known, no term has ended
		need = m.effective(mark, origin)
	}
	for _, t := range m.terms {
		if t.origin == origin && t.first <= mark && mark > t.last && !reachesLater(m, t, mark) && !holdsEnd(q, t) {
			return false
		}
	}
	return q.head(origin) >= need
}

// reachesLater reports whether a later term of the same origin and slot begins before a mark.
func reachesLater(m *clusterMap, ended term, mark revision) bool {
	for _, t := range m.terms {
		if t.slot == ended.slot && t.origin == ended.origin && ended.first < t.first && t.first <= mark {
			return true
		}
	}
	return false
}

func holdsEnd(q *partition, t term) bool {
	for k, info := range q.w.keys {
		if info.kind == endOfOrigin && info.slot == t.slot && info.origin == t.origin && info.rev == t.first && q.row(key(k)).exists() {
			return true
		}
	}
	return false
}

// followsFeed is the role of a reader of changes. The reader asks any partition with a vector of positions, and must end with the
// final state.
func followsFeed(p *process) {
	token := make([]revision, p.w.n)
	for {
		p.pause(p.w.between(1, 6))
		q := p.reaches(p.rnd().IntN(p.w.n))
		if q == nil || len(q.strays()) > 0 {
			continue
		}
		for o := range token {
			head := q.m.effective(q.head(o), o)
			if head <= token[o] {
				continue
			}
			for k, r := range q.rows {
				if r.exists() && r.origin == o && token[o] < r.rev && r.rev <= head {
					p.see(k, r)
				}
			}
			token[o] = head
		}
	}
}

func (p *process) see(k int, r row) {
	if need := k + 1 - len(p.view); need > 0 {
		p.view = append(p.view, make([]row, need)...)
	}
	if p.view[k].rev < r.rev {
		p.view[k] = r
	}
}
