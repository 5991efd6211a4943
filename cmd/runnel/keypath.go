package main

import (
	"path"
	"strings"
)

// keyPath returns the request path of key: /v1/keys/ and the key, percent-encoded so that decoding it once gives back
// exactly its bytes. A key that a proxy on the way might "clean" (//, . and .. segments, a slash at an end) has its
// slashes and dots encoded as well; any other keeps its slashes, for people to read in logs.
func keyPath(key string) string {
	safe := "-_~./"
	if path.Clean("/"+key) != "/"+key {
		safe = "-_~"
	}
	return "/v1/keys/" + percentEncode(key, safe)
}

// percentEncode encodes every byte of s but ASCII letters, digits and those in safe (RFC 3986, section 2.1).
func percentEncode(s, safe string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(safe, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return b.String()
}
