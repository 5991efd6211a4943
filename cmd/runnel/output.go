package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// output is standard output. A command whose output did not arrive has failed, whatever else it did.
type output struct {
	w   io.Writer
	err error // the first one
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil && o.err == nil {
		o.err = fmt.Errorf("write the output: %w", err)
	}
	return n, err
}

// shown is where text from a server is written for a person: on a terminal every character that could steer it, or
// reorder what stands there, is written as its code, in a form that JSON has as well.
func (p *program) shown() io.Writer {
	if p.isTerminal(p.stdout) {
		return visibleWriter{p.stdout}
	}
	return p.stdout
}

// visibleWriter makes characters visible. Each Write holds whole characters.
type visibleWriter struct{ w io.Writer }

func (v visibleWriter) Write(p []byte) (int, error) {
	if bytes.ContainsFunc(p, isHidden) {
		if _, err := io.WriteString(v.w, visible(string(p))); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	return v.w.Write(p)
}

// visible is s with the code of each hidden character in place of it.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		if isHidden(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isHidden reports whether a terminal would not show r but obey it: control characters, C1 among them, and those that
// change the direction of text. Text that is not UTF-8 may hold either.
func isHidden(r rune) bool {
	if r == '\n' || r == '\t' {
		return false
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == utf8.RuneError || r == 0x2028 || r == 0x2029
}
