package batch

import "github.com/runnelkv/runnel/store"

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
