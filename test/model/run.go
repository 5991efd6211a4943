package main

import (
	"fmt"
)

// fault is a fault that lasts until a time.
type fault struct {
	until int
	undo  func()
}

const ticksOfFaults = 2500

// simulate runs one seed. The error is the violation.
func simulate(seed uint64, rules rule, partitions int) (s stats, err error) {
	w := newWorld(seed, rules, partitions)
	defer w.close()
	defer func() {
		if r := recover(); r != nil {
			v, ok := r.(violation)
			if !ok {
				panic(r)
			}
			err = fmt.Errorf("seed %d: %w", seed, v)
		}
	}()
	for _, run := range []func(*process){writes, writes} {
		w.add(writer, run)
	}
	w.add(sessionUser, usesSession)
	w.add(feedReader, followsFeed)
	w.add(synchronizer, synchronizes)
	w.add(synchronizer, synchronizes)
	for i := range ticksOfFaults {
		w.tick()
		w.endFaults()
		w.inject(i)
	}
	w.heal()
	w.check()
	return w.stats, nil
}

// addMover begins a move to a random partition, unless enough movers run.
func (w *world) addMover(from int, planned bool) {
	running, most := 0, 2
	if w.storm {
		most = 4
	}
	for _, p := range w.processes {
		if p.role == mover && !p.done {
			running++
		}
	}
	if running >= most {
		return
	}
	to := w.rnd.IntN(w.n - 1)
	if to >= from {
		to++
	}
	w.add(mover, moves(from, to, planned))
}

func (w *world) endFaults() {
	left := w.faults[:0]
	for _, f := range w.faults {
		if f.until <= w.now {
			f.undo()
		} else {
			left = append(left, f)
		}
	}
	w.faults = left
}

// inject makes a random fault, or begins a move, in some ticks.
func (w *world) inject(i int) {
	x := w.rnd.Float64()
	if w.storm && i%2 == 0 {
		x = 0.011 + 0.019*w.rnd.Float64()
	}
	moves := 0.030
	if w.slow {
		moves = 0.036
	}
	switch {
	case x < 0.004:
		w.cutOff(w.rnd.IntN(w.n))
	case x < 0.008:
		for range w.between(1, 4) {
			p, id := w.anyProcess(), w.rnd.IntN(w.n)
			p.cut[id] = !p.cut[id]
		}
	case x < 0.011:
		for _, p := range w.processes {
			clear(p.cut)
		}
	case x < 0.016:
		w.takeDown(w.partitions[w.rnd.IntN(w.n)])
	case x < 0.022:
		w.anyProcess().asleep = w.now + w.between(10, 300)
	case x < 0.026:
		w.killProcess()
	case x < moves:
		w.addMover(w.rnd.IntN(w.n), w.rnd.Float64() < 0.6)
	}
}

func (w *world) anyProcess() *process { return w.processes[w.rnd.IntN(len(w.processes))] }

// cutOff cuts a partition off from all processes, or spares a process, which then may reach only that partition.
func (w *world) cutOff(id int) {
	var spared *process
	if n := w.rnd.IntN(len(w.processes) + 1); n > 0 {
		spared = w.processes[n-1]
	}
	for _, p := range w.processes {
		p.cut[id] = p != spared
	}
	if spared != nil && w.rnd.Float64() < 0.7 {
		for other := range w.n {
			spared.cut[other] = other != id
		}
	}
	w.faults = append(w.faults, fault{w.now + w.between(50, 600), func() {
		for _, p := range w.processes {
			p.cut[id] = false
		}
		if spared != nil {
			clear(spared.cut)
		}
	}})
	if w.rnd.Float64() < 0.7 {
		w.addMover(id, false)
	}
}

// takeDown crashes a partition, or lets it hang with all that it has.
func (w *world) takeDown(p *partition) {
	if !p.up {
		return
	}
	if w.rnd.Float64() < 0.5 {
		p.crash()
	}
	p.up = false
	w.faults = append(w.faults, fault{w.now + w.between(10, 400), func() { p.up = true }})
	if w.rnd.Float64() < 0.5 {
		w.addMover(p.id, false)
	}
}

// killProcess ends a mover, or starts a process afresh.
func (w *world) killProcess() {
	var running []*process
	for _, p := range w.processes {
		if !p.done {
			running = append(running, p)
		}
	}
	switch p := running[w.rnd.IntN(len(running))]; p.role {
	case writer, synchronizer:
		p.start()
	case mover:
		p.done = true
	}
}

// heal ends all faults and waits until the cluster is at rest.
func (w *world) heal() {
	w.slow, w.faults = false, nil
	for _, p := range w.partitions {
		p.up = true
	}
	var left []*process
	for _, p := range w.processes {
		if p.role == mover {
			p.stop()
			continue
		}
		clear(p.cut)
		p.asleep = 0
		left = append(left, p)
	}
	w.processes = left
	for round := 0; ; round++ {
		if round == 120 {
			violate("the cluster never comes to rest: %s", w.describe())
		}
		if round%3 == 0 {
			w.add(mover, moves(-1, -1, false))
		}
		for range 200 {
			w.tick()
		}
		if round == 3 { // writes end
			w.endRoles(writer, sessionUser)
		}
		if round > 6 && w.isAtRest() {
			break
		}
	}
	w.endRoles(writer, sessionUser, synchronizer, mover)
	for range 300 { // the reader of the feed comes to the end
		w.tick()
	}
}

func (w *world) endRoles(roles ...role) {
	for _, p := range w.processes {
		for _, r := range roles {
			p.done = p.done || p.role == r
		}
	}
}

func (w *world) describe() (text string) {
	for _, p := range w.partitions {
		text += fmt.Sprintf("\n  partition %d: epoch %d, slots %+v, %d strays, %d set aside, positions %v, counter %d",
			p.id, p.m.epoch, p.m.slots, len(p.strays()), len(p.orphans), p.position, p.counter)
	}
	return text
}

// isAtRest reports whether all partitions have one map and the same history, and no stray is left.
func (w *world) isAtRest() bool {
	m := w.partitions[0].m
	if len(m.moving()) > 0 {
		return false
	}
	for _, p := range w.partitions {
		if p.m != m || len(p.strays()) > 0 || len(p.orphans) > 0 {
			return false
		}
		for o := range w.n {
			if o != p.id && !w.isLevel(p, o) {
				return false
			}
		}
	}
	return true
}

// isLevel reports whether a partition holds as much of an origin as every partition.
func (w *world) isLevel(p *partition, origin int) bool {
	if p.m.masters[origin] > 0 && p.position[origin] < p.m.effective(w.partitions[origin].last, origin) {
		return false
	}
	for _, q := range w.partitions {
		if q.id != origin && q.position[origin] != p.position[origin] {
			return false
		}
	}
	return true
}

// check finds violations once the cluster is at rest.
func (w *world) check() {
	w.checkEqual()
	m := w.partitions[0].m
	isStray := func(x *write) bool { return m.isStray(w.keys[x.key].slot, x.row.origin, x.row.rev) }
	for _, x := range w.writes {
		if x.acked && w.keys[x.key].kind == ofClients {
			w.checkWrite(x, isStray(x))
		}
	}
	for _, a := range w.acks {
		if isStray(a.write) {
			w.checkNoLaterMaster(a)
		}
	}
	for _, r := range w.reads {
		for _, a := range w.acks {
			if x := a.write; x.key == r.key && a.time < r.began && !isStray(x) && r.rev < x.row.rev {
				violate("a read of key %d in epoch %d, begun at %d, gave revision %d; %+v was acknowledged before", r.key, r.epoch, r.began, r.rev, x)
			}
		}
	}
	w.checkFeeds()
}

// checkEqual: all partitions hold the same rows.
func (w *world) checkEqual() {
	first := w.partitions[0]
	for _, p := range w.partitions[1:] {
		for k := range w.keys {
			if a, b := first.row(key(k)), p.row(key(k)); a != b {
				violate("key %d %+v: partition 0 has %+v, partition %d has %+v; map %+v", k, w.keys[k], a, p.id, b, first.m)
			}
		}
	}
}

// checkWrite: an acknowledged write stands, was replaced by a newer one, or is an orphan.
func (w *world) checkWrite(x *write, isStray bool) {
	stands := w.partitions[0].row(x.key)
	if !isStray {
		if stands.rev < x.row.rev {
			violate("the acknowledged %+v is gone; %+v stands", x, stands)
		}
		return
	}
	if x.majority {
		violate("%+v was held by a majority and is a stray; map %+v", x, w.partitions[0].m)
	}
	w.stats.AckedStrays++
	for k, info := range w.keys { // the write, or a newer write of the same stray history
		if info.kind == orphan && info.of == x.key && info.rev >= x.row.rev && w.partitions[0].row(key(k)).exists() {
			return
		}
	}
	for s := range w.kept {
		if s.key == x.key && s.rev >= x.row.rev {
			return
		}
	}
	violate("the acknowledged %+v is neither kept nor an orphan; %+v stands", x, stands)
}

// checkNoLaterMaster: no stray is acknowledged after a later master has acknowledged a write of the slot.
func (w *world) checkNoLaterMaster(a acknowledgement) {
	for at, first := range w.first {
		if at.slot == a.slot && at.epoch > a.epoch && first.time < a.time && first.write.row.origin != a.write.row.origin {
			violate("%+v was acknowledged in epoch %d after a write of epoch %d, and is a stray", a.write, a.epoch, at.epoch)
		}
	}
}

// checkFeeds: a reader of the feed ends with the final state.
func (w *world) checkFeeds() {
	for _, p := range w.processes {
		if p.role != feedReader {
			continue
		}
		for k := range clientKeys {
			var seen row
			if k < len(p.view) {
				seen = p.view[k]
			}
			if stands := w.partitions[0].row(key(k)); stands.exists() && seen != stands && (!seen.exists() || seen.value != stands.value) {
				violate("key %d is %+v, and the reader of the feed ended with %+v", k, stands, seen)
			}
		}
	}
}
