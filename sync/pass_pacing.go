package sync

import "time"

// Commits of a burst are copied together. Under heavy writes, rare large copies
// cost a fraction of frequent small copies: the rows of a copy share pages
// and the fsync of the target, and only the last entry of a key that was written several
// times is copied. Therefore a stream cools down after a copy, and the wakes during
// the cooldown start no copy.
//
// The delay is bounded: an entry waits for the running copy, one cooldown and
// its own copy. The cooldown ends early when the burst does. No cooldown follows
//   - the copy of a lone commit, however large,
//   - a copy of few entries during which fewer than manyCommits commits came,
//   - a copy that took longer than maxCooldown: such a stream has fallen behind,
//     and copies at full speed until it has caught up.
const (
	burstGap       = 20 * time.Millisecond  // a burst ends when no commit came for this time
	cooldownFactor = 3                      // a cooldown lasts this many times as long as the copy, …
	maxCooldown    = 500 * time.Millisecond // … at most for this time
	manyEntries    = 32                     // … if the copy had this many entries,
	manyCommits    = 2                      // … or, if this many commits came during a smaller copy,
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

// coolDown starts a stream's cooldown at the end of a copy. Streams of an origin fall
// into step, so that they share a snapshot and a barrier: if the cooldown of another stream
// ends in the second half of this cooldown, both end together.
// Syncer.mu is held.
func (s *Syncer) coolDown(st *stream, entries int64, took time.Duration) {
	now, cooldown := time.Now(), cooldownAfter(entries, st.missed, took)
	if !s.inBurst || cooldown == 0 {
		return
	}
	st.notBefore = now.Add(cooldown)
	for _, r := range s.replicas {
		other := r.streams[st.origin]
		if other != nil && other.notBefore.After(now.Add(cooldown/2)) && other.notBefore.Before(st.notBefore) {
			st.notBefore = other.notBefore
		}
	}
}

// cooledDown returns from when on a wake may start a copy on the stream: from the end of
// the cooldown or, if earlier, of the burst. Syncer.mu is held.
func (s *Syncer) cooledDown(st *stream) time.Time {
	if end := s.lastWake.Add(burstGap); end.Before(st.notBefore) {
		return end
	}
	return st.notBefore
}

// noteWake records a commit and reports whether a pass could copy anything now.
// If not, the streams that are busy or cooling down copy the commit when they are ready.
func (s *Syncer) noteWake() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.inBurst = now.Sub(s.lastWake) < burstGap
	s.lastWake = now
	streams, free := 0, false
	for _, r := range s.replicas {
		for o, st := range r.streams {
			if string(o) == r.Name() || st.state == Standby || !r.isUsable(now) || !st.retry.elapsed(now) {
				continue
			}
			streams++
			if !s.inBurst {
				st.notBefore = time.Time{}
			}
			if st.busy || now.Before(st.notBefore) {
				st.missed++
			} else {
				free = true
			}
		}
	}
	return free || streams == 0
}
