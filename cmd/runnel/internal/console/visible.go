package console

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// VisibleWriter writes text to W in the form of Visible. Each Write must hold whole characters.
type VisibleWriter struct{ W io.Writer }

func (v VisibleWriter) Write(p []byte) (int, error) {
	if bytes.ContainsFunc(p, IsHidden) {
		if _, err := io.WriteString(v.W, Visible(string(p))); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	return v.W.Write(p)
}

// Visible returns s with each hidden character replaced by its JSON escape.
func Visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		if IsHidden(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// IsHidden reports whether a terminal would obey r instead of showing it: control characters, including C1, and those
// that change the direction of text. The replacement character counts as hidden: a terminal may read the bytes behind it
// in another encoding.
func IsHidden(r rune) bool {
	if r == '\n' || r == '\t' {
		return false
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == utf8.RuneError || r == 0x2028 || r == 0x2029
}
