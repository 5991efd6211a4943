package api

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// etagOf returns the entity tag of a revision: the quoted revision with the suffix of the format. All entity tags are
// strong.
func etagOf(rev store.Revision, f negotiate.Format) string {
	var b [32]byte
	return string(appendETag(b[:0], rev, f))
}

func appendETag(b []byte, rev store.Revision, f negotiate.Format) []byte {
	b = append(b, '"')
	b = strconv.AppendInt(b, int64(rev), 10)
	b = append(b, suffixes[f]...)
	return append(b, '"')
}

var suffixes = [...]string{negotiate.FormatRaw: "", negotiate.FormatJSON: ".json", negotiate.FormatXML: ".xml", negotiate.FormatHTML: ".html", negotiate.FormatText: ".txt", negotiate.FormatNDJSON: ".ndjson"}

// tags is a parsed If-Match or If-None-Match header.
type tags struct {
	given bool
	any   bool // "*"
	list  []tag
}

type tag struct {
	weak   bool
	opaque string // without quotes
}

// readTags parses a header of entity tags (RFC 9110, section 8.8.3).
func readTags(h http.Header, name string) (tags, error) {
	lines := h[name]
	if len(lines) == 0 {
		return tags{}, nil
	}
	value := strings.TrimSpace(strings.Join(lines, ","))
	if value == "*" {
		return tags{given: true, any: true}, nil
	}
	t := tags{given: true}
	rest := strings.TrimLeft(value, " \t,")
	for {
		one, after, ok := cutTag(rest)
		if !ok {
			return tags{}, problem.Header(name, "%s takes * or a list of entity tags in double quotes, as ETag gives them.", name)
		}
		t.list = append(t.list, one)
		if rest = strings.TrimLeft(after, " \t"); rest != "" && rest[0] != ',' {
			return tags{}, problem.Header(name, "%s has something other than a comma between two entity tags.", name)
		}
		if rest = strings.TrimLeft(rest, " \t,"); rest == "" { // empty elements are allowed
			return t, nil
		}
	}
}

// cutTag cuts one entity tag from the start of s.
func cutTag(s string) (t tag, rest string, ok bool) {
	s, t.weak = strings.CutPrefix(s, "W/")
	if s == "" || s[0] != '"' {
		return tag{}, "", false
	}
	t.opaque, rest, ok = strings.Cut(s[1:], `"`)
	return t, rest, ok && t.valid()
}

// valid reports whether all characters are allowed in an entity tag.
func (t tag) valid() bool {
	for i := range len(t.opaque) {
		if c := t.opaque[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// revision returns the revision of an entity tag of any format; 0 if the tag is not ours.
func (t tag) revision() store.Revision {
	digits, _, _ := strings.Cut(t.opaque, ".")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != digits || !slices.Contains(suffixes[:], t.opaque[len(digits):]) {
		return 0
	}
	return store.Revision(n)
}

// conditions are the preconditions of a write (RFC 9110, section 13).
type conditions struct {
	match, noneMatch tags
	unmodifiedSince  time.Time // zero: none
}

func readConditions(h http.Header) (c conditions, err error) {
	if c.match, err = readTags(h, "If-Match"); err != nil {
		return c, err
	}
	if c.noneMatch, err = readTags(h, "If-None-Match"); err != nil {
		return c, err
	}
	if !c.match.given {
		c.unmodifiedSince = httpTime(h, "If-Unmodified-Since")
	}
	return c, nil
}

// httpTime parses a date header. A malformed date counts as absent (RFC 9110, section 13.1).
func httpTime(h http.Header, name string) time.Time {
	if len(h[name]) != 1 {
		return time.Time{}
	}
	t, err := http.ParseTime(h[name][0])
	if err != nil {
		return time.Time{}
	}
	return t
}

// empty reports whether there are no conditions.
func (c *conditions) empty() bool {
	return !c.match.given && !c.noneMatch.given && c.unmodifiedSince.IsZero()
}

// evaluate reports whether the key exists, and returns a *conditionError if the conditions do not hold.
func (c *conditions) evaluate(v *store.Tx, key store.Key) (exists bool, err error) {
	current, exists := v.Get(key)
	if err := c.verify(&current, exists); err != nil {
		return exists, &conditionError{err, v.Seen(key)}
	}
	return exists, nil
}

// conditionError refuses a write because of the current entry. The refusal reveals the entry, so the session has seen
// it.
type conditionError struct {
	error
	seen store.Mark
}

func (e *conditionError) Unwrap() error { return e.error }

// revealedBy returns the position that an error reveals; zero if none.
func revealedBy(err error) store.Mark {
	if e, ok := errors.AsType[*conditionError](err); ok {
		return e.seen
	}
	return store.Mark{}
}

// verify returns an error if the conditions do not hold for the current entry. Entity tags of every format match the
// revision.
func (c *conditions) verify(e *store.Entry, exists bool) error {
	switch {
	case c.match.given && !(exists && (c.match.any || c.match.matchRevision(e.Revision, false))):
		return problem.New(problem.Precondition, "If-Match does not hold: %s.", describeEntry(e, exists))
	case !c.unmodifiedSince.IsZero() && exists && e.ModifiedAt.Time().Truncate(time.Second).After(c.unmodifiedSince):
		return problem.New(problem.Precondition, "If-Unmodified-Since does not hold: %s.", describeEntry(e, exists))
	case c.noneMatch.given && exists && (c.noneMatch.any || c.noneMatch.matchRevision(e.Revision, true)):
		return problem.New(problem.Precondition, "If-None-Match does not hold: %s.", describeEntry(e, exists))
	}
	return nil
}

func describeEntry(e *store.Entry, exists bool) string {
	if !exists {
		return "there is no such key"
	}
	return "the entity tag is " + etagOf(e.Revision, negotiate.FormatRaw)
}

// matchRevision reports whether a tag has the revision. Weak tags match only if weak is true.
func (t *tags) matchRevision(rev store.Revision, weak bool) bool {
	for _, one := range t.list {
		if (weak || !one.weak) && one.revision() == rev {
			return true
		}
	}
	return false
}

// matchETag reports whether a tag equals etag. Weak tags match only if weak is true.
func (t *tags) matchETag(etag string, weak bool) bool {
	for _, one := range t.list {
		if (weak || !one.weak) && len(etag) == len(one.opaque)+2 && etag[1:len(etag)-1] == one.opaque {
			return true
		}
	}
	return false
}

// conditional reports whether a read has preconditions.
func conditional(h http.Header) bool {
	return h["If-None-Match"] != nil || h["If-Modified-Since"] != nil || h["If-Match"] != nil || h["If-Unmodified-Since"] != nil
}

// notModified evaluates the preconditions of a read for the representation to be sent. It returns true for 304 and an
// error for 412.
func notModified(h http.Header, etag string, modified time.Time) (bool, error) {
	c, err := readConditions(h)
	if err != nil {
		return false, err
	}
	modified = modified.Truncate(time.Second)
	switch {
	case c.match.given && !c.match.any && !c.match.matchETag(etag, false):
		return false, problem.New(problem.Precondition, "If-Match does not hold: the entity tag is %s.", etag)
	case !c.unmodifiedSince.IsZero() && modified.After(c.unmodifiedSince):
		return false, problem.New(problem.Precondition, "If-Unmodified-Since does not hold.")
	case c.noneMatch.given:
		return c.noneMatch.any || c.noneMatch.matchETag(etag, true), nil
	}
	since := httpTime(h, "If-Modified-Since")
	return !since.IsZero() && !modified.After(since), nil
}
