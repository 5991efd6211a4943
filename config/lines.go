package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// lineIndex knows on which line each key of a TOML source stands. Keys are paths such as "http.listen" or
// "partition[1].url". The library keeps positions to itself, and only one for all tables of an array.
type lineIndex map[string]int

// of returns the line of key, else that of what should hold it, else 0.
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

// indexLines reads any source, whether it is TOML or not. beyond says which bound it exceeds, on the line given; empty
// for none.
func indexLines(source string) (index lineIndex, beyond string, line int) {
	s := &scanner{source: strings.TrimPrefix(source, byteOrderMark), line: 1, index: lineIndex{}, tables: map[string]int{}}
	s.document()
	return s.index, s.beyond, s.line
}

const byteOrderMark = "\uFEFF"

// scanner walks over a source and notes where each key stands.
type scanner struct {
	source string // what is still ahead
	line   int
	index  lineIndex
	tables map[string]int // how many [[tables]] of a path there are so far
	beyond string         // the bound that is exceeded: the scan has ended
}

func (s *scanner) document() {
	table := ""
	for s.skip(); s.source != ""; s.skip() {
		if s.next("[") {
			table = s.header()
		} else {
			s.assignment(table)
		}
	}
}

// header reads the rest of "[a.b]" or "[[a.b]]" and returns the path of the table it opens.
func (s *scanner) header() string {
	line, array := s.line, s.next("[")
	path := ""
	parts := s.key()
	for i, part := range parts {
		if s.beyond != "" {
			break
		}
		path = join(path, part)
		s.note(path, line)
		if array && i == len(parts)-1 {
			s.tables[path]++
		}
		if n := s.tables[path]; n > 0 {
			path = element(path, n-1)
			s.note(path, line)
		}
	}
	s.next("]")
	s.next("]")
	return path
}

func (s *scanner) assignment(table string) {
	line, path := s.line, table
	for _, part := range s.key() {
		if s.beyond != "" {
			break
		}
		path = join(path, part)
		s.note(path, line)
	}
	s.take(1) // the equals sign
	s.value(path)
}

func (s *scanner) value(path string) {
	s.skip()
	switch {
	case s.next("["):
		for i := 0; !s.closed("]"); i++ {
			s.note(element(path, i), s.line)
			s.value(element(path, i))
		}
	case s.next("{"):
		for !s.closed("}") {
			s.assignment(path)
		}
	case strings.HasPrefix(s.source, `"`), strings.HasPrefix(s.source, `'`):
		s.quoted()
	default:
		s.takeUntil(",]}#\n")
	}
}

// closed goes to the next item of an array or inline table, or over its end, and reports the latter.
func (s *scanner) closed(end string) bool {
	before := len(s.source)
	s.skip()
	s.next(",")
	s.skip()
	if s.source == "" || s.next(end) {
		return true
	}
	if len(s.source) == before && strings.ContainsRune("]}", rune(s.source[0])) {
		s.take(1) // not TOML: go on rather than for ever
	}
	return false
}

// key reads the parts of a key up to its "=" or "]".
func (s *scanner) key() (parts []string) {
	for s.source != "" {
		s.skip()
		if strings.HasPrefix(s.source, `"`) || strings.HasPrefix(s.source, `'`) {
			parts = append(parts, unquote(s.quoted()))
		} else {
			parts = append(parts, s.takeUntil(".=] \t\r\n"))
		}
		s.skip()
		if !s.next(".") {
			break
		}
	}
	return parts
}

// quoted reads one string of any of the four kinds and returns it with its quotes.
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
		end++ // of more than three quotes in a row the last three are the end
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

// skip goes over blanks, line ends and comments.
func (s *scanner) skip() {
	for {
		s.take(len(s.source) - len(strings.TrimLeft(s.source, " \t\r\n")))
		if !strings.HasPrefix(s.source, "#") {
			return
		}
		s.takeUntil("\n")
	}
}

func (s *scanner) next(token string) bool {
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

// note keeps the first line of a path, and ends the scan where a bound is exceeded.
func (s *scanner) note(path string, line int) {
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

// join returns the path of a key inside a table.
func join(table, name string) string {
	name = toml.Key{name}.String()
	if table == "" {
		return name
	}
	return table + "." + name
}

// element returns the path of the i-th element of an array.
func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
