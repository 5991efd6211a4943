package ratelimit

import (
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestNamesAreLimitedApart(t *testing.T) {
	l, now := New(2, 3), time.Now()
	for i := range 3 {
		if _, ok := l.Allow("a", now); !ok {
			t.Errorf("event %d of the burst is refused", i)
		}
	}
	retry, ok := l.Allow("a", now)
	if ok || retry < 400*time.Millisecond || retry > 500*time.Millisecond {
		t.Errorf("event beyond the burst: %v, allowed %v", retry, ok)
	}
	if _, ok := l.Allow("b", now); !ok {
		t.Error("the events of a count against b")
	}
	if _, ok := l.Allow("a", now.Add(retry)); !ok {
		t.Errorf("refused after the announced %v", retry)
	}
	if _, ok := l.Allow("a", now.Add(retry)); ok {
		t.Error("the wait filled the bucket with more than an event")
	}
}

// TestNamesAreBounded shows that many names neither grow the limiter without a bound, nor free a name that is in use.
func TestNamesAreBounded(t *testing.T) {
	l, now := New(1e-3, 100), time.Now()
	for i := range 10 * maxNames {
		l.Allow(strconv.Itoa(i), now)
		if i%100 == 0 {
			l.Allow("attacker", now)
		}
	}
	l.buckets.CleanUp()
	if n := l.buckets.EstimatedSize(); n > maxNames {
		t.Errorf("%d names, limit %d", n, maxNames)
	}
	if _, ok := l.Allow("attacker", now); ok {
		t.Error("other names have freed a name that is in use")
	}
}

func TestConcurrentEventsAreCountedOnce(t *testing.T) {
	l, now := New(1e-3, 50), time.Now()
	var allowed atomic.Int32
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for range 100 {
				if _, ok := l.Allow("a", now); ok {
					allowed.Add(1)
				}
			}
		})
	}
	running.Wait()
	if allowed.Load() != 50 {
		t.Errorf("%d events allowed, want 50", allowed.Load())
	}
}

func TestNoLimitAllowsEverything(t *testing.T) {
	l := New(0, 1)
	for range 1000 {
		if _, ok := l.Allow("a", time.Now()); !ok {
			t.Fatal("refused without a limit")
		}
	}
}

func TestNameOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7":         "192.0.2.7",
		"::ffff:192.0.2.7":  "192.0.2.7",
		"2001:db8:1:2::9":   "2001:db8:1:2::/64",
		"2001:db8:1:2:3::9": "2001:db8:1:2::/64",
		"fe80::1%eth0":      "fe80::/64",
	} {
		if got := NameOf(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	l := New(1e9, 1e9)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			l.Allow("192.0.2.7", time.Now())
		}
	})
}
