package backend

import (
	"testing"
	"time"
)

func TestLeasesAreCountedBySurerClocks(t *testing.T) {
	const d = 10 * time.Second
	for _, c := range []struct {
		name           string
		monotonic, day time.Duration
		want           bool
	}{
		{"both within", 9 * time.Second, 9 * time.Second, true},
		{"both over", d, d, false},
		{"suspended", time.Second, time.Hour, false},
		{"suspended for a part", time.Second, 9 * time.Second, true},
		{"set back", 9 * time.Second, 8 * time.Second, false},
		{"suspended, and set back", time.Second, -time.Hour, false},
		{"slewed", 9 * time.Second, 9*time.Second - 40*time.Millisecond, true},
	} {
		if got := isSurelyWithin(c.monotonic, c.day, d); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	var boot time.Duration
	s := NewSet(Options{BootClock: func() time.Duration { return boot }})
	since := Moment{Clock: time.Now(), Boot: time.Minute}
	for _, c := range []struct {
		boot time.Duration
		want bool
	}{{time.Minute + d - 1, true}, {time.Minute + d, false}} {
		boot = c.boot
		if got := s.IsWithin(since, d); got != c.want {
			t.Errorf("at %s: %v", c.boot, got)
		}
	}
	if s := NewSet(Options{}); !s.IsWithin(Moment{time.Now(), s.options.BootClock()}, d) || s.IsWithin(Moment{time.Now().Add(-d), s.options.BootClock() - d}, d) {
		t.Error("by the clocks of the system")
	}
}
