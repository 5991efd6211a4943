package api

import (
	"strconv"
	"strings"
)

// form is a way to write an answer.
type form uint8

const (
	formRaw form = iota // a value as it is stored
	formJSON
	formXML
	formHTML
	formText
	formNDJSON
	formEvents
)

// offer is a form under a media type that a client can ask for.
type offer struct {
	form        form
	typ         string // of the media type, lower case
	subtype     string
	contentType string // what Content-Type says
}

var (
	offerJSON        = offer{formJSON, "application", "json", "application/json"}
	offerXML         = offer{formXML, "application", "xml", "application/xml"}
	offerXML2        = offer{formXML, "text", "xml", "text/xml; charset=utf-8"}
	offerHTML        = offer{formHTML, "text", "html", "text/html; charset=utf-8"}
	offerText        = offer{formText, "text", "plain", "text/plain; charset=utf-8"}
	offerNDJSON      = offer{formNDJSON, "application", "x-ndjson", "application/x-ndjson"}
	offerEvents      = offer{formEvents, "text", "event-stream", "text/event-stream"}
	offerProblemJSON = offer{formJSON, "application", "problem+json", "application/problem+json"}
	offerProblemXML  = offer{formXML, "application", "problem+xml", "application/problem+xml"}
)

// What each sort of answer is offered as, the default first.
var (
	offers               = []offer{offerJSON, offerXML, offerHTML, offerText, offerXML2}
	listOffers           = []offer{offerJSON, offerXML, offerHTML, offerText, offerXML2, offerNDJSON}
	changeOffers         = []offer{offerJSON, offerXML, offerHTML, offerText, offerXML2, offerNDJSON, offerEvents}
	classicOffers        = []offer{offerHTML, offerXML, offerJSON, offerText, offerXML2}
	problemOffers        = []offer{offerProblemJSON, jsonProblem("json"), offerProblemXML, offerHTML, offerText, xmlProblem("application"), xmlProblem("text")}
	classicProblemOffers = []offer{offerHTML, offerProblemXML, offerProblemJSON, offerText, xmlProblem("application"), xmlProblem("text"), jsonProblem("json")}
)

// jsonProblem and xmlProblem answer who asks for plain JSON or XML with a
// problem, which is both.
func jsonProblem(subtype string) offer {
	return offer{formJSON, "application", subtype, offerProblemJSON.contentType}
}

func xmlProblem(typ string) offer { return offer{formXML, typ, "xml", offerProblemXML.contentType} }

// negotiate picks the offer that the Accept header values like best; of equals
// the one it names most specifically, then the one that stands first. A raw
// offer wins over its equals however it is named. False: it accepts none.
func negotiate(accept []string, offers []offer) (offer, bool) {
	if acceptsAnything(accept) {
		return offers[0], true
	}
	best, bestQ, bestRank := -1, 0, 0
	for i := range offers {
		q, rank := quality(accept, &offers[i])
		if offers[i].form == formRaw && q > 0 {
			rank = rankRaw
		}
		if q > bestQ || q > 0 && q == bestQ && rank > bestRank {
			best, bestQ, bestRank = i, q, rank
		}
	}
	if best < 0 {
		return offer{}, false
	}
	return offers[best], true
}

// acceptsAnything decides without parsing for those who do not choose.
func acceptsAnything(accept []string) bool {
	return len(accept) == 0 || len(accept) == 1 && (accept[0] == "*/*" || accept[0] == "")
}

// How specifically a media range names a type (RFC 9110, section 12.5.1).
const (
	rankAny = iota + 1
	rankType
	rankExact
	rankRaw
)

// quality is the weight, 0..1000, that the most specific matching range gives
// the offer.
func quality(accept []string, o *offer) (q, rank int) {
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

// cutOutsideQuotes cuts s at the first separator that is not in a quoted
// string; without one, rest is empty.
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

// weigh is the weight and rank of one media range for the offer; rank 0 when it
// does not match or is malformed. Parameters other than q do not narrow it:
// nothing here has variants that they could mean.
func weigh(element string, o *offer) (q, rank int) {
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

// weight is the q parameter in thousandths; 1000 without one.
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

// rawOffer offers a value under its stored content type.
func rawOffer(contentType string) offer {
	mediaType, _, _ := strings.Cut(contentType, ";")
	typ, subtype, _ := strings.Cut(strings.TrimSpace(mediaType), "/")
	return offer{formRaw, typ, subtype, contentType}
}

// contentTypes lists what is offered, for a 406.
func contentTypes(offers []offer) []string {
	types := make([]string, len(offers))
	for i, o := range offers {
		types[i] = o.typ + "/" + o.subtype
	}
	return types
}

func refuseForm(offers []offer) *refusal {
	e := refuse(kindNotAcceptable, "The header Accept allows none of the available forms.")
	e.members.Available = contentTypes(offers)
	return e
}
