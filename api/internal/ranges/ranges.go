package ranges

import (
	"strconv"
	"strings"
)

// Span is a range of bytes, both ends inclusive.
type Span struct{ First, Last int64 }

// Length returns the number of bytes.
func (s Span) Length() int64 { return s.Last - s.First + 1 }

// ContentRange returns the header Content-Range of an answer with the span of a value of size bytes.
func (s Span) ContentRange(size int64) string {
	return "bytes " + s.String() + "/" + strconv.FormatInt(size, 10)
}

// String returns the span as first-last.
func (s Span) String() string {
	return strconv.FormatInt(s.First, 10) + "-" + strconv.FormatInt(s.Last, 10)
}

// Header returns a Range header that names the spans.
func Header(spans []Span) string {
	parts := make([]string, len(spans))
	for i, s := range spans {
		parts[i] = s.String()
	}
	return "bytes=" + strings.Join(parts, ",")
}

// maxRanges is the most ranges that a request may name; a header with more is ignored.
const maxRanges = 16

// Parse returns the ranges that lie within a value of size bytes. If ok is false the caller ignores the header: it has
// another unit, is malformed, names more than maxRanges ranges, or asks for more bytes than the value has.
func Parse(lines []string, size int64) (spans []Span, ok bool) {
	if len(lines) != 1 {
		return nil, false
	}
	unit, set, ok := strings.Cut(lines[0], "=")
	if !ok || !strings.EqualFold(unit, "bytes") || strings.Count(set, ",") >= maxRanges {
		return nil, false
	}
	named, total := false, int64(0)
	for one := range strings.SplitSeq(set, ",") {
		if one = strings.Trim(one, " \t"); one == "" {
			continue
		}
		s, within, ok := parseSpan(one, size)
		if !ok {
			return nil, false
		}
		named = true
		if within {
			spans = append(spans, s)
			total += s.Length()
		}
	}
	return spans, named && (len(spans) < 2 || total <= size)
}

// parseSpan parses first-last, first- or -length. within reports whether the range overlaps the value.
func parseSpan(s string, size int64) (_ Span, within, ok bool) {
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		return Span{}, false, false
	}
	if from == "" {
		n, ok := parseDigits(to)
		n = min(n, size)
		return Span{size - n, size - 1}, n > 0, ok
	}
	first, ok := parseDigits(from)
	if !ok {
		return Span{}, false, false
	}
	last := size - 1
	if to != "" {
		n, ok := parseDigits(to)
		if !ok || n < first {
			return Span{}, false, false
		}
		last = min(last, n)
	}
	return Span{first, last}, first < size, true
}

// parseDigits parses a string of digits. Numbers beyond int64 become the largest int64.
func parseDigits(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 1<<63 - 1, true
	}
	return n, true
}
