package exchange

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// SessionHeader carries a session token from each answer to the next request; see store.Vector.
const SessionHeader = "Runnel-Session"

// DurableHeader says where a write is known to be durable: on the master, or on a majority of the voters.
const DurableHeader = "Runnel-Durable"

// ReadSession returns the session of the header, or of the cookie of a browser. Without either the session is zero.
func (s *Shared) ReadSession(h http.Header) (store.Vector, error) {
	values := h[SessionHeader]
	if len(values) == 0 {
		if h["Cookie"] != nil {
			return s.cookieSession(h), nil
		}
		return store.Vector{}, nil
	}
	v, of, err := store.ParseToken(store.SessionToken, values[0])
	switch mine := s.Store.Tag(); {
	case err != nil || len(values) > 1:
		return store.Vector{}, problem.Header(SessionHeader, "%s takes the token that an answer gave, once and unchanged.", SessionHeader)
	case of != mine && mine != 0 && of != 0:
		return store.Vector{}, problem.New(problem.SessionLost, "This %s is of another cluster. Drop it: send none, to begin a new session.", SessionHeader)
	case s.Store.Lost(v):
		return store.Vector{}, problem.New(problem.SessionLost, "This %s has seen writes that a restore from a backup has undone. Drop it: send none, to begin a new session.", SessionHeader)
	case of == 0: // from a server that did not know its cluster yet
		return store.Vector{}, nil
	}
	return v, nil
}

// SetSession sets the token of the session, with seen added.
func (s *Shared) SetSession(w *Response, session store.Vector, seen store.Mark) {
	w.SetField(SessionHeader, session.TokenWith(store.SessionToken, s.Store.Tag(), seen))
}

// SessionToken returns the token of a session.
func (s *Shared) SessionToken(v store.Vector) string {
	return v.Token(store.SessionToken, s.Store.Tag())
}

// InSession reports whether the request has a session: then no result may be older than the results before.
func InSession(h http.Header, o *store.ReadOptions) bool {
	return h[SessionHeader] != nil || o.Consistency == store.InSession
}

// sessionTrailer announces the trailer with the session at the end of the body. The header has the session at the
// beginning.
var sessionTrailer = []string{SessionHeader}

// AnnounceSession announces the session trailer, and reports whether the client's HTTP version supports trailers.
func AnnounceSession(h http.Header, r *Request) bool {
	if !r.ProtoAtLeast(1, 1) {
		return false
	}
	h["Trailer"] = sessionTrailer
	return true
}

// ReadParams are the parameters of a read. Lists have only the first two.
var ReadParams = []string{"consistency", "max_staleness", "r"}

// ReadOptions parses the consistency of a read. max_staleness and r imply their consistency.
func (s *Shared) ReadOptions(h http.Header, q url.Values) (o store.ReadOptions, err error) {
	if o.Session, err = s.ReadSession(h); err != nil || len(q) == 0 {
		return o, err
	}
	if o.Consistency, err = consistency(q); err != nil {
		return o, err
	}
	switch {
	case q.Has("max_staleness") && o.Consistency != store.Bounded:
		return o, problem.Parameter("max_staleness", "max_staleness goes with consistency=bounded, not with consistency=%s.", o.Consistency)
	case q.Has("r") && o.Consistency != store.Quorum:
		return o, problem.Parameter("r", "r goes with consistency=quorum, not with consistency=%s.", o.Consistency)
	case o.Consistency == store.Bounded:
		o.MaxStaleness, err = maxStaleness(q)
	case o.Consistency == store.Quorum:
		o.Copies, err = quorumSize(q)
	}
	return o, err
}

func consistency(q url.Values) (store.Consistency, error) {
	switch c := store.Consistency(q.Get("consistency")); {
	case q.Has("consistency"):
		switch c {
		case store.Any, store.InSession, store.Bounded, store.Quorum, store.FromMaster:
			return c, nil
		}
		return "", problem.Parameter("consistency", "consistency is any, session, bounded, quorum or master, not %q.", string(c))
	case q.Has("max_staleness"):
		return store.Bounded, nil
	case q.Has("r"):
		return store.Quorum, nil
	}
	return store.Any, nil
}

// longestStaleness bounds max_staleness.
const longestStaleness = 365 * 24 * time.Hour

func maxStaleness(q url.Values) (time.Duration, error) {
	d, err := time.ParseDuration(q.Get("max_staleness"))
	if err != nil || d < time.Millisecond || d > longestStaleness {
		return 0, problem.Parameter("max_staleness", "max_staleness is a duration like 500ms or 5s, from 1ms to %dh, and bounded needs one; not %q.",
			int(longestStaleness.Hours()), q.Get("max_staleness"))
	}
	return d, nil
}

// quorumSize parses the parameter r. The store checks the number of partitions.
func quorumSize(q url.Values) (int, error) {
	switch r := q.Get("r"); {
	case r == "all":
		return store.AllCopies, nil
	case r == "quorum", !q.Has("r"):
		return store.MajorityOfCopies, nil
	default:
		n, err := strconv.Atoi(r)
		if err != nil || n < 1 {
			return 0, problem.Parameter("r", "r is a number of partitions from 1, quorum or all, not %q.", r)
		}
		return n, nil
	}
}

// Browsers cannot send Runnel-Session by themselves. Pages of keys therefore also set the session as a cookie, which
// counts for clients that accept HTML and send no session header. Other clients never see the cookie.

// maxCookieBytes is the size up to which browsers keep a cookie, including its name and attributes.
const maxCookieBytes = 4096

// cookieSession returns the session of the cookie. An invalid cookie, or a cookie of another cluster on the same host,
// counts as absent, because readers of pages could not repair it.
func (s *Shared) cookieSession(h http.Header) store.Vector {
	if !negotiate.AcceptsHTML(h["Accept"]) {
		return store.Vector{}
	}
	mine := s.Store.Tag()
	for _, c := range (&http.Request{Header: h}).CookiesNamed(SessionHeader) {
		if v, of, err := store.ParseToken(store.SessionToken, c.Value); err == nil && (of == mine || mine == 0) && !s.Store.Lost(v) {
			return v
		}
	}
	return store.Vector{}
}

// setCookie sets the session of a page as a cookie, if the page has a session.
func setCookie(h, asked http.Header) {
	token := h[SessionHeader]
	if len(token) != 1 || !negotiate.AcceptsHTML(asked["Accept"]) {
		return
	}
	c := http.Cookie{Name: SessionHeader, Value: token[0], Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if text := c.String(); len(text) <= maxCookieBytes {
		h["Set-Cookie"] = append(h["Set-Cookie"], text)
	}
}

// dropCookie removes the session cookie from a read without another session, and reports whether it did. A forged
// cookie, or a cookie of a lost state of the store, must not block all pages for the browser.
func dropCookie(w *Response, r *Request) bool {
	if w.Status != 0 || r.Header[SessionHeader] != nil || r.Header["Cookie"] == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	delete(r.Header, "Cookie")
	return true
}
