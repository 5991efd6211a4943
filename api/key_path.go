package api

import (
	"strings"

	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// The paths that something follows.
const (
	keysPath      = wire.KeysPath
	bucketPath    = "/bucket/"
	canonicalPath = "/canonicalbucket/"
	problemsPath  = wire.ProblemsPath
)

// keyOf returns the key that a request's path names behind prefix. net/url has
// decoded the path exactly once, and nothing has cleaned it.
func (s *Server) keyOf(r *request, prefix string) (store.Key, error) {
	name := strings.TrimPrefix(r.URL.Path, prefix)
	if err := s.store.CheckName(name); err != nil {
		return "", err
	}
	return store.User.Key(name), nil
}

// isClassic reports whether the request is for one of the classic paths.
func isClassic(path string) bool {
	return strings.HasPrefix(path, bucketPath) || strings.HasPrefix(path, canonicalPath)
}
