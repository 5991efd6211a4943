package wire

import (
	"path"
	"strings"
)

// KeysPath is the prefix of the paths of keys.
const KeysPath = "/v1/keys/"

// Path returns prefix followed by name, percent-encoded (RFC 3986, section 2.1) so that decoding once restores exactly
// the name. Slashes stay readable unless a client or proxy might clean the path (//, . and .. segments, a slash at an
// end); then slashes and dots are encoded too.
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
