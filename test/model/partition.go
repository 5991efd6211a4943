package main

import (
	"slices"
)

// key is an index into world.keys.
type key int

// keyInfo is the name of a key. Keys of the protocol itself belong to the slot that they are routed by.
type keyInfo struct {
	kind   keyKind
	slot   int
	of     key      // of an orphan record: the key that was set aside
	origin int      // of an orphan record, or of an end marker
	rev    revision // of an orphan record; the first revision of the term of an end marker
	master int      // of an end marker: the master that has written the marker
	client int      // the number of a client's key
}

type keyKind uint8

const (
	ofClients   keyKind = iota
	orphan              // the record of a stray that was set aside
	endOfOrigin         // says that every stray of an origin's term was published
)

// row is the entry of a key. The zero row is no entry.
type row struct {
	rev     revision
	origin  int
	deleted bool
	value   int // 0: none
}

func (r row) exists() bool { return r.rev > 0 }

// staged is a stray that a partition has set aside and that is not published yet.
type staged struct {
	key key
	row row
}

func (s staged) is(o staged) bool {
	return s.key == o.key && s.row.origin == o.row.origin && s.row.rev == o.row.rev
}

// clusterRow is the register of a partition that holds the map.
type clusterRow struct {
	promised, accepted int // ballots
	m                  *clusterMap
}

// partition is a database. Each method is a transaction.
type partition struct {
	id int
	w  *world
	up bool
	clusterRow
	durable  clusterRow
	counter  revision // of the partition's own revisions; a claim must be of the counter's epoch
	last     revision // the newest own revision
	rows     []row    // by key
	position []revision
	gave     map[*clusterMap]revision // last, when the map took slots away
	orphans  []staged

	strayRows []staged // of strays, valid unless changed
	changed   bool
}

func newPartition(w *world, id int, m *clusterMap) *partition {
	p := &partition{
		id: id, w: w, up: true, clusterRow: clusterRow{m: m}, durable: clusterRow{m: m},
		position: make([]revision, w.n), gave: make(map[*clusterMap]revision), changed: true,
	}
	if m.masters[id] > 0 {
		p.counter = firstOf(m.masters[id])
		p.last = p.counter
	}
	return p
}

// crash loses all that is not durable. A freeze of the counter may be lost too, as it only adds safety.
func (p *partition) crash() {
	p.up = false
	if p.durable.accepted != p.accepted {
		p.clusterRow, p.changed = p.durable, true
	}
}

// adopt accepts a map under a ballot: the counter moves to the map's epoch, positions end where terms end, and strays are
// set aside.
func (p *partition) adopt(ballot int, m *clusterMap) {
	p.accepted, p.m, p.changed = ballot, m, true
	for _, s := range m.slots {
		if _, known := p.gave[m]; s.moving && s.owner == p.id && !known {
			p.gave[m] = p.last
		}
	}
	if e := m.masters[p.id]; e > 0 {
		p.counter = max(p.counter, firstOf(e))
	} else if p.counter > 0 {
		p.counter = max(p.counter, firstOf(m.epoch)) // no process of an older map can commit here
	}
	for o := range p.position {
		p.position[o] = m.effective(p.position[o], o)
	}
	if p.w.has(setAside) {
		for _, s := range p.strays() {
			if !slices.ContainsFunc(p.orphans, s.is) {
				p.orphans = append(p.orphans, s)
			}
		}
	}
}

func (p *partition) sync() { p.durable = p.clusterRow }

// head returns up to which revision the partition holds the history of an origin.
func (p *partition) head(origin int) revision {
	if origin == p.id {
		return p.last
	}
	return p.position[origin]
}

func (p *partition) row(k key) row {
	if int(k) >= len(p.rows) {
		return row{}
	}
	return p.rows[k]
}

func (p *partition) set(k key, r row) {
	if need := int(k) + 1 - len(p.rows); need > 0 {
		p.rows = append(p.rows, make([]row, need)...)
	}
	p.rows[k], p.changed = r, true
}

// put stores a copied row, unless the present row is newer.
func (p *partition) put(k key, r row) {
	if r.rev > p.row(k).rev {
		p.set(k, r)
	}
}

// claim stores a row with a new revision of the partition's own.
func (p *partition) claim(k key, deleted bool, value int) row {
	p.counter++
	p.last = p.counter
	r := row{p.counter, p.id, deleted, value}
	p.set(k, r)
	return r
}

// accepts reports whether the counter lets a process claim two revisions in an epoch.
func (p *partition) accepts(epoch int) bool {
	return firstOf(epoch) <= p.counter && p.counter+2 < firstOf(epoch+1)
}

// strays returns the rows that are strays by the partition's own map.
func (p *partition) strays() []staged {
	if p.changed {
		p.strayRows, p.changed = p.straysBy(p.m), false
	}
	return p.strayRows
}

func (p *partition) straysBy(m *clusterMap) (found []staged) {
	for k, r := range p.rows {
		if r.exists() && m.isStray(p.w.keys[k].slot, r.origin, r.rev) {
			found = append(found, staged{key(k), r})
		}
	}
	return found
}

// revision orders the changes of an origin: epoch × perEpoch + a counter.
type revision int64

const (
	perEpoch          = 1_000_000
	unended  revision = 1e15 // the last revision of a term that goes on
)

// firstOf returns the revision with which an epoch begins.
func firstOf(epoch int) revision { return revision(epoch) * perEpoch }

func (r revision) epoch() int { return int(r / perEpoch) }

// slot is the state of a slot: the slot has an owner, or is moving from the owner to a candidate.
type slot struct {
	owner    int
	moving   bool
	to       int
	lossless bool // the move waits for the owner, so that nothing is lost
}

// term says that the revisions first..last of an origin count for the keys of a slot. All other revisions of the slot's
// keys are strays.
type term struct {
	slot, origin int
	first, last  revision
}

// clusterMap names the master of each slot. Maps are immutable, and compared by address.
type clusterMap struct {
	epoch   int
	ballot  int // under which the map was proposed first
	slots   []slot
	masters []int // the epoch of each master, by partition; 0: no master
	terms   []term
}

// next returns a copy of the map for the next epoch.
func (m *clusterMap) next() *clusterMap {
	return &clusterMap{
		epoch: m.epoch + 1, slots: slices.Clone(m.slots), masters: slices.Clone(m.masters), terms: slices.Clone(m.terms),
	}
}

// moving returns the slots that move.
func (m *clusterMap) moving() (slots []int) {
	for i, s := range m.slots {
		if s.moving {
			slots = append(slots, i)
		}
	}
	return slots
}

// isMaster reports whether a partition is the master of a slot in an epoch of the master.
func (m *clusterMap) isMaster(slot, partition, epoch int) bool {
	s := m.slots[slot]
	return !s.moving && s.owner == partition && m.masters[partition] == epoch
}

// isStray reports whether a revision of a slot's key lies outside of every term.
func (m *clusterMap) isStray(slot, origin int, r revision) bool {
	for i := range m.terms {
		if t := &m.terms[i]; t.slot == slot && t.origin == origin && t.first <= r && r <= t.last {
			return false
		}
	}
	return true
}

// effective returns up to which revision an origin's history counts, for a partition that holds the history up to head:
// head itself within a term, else the end of the last term before head.
func (m *clusterMap) effective(head revision, origin int) (end revision) {
	for i := range m.terms {
		switch t := &m.terms[i]; {
		case t.origin != origin:
		case t.first <= head && head <= t.last:
			return head
		case t.first <= t.last && t.last < head:
			end = max(end, t.last)
		}
	}
	return end
}
