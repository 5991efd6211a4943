package wire

import (
	"path"
	"strings"
)

// KeysPath is what the paths of single keys begin with.
const KeysPath = "/v1/keys/"

// Path is the path of a name below prefix, percent-encoded (RFC 3986, section 2.1) so that decoding it once gives
// exactly the name back. A name that a client or proxy might clean (//, . and .. segments, a slash at an end) has its
// slashes and dots encoded as well; any other keeps its slashes, for people to read in logs.
func Path(prefix, name string) string {
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
