package config

import (
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"
)

// lineIndex holds the line of each key of a TOML source. Keys are paths such as "http.listen" or "partition[1].url".
// The library does not export positions, and records a single position for all tables of an array.
type lineIndex map[string]int

// of returns the line of key, else that of the closest table or array around the key, else 0.
func (ix lineIndex) of(key string) int {
	for {
		if line, found := ix[key]; found {
			return line
		}
		cut := strings.LastIndexAny(key, ".[")
		if cut < 0 {
			return 0
		}
		key = key[:cut]
	}
}

// Bounds of a source, since the TOML library and the line index take more time and memory with each level and key.
const (
	maxKeys      = 10_000 // with sections and elements of arrays
	maxPathBytes = 512    // of a key, which bounds the levels too
)

// indexLines indexes any source, valid TOML or not. beyond names the bound that the source exceeds, on the returned line;
// "" if none.
func indexLines(source string) (index lineIndex, beyond string, line int) {
	s := &scanner{source: strings.TrimPrefix(source, byteOrderMark), line: 1, index: lineIndex{}, tables: map[string]int{}}
	s.document()
	return s.index, s.beyond, s.line
}

const byteOrderMark = "\uFEFF"

// scanner records the line of each key of a source.
type scanner struct {
	source string // the rest
	line   int
	index  lineIndex
	tables map[string]int // number of [[tables]] so far, by path
	beyond string         // the exceeded bound; the scan has ended
}

func (s *scanner) document() {
	table := ""
	for s.skip(); s.source != ""; s.skip() {
		if s.accept("[") {
			table = s.header()
		} else {
			s.assignment(table)
		}
	}
}

// header reads the rest of "[a.b]" or "[[a.b]]" and returns the path of the opened table.
func (s *scanner) header() string {
	line, array := s.line, s.accept("[")
	path := ""
	parts := s.key()
	for i, part := range parts {
		if s.beyond != "" {
			break
		}
		path = join(path, part)
		s.addKey(path, line)
		if array && i == len(parts)-1 {
			s.tables[path]++
		}
		if n := s.tables[path]; n > 0 {
			path = element(path, n-1)
			s.addKey(path, line)
		}
	}
	s.accept("]")
	s.accept("]")
	return path
}

func (s *scanner) assignment(table string) {
	line, path := s.line, table
	for _, part := range s.key() {
		if s.beyond != "" {
			break
		}
		path = join(path, part)
		s.addKey(path, line)
	}
	s.take(1) // the equals sign
	s.value(path)
}

func (s *scanner) value(path string) {
	s.skip()
	switch {
	case s.accept("["):
		for i := 0; !s.closed("]"); i++ {
			s.addKey(element(path, i), s.line)
			s.value(element(path, i))
		}
	case s.accept("{"):
		for !s.closed("}") {
			s.assignment(path)
		}
	case strings.HasPrefix(s.source, `"`), strings.HasPrefix(s.source, `'`):
		s.quoted()
	default:
		s.takeUntil(",]}#\n")
	}
}

// closed skips to the next item of an array or inline table, or past its end, and reports whether the end was reached.
func (s *scanner) closed(end string) bool {
	before := len(s.source)
	s.skip()
	s.accept(",")
	s.skip()
	if s.source == "" || s.accept(end) {
		return true
	}
	if len(s.source) == before && strings.ContainsRune("]}", rune(s.source[0])) {
		s.take(1) // not TOML: guarantees progress
	}
	return false
}

// key reads the parts of a key up to the "=" or "]".
func (s *scanner) key() (parts []string) {
	for s.source != "" {
		s.skip()
		if strings.HasPrefix(s.source, `"`) || strings.HasPrefix(s.source, `'`) {
			parts = append(parts, unquote(s.quoted()))
		} else {
			parts = append(parts, s.takeUntil(".=] \t\r\n"))
		}
		s.skip()
		if !s.accept(".") {
			break
		}
	}
	return parts
}

// quoted reads a string of any of the four kinds and returns the string with its quotes.
func (s *scanner) quoted() string {
	quote, escapes := s.source[:1], s.source[0] == '"'
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s.source, triple) {
		quote = triple
	}
	end := len(quote)
	for end < len(s.source) && !strings.HasPrefix(s.source[end:], quote) {
		if escapes && s.source[end] == '\\' {
			end++
		}
		end++
	}
	end += len(quote)
	for len(quote) == 3 && end < len(s.source) && s.source[end] == quote[0] {
		end++ // the last three of a longer run of quotes are the end
	}
	return s.take(end)
}

func unquote(text string) string {
	var doc struct{ K string }
	if _, err := toml.Decode("K = "+text, &doc); err != nil {
		return text
	}
	return doc.K
}

// skip skips blanks, line ends and comments.
func (s *scanner) skip() {
	for {
		s.take(len(s.source) - len(strings.TrimLeft(s.source, " \t\r\n")))
		if !strings.HasPrefix(s.source, "#") {
			return
		}
		s.takeUntil("\n")
	}
}

func (s *scanner) accept(token string) bool {
	if !strings.HasPrefix(s.source, token) {
		return false
	}
	s.take(len(token))
	return true
}

func (s *scanner) takeUntil(stops string) string {
	end := strings.IndexAny(s.source, stops)
	if end < 0 {
		end = len(s.source)
	}
	return s.take(end)
}

func (s *scanner) take(n int) string {
	taken := s.source[:min(n, len(s.source))]
	s.source = s.source[len(taken):]
	s.line += strings.Count(taken, "\n")
	return taken
}

// addKey records the first line of a path, and ends the scan when a bound is exceeded.
func (s *scanner) addKey(path string, line int) {
	switch {
	case s.beyond != "":
	case len(path) > maxPathBytes:
		s.beyond = fmt.Sprintf("is nested too deep: the path of this key is longer than %d bytes", maxPathBytes)
	case len(s.index) == maxKeys:
		s.beyond = fmt.Sprintf("has more than %d keys, sections and elements of arrays", maxKeys)
	default:
		if _, found := s.index[path]; !found {
			s.index[path] = line
		}
		return
	}
	s.source = ""
}
