package api

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// sessionHeader carries a session token from each answer to the next request; see store.Vector.
const sessionHeader = "Runnel-Session"

// readSession returns the session of the header, or of the cookie of a browser. Without either the session is zero.
func (s *Server) readSession(h http.Header) (store.Vector, error) {
	values := h[sessionHeader]
	if len(values) == 0 {
		if h["Cookie"] != nil {
			return s.cookieSession(h), nil
		}
		return store.Vector{}, nil
	}
	v, of, err := store.ParseToken(store.SessionToken, values[0])
	switch mine := s.store.Tag(); {
	case err != nil || len(values) > 1:
		return store.Vector{}, problem.Header(sessionHeader, "%s takes the token that an answer gave, once and unchanged.", sessionHeader)
	case of != mine && mine != 0 && of != 0:
		return store.Vector{}, problem.New(problem.SessionLost, "This %s is of another cluster. Drop it: send none, to begin a new session.", sessionHeader)
	case s.store.Lost(v):
		return store.Vector{}, problem.New(problem.SessionLost, "This %s has seen writes that a restore from a backup has undone. Drop it: send none, to begin a new session.", sessionHeader)
	case of == 0: // from a server that did not know its cluster yet
		return store.Vector{}, nil
	}
	return v, nil
}

// setSession sets the token of the session, with seen added.
func (s *Server) setSession(w *response, session store.Vector, seen store.Mark) {
	w.setField(sessionHeader, session.TokenWith(store.SessionToken, s.store.Tag(), seen))
}

// sessionToken returns the token of a session.
func (s *Server) sessionToken(v store.Vector) string {
	return v.Token(store.SessionToken, s.store.Tag())
}

// sessionTracker collects the positions that a batch reads and writes.
type sessionTracker struct {
	tag     func() store.ClusterTag // of the store
	session store.Vector            // of the request
	marks   []store.Mark            // a mark for each origin
}

func (s *sessionTracker) record(m store.Mark) {
	for i := range s.marks {
		if s.marks[i].Origin == m.Origin {
			s.marks[i].Revision = max(s.marks[i].Revision, m.Revision)
			return
		}
	}
	if m.Revision > 0 {
		s.marks = append(s.marks, m)
	}
}

func (s *sessionTracker) vector() store.Vector { return s.session.Merge(store.VectorOf(s.marks...)) }

// token returns the session token. It is "" while the cluster is unknown: nothing has been read then, and the token
// would name no cluster.
func (s *sessionTracker) token() string {
	tag := s.tag()
	if tag == 0 {
		return ""
	}
	return s.vector().Token(store.SessionToken, tag)
}

// inSession reports whether the request has a session: then no result may be older than the results before.
func inSession(h http.Header, o *store.ReadOptions) bool {
	return h[sessionHeader] != nil || o.Consistency == store.InSession
}

// sessionTrailer announces the trailer with the session at the end of the body. The header has the session at the
// beginning.
var sessionTrailer = []string{sessionHeader}

// announceSession announces the session trailer, and reports whether the client's HTTP version supports trailers.
func announceSession(h http.Header, r *request) bool {
	if !r.ProtoAtLeast(1, 1) {
		return false
	}
	h["Trailer"] = sessionTrailer
	return true
}

// readParams are the parameters of a read. Lists have only the first two.
var readParams = []string{"consistency", "max_staleness", "r"}

// readOptions parses the consistency of a read. max_staleness and r imply their consistency.
func (s *Server) readOptions(h http.Header, q url.Values) (o store.ReadOptions, err error) {
	if o.Session, err = s.readSession(h); err != nil || len(q) == 0 {
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
