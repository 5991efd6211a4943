package api

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// parameters parses a query. Unknown and repeated parameters are refused, so that a misspelt parameter is not ignored
// silently.
func parameters(rawQuery string, known []string) (url.Values, error) {
	if rawQuery == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, problem.New(problem.InvalidParameter, "The query is not well-formed.")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(known, name) {
			return nil, problem.Parameter(printable(name), "There is no parameter %q here; there are: %s.", name, orNone(known))
		}
		if len(values[name]) > 1 {
			return nil, problem.Parameter(name, "The parameter %q is given more than once.", name)
		}
	}
	return values, nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// printable quotes non-printable characters of a name from outside.
func printable(s string) string {
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

// maxTTL keeps an expiry within the range of the databases and of RFC 3339.
const maxTTL = 100 * 365 * 24 * time.Hour

// timeToLive parses the parameter ttl; 0 if absent.
func timeToLive(q url.Values) (time.Duration, error) {
	if !q.Has("ttl") {
		return 0, nil
	}
	ttl, err := time.ParseDuration(q.Get("ttl"))
	if err != nil || ttl < time.Millisecond || ttl > maxTTL {
		return 0, problem.Parameter("ttl", "ttl is a duration like 30s or 12h, from 1ms to %dh, not %q.", int(maxTTL.Hours()), q.Get("ttl"))
	}
	return ttl, nil
}

// expiresAt parses the parameter expires_at, which excludes ttl; 0 if absent.
func expiresAt(q url.Values) (store.Instant, error) {
	if !q.Has("expires_at") {
		return 0, nil
	}
	at, err := time.Parse(time.RFC3339, q.Get("expires_at"))
	if err != nil || q.Has("ttl") {
		return 0, problem.Parameter("expires_at", "expires_at is a time like 2026-01-31T12:00:00Z, without a ttl, not %q.", q.Get("expires_at"))
	}
	return partition.InstantOf(at), nil
}

// pageLimit parses the parameter limit; 0 if absent.
func pageLimit(q url.Values) (int, error) {
	if !q.Has("limit") {
		return 0, nil
	}
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 || limit > store.MaxLimit {
		return 0, problem.Parameter("limit", "limit is a number from 1 to %d, not %q.", store.MaxLimit, q.Get("limit"))
	}
	return limit, nil
}

// flag parses a boolean parameter; false if absent.
func flag(q url.Values, name string) (bool, error) {
	switch v := q.Get(name); {
	case v == "true":
		return true, nil
	case v == "false", !q.Has(name):
		return false, nil
	}
	return false, problem.Parameter(name, "%s is true or false, not %q.", name, q.Get(name))
}

// part parses a parameter that is part of a name; "" if absent.
func part(q url.Values, name string) (string, error) {
	v := q.Get(name)
	if len(v) > store.MaxKeyBytes || !utf8.ValidString(v) {
		return "", problem.Parameter(name, "%s is at most %d bytes of valid UTF-8.", name, store.MaxKeyBytes)
	}
	return v, nil
}
