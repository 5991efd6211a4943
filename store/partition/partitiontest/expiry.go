package partitiontest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

var expiryChecks = []check{
	{"ExpiredListsItsOwnEntriesThatAreOver", checkExpired},
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
	if _, err := p.Expired(t.Context(), 0); err == nil {
		t.Error("none can be asked for")
	}
}

func wantExpired(t *testing.T, p partition.Partition, limit int, want ...partition.Key) {
	t.Helper()
	keys, err := p.Expired(t.Context(), limit)
	must(t, err)
	if !slices.Equal(keys, want) {
		t.Errorf("expired are %q, want %q", keys, want)
	}
}
