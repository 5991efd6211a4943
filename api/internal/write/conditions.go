package write

import (
	"errors"
	"net/http"
	"time"

	"github.com/runnelkv/runnel/api/internal/etag"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// Conditions are the preconditions of a write (RFC 9110, section 13).
type Conditions struct {
	Match, NoneMatch etag.Tags
	unmodifiedSince  time.Time // zero: none
}

// ReadConditions reads the preconditions of a request. The error is a *problem.Error.
func ReadConditions(h http.Header) (c Conditions, err error) {
	if c.Match, err = etag.Parse(h, "If-Match"); err != nil {
		return c, err
	}
	if c.NoneMatch, err = etag.Parse(h, "If-None-Match"); err != nil {
		return c, err
	}
	if !c.Match.Given {
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
func (c *Conditions) empty() bool {
	return !c.Match.Given && !c.NoneMatch.Given && c.unmodifiedSince.IsZero()
}

// evaluate reports whether the key exists, and returns a *conditionError if the conditions do not hold.
func (c *Conditions) evaluate(v *store.Tx, key store.Key) (exists bool, err error) {
	current, exists := v.Get(key)
	if err := c.verify(&current, exists); err != nil {
		return exists, &conditionError{err, v.Seen(key)}
	}
	return exists, nil
}

// Evaluate returns an error if the conditions do not hold for the entry of key in the Update.
func (c *Conditions) Evaluate(v *store.Tx, key store.Key) error {
	_, err := c.evaluate(v, key)
	return err
}

// Foresee returns the error that Evaluate would return for an entry that was read before the Update; e is nil if there is no
// entry. It spares the upload of a long body for nothing, and decides nothing.
func (c *Conditions) Foresee(e *store.Entry) error {
	if e == nil {
		return c.verify(&store.Entry{}, false)
	}
	return c.verify(e, true)
}

// Given reports whether there are conditions.
func (c *Conditions) Given() bool { return !c.empty() }

// conditionError refuses a write because of the current entry. The refusal reveals the entry, so the session has seen
// it.
type conditionError struct {
	error
	seen store.Mark
}

func (e *conditionError) Unwrap() error { return e.error }

// RevealedBy returns the position that an error reveals, and whether the error is the refusal of a write.
func RevealedBy(err error) (store.Mark, bool) {
	if e, ok := errors.AsType[*conditionError](err); ok {
		return e.seen, true
	}
	return store.Mark{}, false
}

// verify returns an error if the conditions do not hold for the current entry. Entity tags of every format match the
// revision.
func (c *Conditions) verify(e *store.Entry, exists bool) error {
	switch {
	case c.Match.Given && !(exists && (c.Match.Any || c.Match.MatchRevision(e.Revision, false))):
		return problem.New(problem.Precondition, "If-Match does not hold: %s.", describeEntry(e, exists))
	case !c.unmodifiedSince.IsZero() && exists && e.ModifiedAt.Time().Truncate(time.Second).After(c.unmodifiedSince):
		return problem.New(problem.Precondition, "If-Unmodified-Since does not hold: %s.", describeEntry(e, exists))
	case c.NoneMatch.Given && exists && (c.NoneMatch.Any || c.NoneMatch.MatchRevision(e.Revision, true)):
		return problem.New(problem.Precondition, "If-None-Match does not hold: %s.", describeEntry(e, exists))
	}
	return nil
}

func describeEntry(e *store.Entry, exists bool) string {
	if !exists {
		return "there is no such key"
	}
	return "the entity tag is " + etag.Of(e.Revision, negotiate.FormatRaw)
}

// Conditional reports whether a read has preconditions.
func Conditional(h http.Header) bool {
	return h["If-None-Match"] != nil || h["If-Modified-Since"] != nil || h["If-Match"] != nil || h["If-Unmodified-Since"] != nil
}

// NotModified evaluates the preconditions of a read for the representation to be sent. It returns true for 304 and an
// error for 412.
func NotModified(h http.Header, tag string, modified time.Time) (bool, error) {
	c, err := ReadConditions(h)
	if err != nil {
		return false, err
	}
	modified = modified.Truncate(time.Second)
	switch {
	case c.Match.Given && !c.Match.Any && !c.Match.MatchETag(tag, false):
		return false, problem.New(problem.Precondition, "If-Match does not hold: the entity tag is %s.", tag)
	case !c.unmodifiedSince.IsZero() && modified.After(c.unmodifiedSince):
		return false, problem.New(problem.Precondition, "If-Unmodified-Since does not hold.")
	case c.NoneMatch.Given:
		return c.NoneMatch.Any || c.NoneMatch.MatchETag(tag, true), nil
	}
	since := httpTime(h, "If-Modified-Since")
	return !since.IsZero() && !modified.After(since), nil
}
