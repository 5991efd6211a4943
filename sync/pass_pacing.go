package sync

import "time"

// Commits in a burst are copied together. While a master is written flat out, copies
// that are large and rare cost a fraction of small ones: the rows of a copy share the pages
// and the fsync of the target, and of a key that was written several times only
// the last entry is copied. So a stream cools down after a copy, and the wakes of
// that time start no copy of their own.
//
// The delay is bounded: an entry waits for the copy under way, one cooldown and
// its own copy. A cooldown ends early when the burst does. No cooldown follows
//   - the copy of a lone commit, however large,
//   - a copy of few entries during which at most one more commit came,
//   - a copy that took longer than maxCooldown: such a stream has fallen behind,
//     and copies at full speed until it has caught up.
const (
	burstGap       = 20 * time.Millisecond  // a burst has ended when no commit came for so long
	cooldownFactor = 3                      // a cooldown lasts for so many times as long as the copy took, …
	maxCooldown    = 500 * time.Millisecond // … at most for this time
	manyEntries    = 32                     // … if the copy had so many entries,
	manyCommits    = 2                      // … and if so many commits came during a copy of fewer,
	shortCooldown  = 4 * time.Millisecond   // … at most for this time
)

// cooldownAfter returns how long a stream cools down after a copy in a burst. missed
// counts the commits that came during the copy.
func cooldownAfter(entries int64, missed int, took time.Duration) time.Duration {
	switch cooldown := took * cooldownFactor; {
	case took > maxCooldown:
		return 0
	case entries >= manyEntries:
		return min(cooldown, maxCooldown)
	case missed >= manyCommits:
		return min(cooldown, shortCooldown)
	}
	return 0
}

// coolDown sets when the next wake may start a copy on a stream, a copy having
// just ended. Streams of one origin fall into step, so that they share a reading and
// a barrier: a cooldown ends with another stream's that ends in its second half.
// Syncer.mu is held.
func (s *Syncer) coolDown(l *lane, entries int64, took time.Duration) {
	now, cooldown := time.Now(), cooldownAfter(entries, l.missed, took)
	if !s.inBurst || cooldown == 0 {
		return
	}
	l.notBefore = now.Add(cooldown)
	for _, p := range s.peers {
		other := p.lanes[l.origin]
		if other != nil && other.notBefore.After(now.Add(cooldown/2)) && other.notBefore.Before(l.notBefore) {
			l.notBefore = other.notBefore
		}
	}
}

// cooledDown returns when a wake may start a copy on the stream: at the end of its
// cooldown or of the burst. Syncer.mu is held.
func (s *Syncer) cooledDown(l *lane) time.Time {
	if end := s.lastWake.Add(burstGap); end.Before(l.notBefore) {
		return end
	}
	return l.notBefore
}

// noteWake notes a commit and reports whether a pass could copy anything now.
// Otherwise the streams that are busy or cool down come back to it by themselves.
func (s *Syncer) noteWake() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.inBurst = now.Sub(s.lastWake) < burstGap
	s.lastWake = now
	streams, free := 0, false
	for _, p := range s.peers {
		for o, l := range p.lanes {
			if string(o) == p.Name() || l.state == Standby || !p.usable(now) || !l.pause.over(now) {
				continue
			}
			streams++
			if !s.inBurst {
				l.notBefore = time.Time{}
			}
			if l.busy || now.Before(l.notBefore) {
				l.missed++
			} else {
				free = true
			}
		}
	}
	return free || streams == 0
}
