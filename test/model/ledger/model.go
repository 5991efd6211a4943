package ledger

import (
	"math/rand/v2"
	"slices"
)

// Rules are the rules of the protocol.
type Rules struct {
	ByMajority bool // a step follows, and 2xx is answered, once a majority holds the step before it, in order
	SetAside   bool // lost updates are set aside whole; otherwise each lost key is written again unless it was written since
}

// Faults of a run.
type Faults struct {
	Money  bool // the sum of the balances has changed
	Undone bool // an answered transfer is not POSTED
}

const (
	transfers = 6
	amount    = 10
	opening   = 100
)

// status is the value of a transfer's record at the payer, or of its row at the payee.
type status uint8

const (
	none status = iota
	pending
	posted
	failed
	credited
	rejected
)

// state is the contents of a master. Alice and Carol have their accounts at the first master, Bob at the second.
type state struct {
	alice, carol, bob int
	record            [transfers]status // at the first master
	row               [transfers]status // at the second master
}

// Keys of a state, as bits.
const (
	aliceKey = 1 << iota
	carolKey
	bobKey
	firstRecord
)

func recordKey(t int) uint32 { return firstRecord << t }
func rowKey(t int) uint32    { return firstRecord << (transfers + t) }

// update is an entry of a master's list: the keys that it writes, and the state after it.
type update struct {
	keys  uint32
	after state
}

// master is a list of updates, of which a majority holds the first held.
type master struct {
	log  []update
	held int
}

func (m *master) now() state { return m.log[len(m.log)-1].after }

func (m *master) write(keys uint32, s state) { m.log = append(m.log, update{keys, s}) }

// isHeld reports whether the newest update of a key is held by a majority.
func (m *master) isHeld(key uint32, r Rules) bool {
	if !r.ByMajority {
		return true
	}
	for i, u := range slices.Backward(m.log) {
		if u.keys&key != 0 {
			return i < m.held
		}
	}
	return false
}

// run is a run of the simulation.
type run struct {
	rules    Rules
	rng      *rand.Rand
	a, b     *master
	answered [transfers]bool
}

// crosses reports whether a transfer is paid to Bob; the rest is paid to Carol, at the master of the payer.
func crosses(t int) bool { return t%2 == 1 }

// step makes the next step of a transfer, if the step before is held.
func (r *run) step(t int) {
	s := r.a.now()
	switch s.record[t] {
	case none:
		r.begin(t, s)
	case pending:
		if r.a.isHeld(recordKey(t), r.rules) {
			r.goOn(t, s)
		}
	}
	if s = r.a.now(); s.record[t] == posted && r.a.isHeld(recordKey(t), r.rules) {
		r.answered[t] = true
	}
}

func (r *run) begin(t int, s state) {
	if s.alice < amount {
		return
	}
	s.alice -= amount
	if s.record[t] = pending; crosses(t) {
		r.a.write(recordKey(t)|aliceKey, s)
		return
	}
	s.carol += amount
	s.record[t] = posted
	r.a.write(recordKey(t)|aliceKey|carolKey, s)
}

// goOn credits the payee, or ends the transfer after that.
func (r *run) goOn(t int, s state) {
	payee := r.b.now()
	if payee.row[t] == none {
		keys := rowKey(t)
		if payee.row[t] = rejected; t%5 != 0 {
			payee.row[t] = credited
			payee.bob += amount
			keys |= bobKey
		}
		r.b.write(keys, payee)
		return
	}
	if !r.b.isHeld(rowKey(t), r.rules) {
		return
	}
	keys := recordKey(t)
	if s.record[t] = posted; payee.row[t] == rejected {
		s.record[t] = failed
		s.alice += amount
		keys |= aliceKey
	}
	r.a.write(keys, s)
}

// failOver loses the end of a master's list. Without SetAside the lost keys that were not written since are written again a while later.
func (r *run) failOver(m *master) {
	cut := m.held + r.rng.IntN(len(m.log)-m.held+1)
	lost := slices.Clone(m.log[cut:])
	m.log = m.log[:cut]
	if r.rules.SetAside || len(lost) == 0 {
		return
	}
	mark := len(m.log)
	for range r.rng.IntN(4) {
		r.step(r.rng.IntN(transfers))
	}
	var written, since uint32
	for _, u := range lost {
		written |= u.keys
	}
	for _, u := range m.log[mark:] {
		since |= u.keys
	}
	for key := uint32(1); key <= written; key <<= 1 {
		if written&key&^since != 0 {
			m.write(key, withKey(m.now(), lost[len(lost)-1].after, key))
		}
	}
}

// withKey returns s with a key as old has it.
func withKey(s, old state, key uint32) state {
	switch key {
	case aliceKey:
		s.alice = old.alice
	case carolKey:
		s.carol = old.carol
	case bobKey:
		s.bob = old.bob
	}
	for t := range transfers {
		switch key {
		case recordKey(t):
			s.record[t] = old.record[t]
		case rowKey(t):
			s.row[t] = old.row[t]
		}
	}
	return s
}

// Run makes a run, which the seed determines: steps, progress of the majority and failovers at random, and then enough of
// everything to end every transfer that has begun.
func Run(seed uint64, rules Rules) (f Faults) {
	r := &run{rules: rules, rng: rand.New(rand.NewPCG(seed, 0))}
	r.a, r.b = &master{log: []update{{aliceKey | carolKey, state{alice: opening}}}, held: 1}, &master{log: []update{{bobKey, state{}}}, held: 1}
	pick := func() *master {
		if r.rng.IntN(2) == 0 {
			return r.a
		}
		return r.b
	}
	for range 120 {
		switch x := r.rng.Float64(); {
		case x < .75:
			r.step(r.rng.IntN(transfers))
		case x < .95:
			m := pick()
			m.held += r.rng.IntN(len(m.log) - m.held + 1)
		default:
			r.failOver(pick())
		}
	}
	for range 12 { // every transfer has at most three steps
		r.a.held, r.b.held = len(r.a.log), len(r.b.log)
		for t := range transfers {
			if r.a.now().record[t] != none {
				r.step(t)
			}
		}
	}
	s := r.a.now()
	f.Money = s.alice+s.carol+r.b.now().bob != opening
	for t, answered := range r.answered {
		f.Undone = f.Undone || answered && s.record[t] != posted
	}
	return f
}
