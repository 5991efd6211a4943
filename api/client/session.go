package client

import "sync"

// sessionHeader carries a session's token in requests, and in the header or the trailer of responses.
const sessionHeader = "Runnel-Session"

// Session is the causal history of a client: no response to a request of the session is older than what the session
// has read and written before. Its methods may be called concurrently. An error of a method fails the request.
type Session interface {
	// Token returns the token to send; empty before the first response.
	Token() string
	// Update receives the token of a response. The token covers the token of the same request, but not
	// the tokens of requests that ran at the same time.
	Update(token string) error
	// Reset forgets the token: the server refused it (ErrSessionLost), and the request is sent again without it.
	Reset() error
}

// MemorySession is a Session in memory. Of two requests that run at the same time the later response wins, so a
// session that must cover concurrent requests needs a Session that merges tokens.
type MemorySession struct {
	mu    sync.Mutex
	token string // guarded by mu
}

// NewSession returns a session that begins with a token; empty for a new session.
func NewSession(token string) *MemorySession { return &MemorySession{token: token} }

// Token returns the latest token. It is no secret and may be passed on to another program.
func (s *MemorySession) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// Update implements Session. It returns no error.
func (s *MemorySession) Update(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
	return nil
}

// Reset implements Session. It returns no error.
func (s *MemorySession) Reset() error { return s.Update("") }
