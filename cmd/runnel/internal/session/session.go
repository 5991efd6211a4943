package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/store"
)

// maxSessionBytes bounds a session file. No server accepts a longer token.
const maxSessionBytes = 16 << 10

// saveInterval is the least time between two writes of a session file.
const saveInterval = time.Second

// File keeps the token of a session between commands. It is safe for concurrent use.
type File struct {
	path string
	warn func(text string)

	mu    sync.Mutex // guards the fields below
	token string     // empty for a new session
	kept  string     // the token in the file
	saved time.Time
}

// Open reads the session file, which need not exist. An empty path returns nil. warn gets a text
// when the session is lost.
func Open(path string, warn func(text string)) (*File, error) {
	if path == "" {
		return nil, nil
	}
	token, err := readToken(path)
	if err != nil {
		return nil, fmt.Errorf("read the session: %w", err)
	}
	return &File{path: path, warn: warn, token: token, kept: token}, nil
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
func (s *File) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// Update implements client.Session. The file is written at most once in saveInterval.
func (s *File) Update(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = mergeTokens(token, s.token)
	if time.Since(s.saved) < saveInterval {
		return nil
	}
	return s.writeToken()
}

// Reset implements client.Session and removes the file.
func (s *File) Reset() error {
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

// Save writes the latest token at the end of a command. No request is in flight any more. A nil File has none.
func (s *File) Save() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writeToken()
}

// writeToken writes the token, merged with a token that a concurrent command may have written. The caller holds mu.
func (s *File) writeToken() error {
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
