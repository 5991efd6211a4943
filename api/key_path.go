package api

import (
	"net/http"
	"path"
	"strings"

	"github.com/runnelkv/runnel/store"
)

// The paths that something follows.
const (
	keysPath      = "/v1/keys/"
	bucketPath    = "/bucket/"
	canonicalPath = "/canonicalbucket/"
	problemsPath  = "/problems/"
)

// keyOf returns the key that a request's path names behind prefix. net/url has
// decoded the path exactly once, and nothing has cleaned it.
func (s *Server) keyOf(r *http.Request, prefix string) (store.Key, error) {
	name := strings.TrimPrefix(r.URL.Path, prefix)
	if err := s.store.CheckName(name); err != nil {
		return "", err
	}
	return store.User.Key(name), nil
}

// pathOf is the path of a name below prefix, percent-encoded so that decoding it
// once gives exactly the name back. A name that a client or proxy might clean
// (//, . and .. segments, a slash at an end) has its slashes and dots encoded.
func pathOf(prefix, name string) string {
	unreserved := "-_~./"
	if path.Clean("/"+name) != "/"+name {
		unreserved = "-_~"
	}
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, len(prefix)+len(name)+16)
	b = append(b, prefix...)
	for i := range len(name) {
		c := name[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(unreserved, c) >= 0 {
			b = append(b, c)
			continue
		}
		b = append(b, '%', digits[c>>4], digits[c&15])
	}
	return string(b)
}

// isClassic reports whether the request is for one of the classic paths.
func isClassic(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, bucketPath) || strings.HasPrefix(r.URL.Path, canonicalPath)
}
