package wire

import "strings"

// MetaHeader is the prefix of the canonical names of metadata headers.
const MetaHeader = "Runnel-Meta-"

// CheckMetadata returns an *Error for a name or value that a header cannot carry.
func CheckMetadata(name, text string) error {
	if !IsToken(name) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return refuse("metadata", "Metadata have names of letters, digits and hyphens, and values without control characters.")
	}
	return nil
}

// IsToken reports whether s is a token (RFC 9110, section 5.6.2).
func IsToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}
