package write

import (
	"net/http"
	"strings"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
)

// The media type of values without a media type, and the largest size of a media type in bytes.
const (
	DefaultContentType  = "application/octet-stream"
	MaxContentTypeBytes = 255
)

// ContentTypeOf returns the content type to store with a value.
func ContentTypeOf(h http.Header) (string, error) {
	if h["Content-Range"] != nil {
		return "", problem.Header("Content-Range", "A part of a value cannot be written (RFC 9110, section 14.5).")
	}
	if coding := strings.Join(h["Content-Encoding"], ", "); coding != "" && !strings.EqualFold(coding, "identity") {
		return "", problem.New(problem.Encoding, "The body's Content-Encoding %s is not kept.", problem.Printable(coding))
	}
	given := h["Content-Type"]
	if len(given) > 1 {
		return "", problem.Header("Content-Type", "Content-Type is given %d times, and a value has one.", len(given))
	}
	if len(given) == 0 || given[0] == "" {
		return DefaultContentType, nil
	}
	if !IsMediaType(given[0]) {
		return "", problem.Header("Content-Type", "Content-Type is a media type like text/plain, of at most %d ASCII characters.", MaxContentTypeBytes)
	}
	return given[0], nil
}

// IsMediaType reports whether s is printable ASCII that begins with type/subtype. Parameters are not checked.
func IsMediaType(s string) bool {
	if len(s) > MaxContentTypeBytes {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	mediaType, _, _ := strings.Cut(s, ";")
	typ, subtype, ok := strings.Cut(strings.TrimSpace(mediaType), "/")
	return ok && wire.IsToken(typ) && wire.IsToken(subtype)
}
