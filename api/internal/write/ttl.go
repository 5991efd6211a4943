package write

import (
	"net/url"
	"time"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// maxTTL keeps an expiry within the range of the databases and of RFC 3339.
const maxTTL = 100 * 365 * 24 * time.Hour

// TimeToLive parses the parameter ttl; 0 if absent.
func TimeToLive(q url.Values) (time.Duration, error) {
	if !q.Has("ttl") {
		return 0, nil
	}
	ttl, err := time.ParseDuration(q.Get("ttl"))
	if err != nil || ttl < time.Millisecond || ttl > maxTTL {
		return 0, problem.Parameter("ttl", "ttl is a duration like 30s or 12h, from 1ms to %dh, not %q.", int(maxTTL.Hours()), q.Get("ttl"))
	}
	return ttl, nil
}

// ExpiresAt parses the parameter expires_at, which excludes ttl; 0 if absent.
func ExpiresAt(q url.Values) (store.Instant, error) {
	if !q.Has("expires_at") {
		return 0, nil
	}
	at, err := time.Parse(time.RFC3339, q.Get("expires_at"))
	if err != nil || q.Has("ttl") {
		return 0, problem.Parameter("expires_at", "expires_at is a time like 2026-01-31T12:00:00Z, without a ttl, not %q.", q.Get("expires_at"))
	}
	return partition.InstantOf(at), nil
}
