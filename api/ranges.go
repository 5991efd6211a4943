package api

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/runnelkv/runnel/store"
)

// span is a range of a value's bytes, both ends inclusive.
type span struct{ first, last int64 }

func (s span) length() int64 { return s.last - s.first + 1 }

func (s span) contentRange(size int64) string {
	return "bytes " + s.String() + "/" + strconv.FormatInt(size, 10)
}

func (s span) String() string {
	return strconv.FormatInt(s.first, 10) + "-" + strconv.FormatInt(s.last, 10)
}

func rangeHeader(spans []span) string {
	parts := make([]string, len(spans))
	for i, s := range spans {
		parts[i] = s.String()
	}
	return "bytes=" + strings.Join(parts, ",")
}

// maxRanges is how many ranges one request may name.
const maxRanges = 16

// parseRange returns the ranges that lie in a value of size bytes. False: the
// header has another unit, is malformed, or asks for more than it is worth (many
// ranges, or more bytes than there are), so it is to be ignored.
func parseRange(lines []string, size int64) (spans []span, ok bool) {
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
			total += s.length()
		}
	}
	return spans, named && (len(spans) < 2 || total <= size)
}

// parseSpan parses first-last, first- or -length; within says that it names
// bytes that there are.
func parseSpan(s string, size int64) (_ span, within, ok bool) {
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		return span{}, false, false
	}
	if from == "" {
		n, ok := parseDigits(to)
		n = min(n, size)
		return span{size - n, size - 1}, n > 0, ok
	}
	first, ok := parseDigits(from)
	if !ok {
		return span{}, false, false
	}
	last := size - 1
	if to != "" {
		n, ok := parseDigits(to)
		if !ok || n < first {
			return span{}, false, false
		}
		last = min(last, n)
	}
	return span{first, last}, first < size, true
}

// parseDigits parses a number of nothing but digits; one too large for an int64
// is the largest.
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

// ifRange reports whether the Range header counts: there is no If-Range, or its
// entity tag is that of the entry. A date never counts: two writes can share a
// second, so a date is no strong validator (RFC 9110, sections 8.8.2.2 and 13.1.5).
func ifRange(h http.Header, e *store.Entry) bool {
	given := h["If-Range"]
	return len(given) == 0 || len(given) == 1 && given[0] == etagOf(e.Revision, formRaw)
}
