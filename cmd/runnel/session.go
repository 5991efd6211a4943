package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/store"
)

// maxSessionBytes bounds a session file. No server accepts a longer token.
const maxSessionBytes = 16 << 10

// saveInterval is the least time between two writes of a session or token file.
const saveInterval = time.Second

// sessionFile keeps the token of a session between commands.
type sessionFile struct {
	path string
	warn func(text string)

	mu    sync.Mutex // guards the fields below
	token string     // empty for a new session
	kept  string     // the token in the file
	saved time.Time
}

// sessionFlag defines --session.
func sessionFlag(f *pflag.FlagSet, path *string) {
	f.StringVar(path, "session", "", "see nothing older than commands with this `FILE` have read or written")
}

// openSession reads the session file, which need not exist. An empty path returns nil.
func (p *program) openSession(path string) (*sessionFile, error) {
	if path == "" {
		return nil, nil
	}
	token, err := readToken(path)
	if err != nil {
		return nil, fmt.Errorf("read the session: %w", err)
	}
	warn := func(text string) { fmt.Fprintln(p.Err, "warning:", text) }
	return &sessionFile{path: path, warn: warn, token: token, kept: token}, nil
}

func readToken(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err == nil && (!info.Mode().IsRegular() || info.Size() > maxSessionBytes):
		return "", fmt.Errorf("%s holds no session", path)
	case err != nil:
		return "", err
	}
	text, err := os.ReadFile(path)
	if token := strings.TrimSpace(string(text)); err == nil && !strings.ContainsAny(token, " \t\r\n") {
		return token, nil
	}
	return "", errors.Join(err, fmt.Errorf("%s holds no session", path))
}

// Token implements client.Session.
func (s *sessionFile) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// Update implements client.Session. The file is written at most once in saveInterval.
func (s *sessionFile) Update(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = mergeTokens(token, s.token)
	if time.Since(s.saved) < saveInterval {
		return nil
	}
	return s.writeToken()
}

// Reset implements client.Session and removes the file.
func (s *sessionFile) Reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == "" {
		return nil // a concurrent request was refused too
	}
	s.token, s.kept = "", ""
	s.warn(s.path + " held a session that the server does not know: a new session begins")
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop the session: %w", err)
	}
	return nil
}

// save writes the latest token at the end of a command. No request is in flight any more.
func (s *sessionFile) save() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writeToken()
}

// writeToken writes the token, merged with a token that a concurrent command may have written. The caller holds mu.
func (s *sessionFile) writeToken() error {
	if s.token == s.kept {
		return nil
	}
	kept, err := readToken(s.path)
	if err != nil {
		return fmt.Errorf("keep the session: %w", err)
	}
	s.token = mergeTokens(s.token, kept)
	if s.token != kept {
		if err := console.ReplaceFile(s.path, strings.NewReader(s.token+"\n")); err != nil {
			return fmt.Errorf("keep the session: %w", err)
		}
	}
	s.kept, s.saved = s.token, time.Now()
	return nil
}

// mergeTokens returns a token that covers both. If this version cannot read a token, or the clusters differ, mergeTokens
// returns the newer token unchanged.
func mergeTokens(newer, older string) string {
	a, of, errA := store.ParseToken(store.SessionToken, newer)
	b, was, errB := store.ParseToken(store.SessionToken, older)
	if errA != nil || errB != nil || of != was {
		return newer
	}
	return a.Merge(b).Token(store.SessionToken, of)
}
