package negotiate

import (
	"strconv"
	"strings"

	"github.com/runnelkv/runnel/api/internal/problem"
)

// Format is a way to encode an answer.
type Format uint8

const (
	FormatRaw Format = iota // the stored bytes of a value
	FormatJSON
	FormatXML
	FormatHTML
	FormatText
	FormatNDJSON
	FormatEvents
)

// Variant is a format under a media type that a client can ask for.
type Variant struct {
	Format      Format
	typ         string // media type in lower case
	subtype     string
	ContentType string // value of the header Content-Type
}

var (
	JSON        = Variant{FormatJSON, "application", "json", "application/json"}
	XML         = Variant{FormatXML, "application", "xml", "application/xml"}
	TextXML     = Variant{FormatXML, "text", "xml", "text/xml; charset=utf-8"}
	HTML        = Variant{FormatHTML, "text", "html", "text/html; charset=utf-8"}
	Text        = Variant{FormatText, "text", "plain", "text/plain; charset=utf-8"}
	NDJSON      = Variant{FormatNDJSON, "application", "x-ndjson", "application/x-ndjson"}
	Events      = Variant{FormatEvents, "text", "event-stream", "text/event-stream"}
	ProblemJSON = Variant{FormatJSON, "application", "problem+json", "application/problem+json"}
	ProblemXML  = Variant{FormatXML, "application", "problem+xml", "application/problem+xml"}
)

// The variants of each kind of answer, the default first.
var (
	Documents       = []Variant{JSON, XML, HTML, Text, TextXML}
	Lists           = []Variant{JSON, XML, HTML, Text, TextXML, NDJSON}
	Changes         = []Variant{JSON, XML, HTML, Text, TextXML, NDJSON, Events}
	Classic         = []Variant{HTML, XML, JSON, Text, TextXML}
	Problems        = []Variant{ProblemJSON, jsonProblem("json"), ProblemXML, HTML, Text, xmlProblem("application"), xmlProblem("text")}
	ClassicProblems = []Variant{HTML, ProblemXML, ProblemJSON, Text, xmlProblem("application"), xmlProblem("text"), jsonProblem("json")}
)

// jsonProblem and xmlProblem are for clients that ask for plain JSON or XML: a problem document is both.
func jsonProblem(subtype string) Variant {
	return Variant{FormatJSON, "application", subtype, ProblemJSON.ContentType}
}

func xmlProblem(typ string) Variant { return Variant{FormatXML, typ, "xml", ProblemXML.ContentType} }

// Choose returns the variant that the Accept header prefers. Among equal weights the most specifically named variant
// wins, then the first in the list; a raw variant wins over all of equal weight. The error is problem.NotAcceptable and
// lists the variants. Choose does not allocate on success.
func Choose(accept []string, variants []Variant) (Variant, error) {
	if AcceptsAnything(accept) {
		return variants[0], nil
	}
	best, bestQ, bestRank := -1, 0, 0
	for i := range variants {
		q, rank := quality(accept, &variants[i])
		if variants[i].Format == FormatRaw && q > 0 {
			rank = rankRaw
		}
		if q > bestQ || q > 0 && q == bestQ && rank > bestRank {
			best, bestQ, bestRank = i, q, rank
		}
	}
	if best < 0 {
		return Variant{}, notAcceptable(variants)
	}
	return variants[best], nil
}

// AcceptsAnything reports, without parsing, that the client states no preference.
func AcceptsAnything(accept []string) bool {
	return len(accept) == 0 || len(accept) == 1 && (accept[0] == "*/*" || accept[0] == "")
}

// Ranks: how specifically a media range names a type (RFC 9110, section 12.5.1).
const (
	rankAny = iota + 1
	rankType
	rankExact
	rankRaw
)

// quality returns the weight, in thousandths, that the most specific matching media range gives the variant.
func quality(accept []string, o *Variant) (q, rank int) {
	for _, line := range accept {
		for line != "" {
			var element string
			element, line = cutOutsideQuotes(line, ',')
			rangeQ, rangeRank := weigh(element, o)
			if rangeRank > rank {
				q, rank = rangeQ, rangeRank
			}
		}
	}
	return q, rank
}

// cutOutsideQuotes cuts s at the first separator outside a quoted string. Without a separator, rest is empty.
func cutOutsideQuotes(s string, separator byte) (before, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == separator && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// weigh returns the weight and rank of a media range for the variant; rank 0 if the range does not match or is
// malformed. Parameters other than q are ignored, because no two variants differ by a parameter.
func weigh(element string, o *Variant) (q, rank int) {
	mediaRange, params, _ := strings.Cut(element, ";")
	typ, subtype, ok := strings.Cut(strings.TrimSpace(mediaRange), "/")
	switch {
	case !ok:
		return 0, 0
	case typ == "*" && subtype == "*":
		rank = rankAny
	case !strings.EqualFold(typ, o.typ):
		return 0, 0
	case subtype == "*":
		rank = rankType
	case strings.EqualFold(subtype, o.subtype):
		rank = rankExact
	default:
		return 0, 0
	}
	q, ok = weight(params)
	if !ok {
		return 0, 0
	}
	return q, rank
}

// weight returns the q parameter in thousandths; 1000 without q.
func weight(params string) (int, bool) {
	for params != "" {
		var param string
		param, params = cutOutsideQuotes(params, ';')
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		q, err := strconv.ParseFloat(value, 64)
		if err != nil || !(q >= 0 && q <= 1) || len(value) > len("0.000") {
			return 0, false
		}
		return int(q*1000 + 0.5), true
	}
	return 1000, true
}

// Raw returns the variant of a stored value under its content type.
func Raw(contentType string) Variant {
	mediaType, _, _ := strings.Cut(contentType, ";")
	typ, subtype, _ := strings.Cut(strings.TrimSpace(mediaType), "/")
	return Variant{FormatRaw, typ, subtype, contentType}
}

// notAcceptable returns the error that lists the variants.
func notAcceptable(variants []Variant) error {
	e := problem.New(problem.NotAcceptable, "The header Accept allows none of the available forms.")
	for _, v := range variants {
		e.Members.Available = append(e.Members.Available, v.typ+"/"+v.subtype)
	}
	return e
}

// AcceptsHTML reports whether the client names HTML, as browsers do.
func AcceptsHTML(accept []string) bool {
	if AcceptsAnything(accept) {
		return false
	}
	q, rank := quality(accept, &HTML)
	return q > 0 && rank == rankExact
}
