package etag

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// Of returns the entity tag of a revision: the quoted revision with the suffix of the format. All entity tags are
// strong.
func Of(rev store.Revision, f negotiate.Format) string {
	var b [32]byte
	return string(Append(b[:0], rev, f))
}

// Append appends the entity tag of a revision.
func Append(b []byte, rev store.Revision, f negotiate.Format) []byte {
	b = append(b, '"')
	b = strconv.AppendInt(b, int64(rev), 10)
	b = append(b, suffixes[f]...)
	return append(b, '"')
}

var suffixes = [...]string{negotiate.FormatRaw: "", negotiate.FormatJSON: ".json", negotiate.FormatXML: ".xml", negotiate.FormatHTML: ".html", negotiate.FormatText: ".txt", negotiate.FormatNDJSON: ".ndjson"}

// Tags is a parsed If-Match or If-None-Match header.
type Tags struct {
	Given bool
	Any   bool // "*"
	List  []tag
}

type tag struct {
	weak   bool
	opaque string // without quotes
}

// Parse parses a header of entity tags (RFC 9110, section 8.8.3).
func Parse(h http.Header, name string) (Tags, error) {
	lines := h[name]
	if len(lines) == 0 {
		return Tags{}, nil
	}
	value := strings.TrimSpace(strings.Join(lines, ","))
	if value == "*" {
		return Tags{Given: true, Any: true}, nil
	}
	t := Tags{Given: true}
	rest := strings.TrimLeft(value, " \t,")
	for {
		one, after, ok := cutTag(rest)
		if !ok {
			return Tags{}, problem.Header(name, "%s takes * or a list of entity tags in double quotes, as ETag gives them.", name)
		}
		t.List = append(t.List, one)
		if rest = strings.TrimLeft(after, " \t"); rest != "" && rest[0] != ',' {
			return Tags{}, problem.Header(name, "%s has something other than a comma between two entity tags.", name)
		}
		if rest = strings.TrimLeft(rest, " \t,"); rest == "" { // empty elements are allowed
			return t, nil
		}
	}
}

// cutTag cuts an entity tag from the start of s.
func cutTag(s string) (t tag, rest string, ok bool) {
	s, t.weak = strings.CutPrefix(s, "W/")
	if s == "" || s[0] != '"' {
		return tag{}, "", false
	}
	t.opaque, rest, ok = strings.Cut(s[1:], `"`)
	return t, rest, ok && t.valid()
}

// valid reports whether all characters are allowed in an entity tag.
func (t tag) valid() bool {
	for i := range len(t.opaque) {
		if c := t.opaque[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// revision returns the revision of an entity tag of any format; 0 if the tag is not ours.
func (t tag) revision() store.Revision {
	digits, _, _ := strings.Cut(t.opaque, ".")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != digits || !slices.Contains(suffixes[:], t.opaque[len(digits):]) {
		return 0
	}
	return store.Revision(n)
}

// MatchRevision reports whether a tag has the revision. Weak tags match only if weak is true.
func (t *Tags) MatchRevision(rev store.Revision, weak bool) bool {
	for _, one := range t.List {
		if (weak || !one.weak) && one.revision() == rev {
			return true
		}
	}
	return false
}

// MatchETag reports whether a tag equals etag. Weak tags match only if weak is true.
func (t *Tags) MatchETag(etag string, weak bool) bool {
	for _, one := range t.List {
		if (weak || !one.weak) && len(etag) == len(one.opaque)+2 && etag[1:len(etag)-1] == one.opaque {
			return true
		}
	}
	return false
}
