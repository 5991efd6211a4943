package partitiontest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

var expiryChecks = []check{
	{"ExpiredListsEntriesThatAreOver", checkExpired},
	{"ExpiredKeepsItsBounds", checkExpiredBounds},
	{"ExpiredListsNoMoreThanAsked", checkExpiredLimit},
}

// expiring returns an entry that expires at until.
func expiring(key string, until partition.Instant) partition.Entry {
	e := put(key, "1")
	e.ExpiresAt = until
	return e
}

func checkExpired(t *testing.T, s suite) {
	p := s.node(t, alpha)
	over := now(t, p).Add(-time.Minute)
	commit(t, p, expiring("k/b", over+1), expiring("k/a", over+2), expiring("k/c", over),
		expiring("k/lives", over.Add(time.Hour)), put("k/forever", "1"), deletion("k/gone"))
	other := at(expiring("k/other", over), beta, 1)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: beta, To: 1, Goal: 1, Entries: []partition.Entry{other}}))
	wantExpired(t, p, 10, "k/c", "k/b", "k/a")
	commit(t, p, put("k/c", "2"), deletion("k/a"))
	wantExpired(t, p, 10, "k/b")
	commit(t, p, expiring("k/b", over.Add(time.Hour)))
	wantExpired(t, p, 10)
	wantSpan(t, p, partition.ExpirySpan{Origin: beta, Limit: 10}, "k/other")
	wantSpan(t, p, partition.ExpirySpan{Origin: "nobody", Limit: 10})
}

// checkExpiredBounds: pages of one, where keys share an instant, and a bound before now.
func checkExpiredBounds(t *testing.T, s suite) {
	p := s.node(t, alpha)
	over := now(t, p).Add(-time.Minute)
	commit(t, p, expiring("k/c", over), expiring("k/a", over+1), expiring("k/b", over), expiring("k/d", over+2), expiring("k/e", over+3))
	span := partition.ExpirySpan{Origin: alpha, Until: over + 2, Limit: 1}
	for _, want := range []partition.ExpiredKey{{At: over, Key: "k/b"}, {At: over, Key: "k/c"}, {At: over + 1, Key: "k/a"}, {At: over + 2, Key: "k/d"}} {
		wantSpan(t, p, span, want.Key)
		span.After = want
	}
	wantSpan(t, p, span)
	span.Until = over.Add(time.Hour)
	wantSpan(t, p, span, "k/e")
}

func checkExpiredLimit(t *testing.T, s suite) {
	p := s.node(t, alpha)
	over := now(t, p).Add(-time.Minute)
	var entries []partition.Entry
	for i := range 30 {
		entries = append(entries, expiring(fmt.Sprintf("k/%02d", i), over+partition.Instant(i)))
	}
	commit(t, p, entries...)
	wantExpired(t, p, 2, "k/00", "k/01")
	if _, err := p.Expired(t.Context(), partition.ExpirySpan{Origin: alpha}); err == nil {
		t.Error("none can be asked for")
	}
}

// wantExpired checks the first expired entries of alpha.
func wantExpired(t *testing.T, p partition.Partition, limit int, want ...partition.Key) {
	t.Helper()
	wantSpan(t, p, partition.ExpirySpan{Origin: alpha, Limit: limit}, want...)
}

func wantSpan(t *testing.T, p partition.Partition, s partition.ExpirySpan, want ...partition.Key) {
	t.Helper()
	expired, err := p.Expired(t.Context(), s)
	must(t, err)
	var keys []partition.Key
	for _, k := range expired {
		keys = append(keys, k.Key)
	}
	if !slices.Equal(keys, want) {
		t.Errorf("expired are %q, want %q", keys, want)
	}
}
