package console

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Guard writes text with each hidden character replaced by its JSON escape. A character may arrive in several writes; the bytes of an incomplete character
// wait for the next write, or for Flush. A Guard is safe for concurrent use.
type Guard struct {
	w io.Writer

	mu         sync.Mutex
	incomplete []byte // the start of a character, at most 3 bytes
}

// NewGuard returns a Guard in front of w, or w itself if w is a Guard.
func NewGuard(w io.Writer) *Guard {
	if g, ok := w.(*Guard); ok {
		return g
	}
	return &Guard{w: w}
}

// Write implements io.Writer. After an error of the writer behind the Guard, nothing is known of the text of p.
func (g *Guard) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	text := p
	if len(g.incomplete) > 0 {
		text = append(g.incomplete, p...)
	}
	whole := len(text) - incompleteTail(text)
	g.incomplete = append([]byte(nil), text[whole:]...)
	if err := g.writeVisible(text[:whole]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes the bytes of an incomplete character, as characters that cannot be read.
func (g *Guard) Flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	text := g.incomplete
	g.incomplete = nil
	return g.writeVisible(text)
}

// Unwrap returns the writer behind the Guard.
func (g *Guard) Unwrap() io.Writer { return g.w }

func (g *Guard) writeVisible(text []byte) (err error) {
	switch {
	case len(text) == 0:
	case hasHidden(text):
		_, err = io.WriteString(g.w, replaceHidden(string(text), false))
	default:
		_, err = g.w.Write(text)
	}
	return err
}

// hasHidden reports whether text has a hidden character. Most text is printable ASCII, which takes no decoding.
func hasHidden(text []byte) bool {
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[i:])
		}
		if (r < ' ' || r >= 0x7f) && IsHidden(r) {
			return true
		}
		i += size
	}
	return false
}

// incompleteTail returns the length of the incomplete character at the end of text; 0 without one.
func incompleteTail(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if tail := text[len(text)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// Line returns s, which must stay in its line, with each hidden character, line break and tab replaced by its JSON escape.
func Line(s string) string { return replaceHidden(s, true) }

func replaceHidden(s string, breaks bool) string {
	hidden := func(r rune) bool { return IsHidden(r) || breaks && (r == '\n' || r == '\t') }
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if hidden(r) {
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
