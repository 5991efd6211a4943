package failover

import (
	"fmt"
	"time"
)

// Watch holds the observations of a process. Its zero value has observed nothing. A Watch is used by a single goroutine.
type Watch struct {
	after   time.Duration
	now     time.Duration // of the last Begin
	masters map[string]*master

	cooling   int64 // see HasCooled
	coolingAt time.Duration
}

// master holds the observations of a master.
type master struct {
	reachedAt time.Duration     // by this process, or the beginning of the watch
	reports   map[string]number // by voter
}

// number is the number of reports on a voter.
type number struct {
	reports   int64
	changedAt time.Duration // when the number was seen first
}

// Interval is the time between two reports of a process that reaches a master.
func Interval(after time.Duration) time.Duration { return after / 3 }

// quiet is how long the numbers of reports must stand still: a report may be late by an interval.
func quiet(after time.Duration) time.Duration { return 2 * after / 3 }

// Begin begins a look at the masters. After a pause, as of a suspended process, the watch begins anew: time in which nobody
// looked does not count. after is how long nobody may have reached a lost master.
func (w *Watch) Begin(now, after time.Duration) {
	if w.masters == nil || w.after != after || now-w.now > after/3 {
		w.masters = make(map[string]*master)
	}
	w.now, w.after = now, after
}

// NoteReached notes that this process asked a master at a moment, and was answered.
func (w *Watch) NoteReached(name string, at time.Duration) {
	m := w.of(name)
	m.reachedAt = max(m.reachedAt, at)
}

func (w *Watch) of(name string) *master {
	m := w.masters[name]
	if m == nil {
		m = &master{reachedAt: w.now, reports: make(map[string]number)}
		w.masters[name] = m
	}
	return m
}

// CheckLost returns nil if a master is lost, and otherwise the reason why it may not be: this process has reached the master
// within the time, fewer than need voters have answered, or another process reaches the master. reports are the numbers of
// reports of this master, by the voters that have answered since Begin.
func (w *Watch) CheckLost(name string, reports map[string]int64, need int) error {
	m := w.of(name)
	stillSince := m.note(reports, w.now)
	switch unreached := w.now - m.reachedAt; {
	case unreached < w.after:
		return fmt.Errorf("this process has not reached it for %s of %s", unreached.Round(time.Millisecond), w.after)
	case len(reports) < need:
		return fmt.Errorf("%d voters answer, and %d are needed", len(reports), need)
	case w.now-stillSince < quiet(w.after):
		return fmt.Errorf("another process may have reached it within %s", quiet(w.after))
	}
	return nil
}

// note notes numbers of reports, and returns when the last of them was seen first.
func (m *master) note(reports map[string]int64, now time.Duration) (stillSince time.Duration) {
	for voter, n := range reports {
		known, is := m.reports[voter]
		if !is || known.reports != n {
			known = number{n, now}
			m.reports[voter] = known
		}
		stillSince = max(stillSince, known.changedAt)
	}
	return stillSince
}

// HasCooled reports whether a time has passed since the cooldown of an epoch was seen first.
func (w *Watch) HasCooled(epoch int64, now, cooldown time.Duration) bool {
	if w.cooling != epoch {
		w.cooling, w.coolingAt = epoch, now
	}
	return now-w.coolingAt >= cooldown
}
