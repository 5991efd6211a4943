package load

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Plan is a measurement: requests of one kind, sent again and again on a fixed number of connections. Each connection
// sends the next request when the last response has arrived. "runnel bench --plan" reads a Plan as JSON.
//
// Path, Header and Body may hold {key}, {key64} (the key in base64), {value} and {value64}. A header with {etag} makes
// the writes conditional: each connection then has keys of its own, and presents the ETag of the last response for the
// key. {items} in the body stands for Items repetitions of Item, each with its own key and value; the response must then
// hold Count as many times.
type Plan struct {
	Address     string   `json:"address"` // host:port
	HTTPS       bool     `json:"https"`   // HTTP/1.1 over TLS
	Method      string   `json:"method"`
	Path        string   `json:"path"`
	Header      []string `json:"header,omitempty"` // "Name: value"
	Body        string   `json:"body,omitempty"`
	Expect      []int    `json:"expect"`     // expected statuses; any other status is an error
	BodyBytes   int64    `json:"body_bytes"` // of an expected response; negative for any length
	Connections int      `json:"connections"`
	Prefix      string   `json:"prefix"`      // of the keys; eight digits follow
	Keys        int      `json:"keys"`        // number of keys
	Order       string   `json:"order"`       // "random", or "once" for each key once
	ValueBytes  int      `json:"value_bytes"` // of {value}; no two requests send the same value
	Seed        uint64   `json:"seed"`
	WarmupMS    int      `json:"warmup_ms"`
	DurationMS  int      `json:"duration_ms"` // at most
	Requests    int64    `json:"requests"`    // at most; 0 for as many as the time allows
	Items       int      `json:"items"`       // number in each request
	Item        string   `json:"item"`        // including the separator
	Count       string   `json:"count"`       // text that the response holds for each item

	TLS *tls.Config `json:"-"` // of connections with HTTPS; nil for the authorities of the system
}

// Bounds of a plan. They keep a typing error from overloading a machine.
const (
	maxConnections = 1024
	maxKeys        = 99_999_999
	maxValueBytes  = 64 << 20
	maxDuration    = time.Hour
	maxItems       = 10_000
	// stampBytes is the length of the stamp at the beginning of each value. Stamps differ, because a server may skip a
	// write that changes nothing. The length is a multiple of three, so that the base64 of a value is the base64 of the
	// stamp followed by the base64 of the rest.
	stampBytes = 18
)

// Check returns an error for a plan that cannot be run.
func (p *Plan) Check() error {
	duration := time.Duration(p.DurationMS+p.WarmupMS) * time.Millisecond
	switch {
	case p.Address == "" || p.Method == "" || !strings.HasPrefix(p.Path, "/") || len(p.Expect) == 0:
		return errors.New("a plan needs an address, a method, a path and the statuses to expect")
	case p.Connections < 1 || p.Connections > maxConnections:
		return fmt.Errorf("%d connections are not between 1 and %d", p.Connections, maxConnections)
	case p.Keys < 1 || p.Keys > maxKeys:
		return fmt.Errorf("%d keys are not between 1 and %d", p.Keys, maxKeys)
	case p.ValueBytes != 0 && p.ValueBytes < stampBytes || p.ValueBytes > maxValueBytes:
		return fmt.Errorf("a value of %d bytes is not between %d and %d", p.ValueBytes, stampBytes, maxValueBytes)
	case p.DurationMS < 1 || p.WarmupMS < 0 || duration > maxDuration:
		return fmt.Errorf("a run of %v is not between a millisecond and %v", duration, maxDuration)
	case p.Order != "random" && p.Order != "once":
		return fmt.Errorf("the order %q is neither random nor once", p.Order)
	case p.conditional() && (p.Keys < p.Connections || p.Order == "once"):
		return errors.New("with {etag} each connection needs a key of its own, in random order")
	case p.Items < 0 || p.Items > maxItems || (p.Items > 0) != strings.Contains(p.Body, itemsHole):
		return fmt.Errorf("%d items are not between 0 and %d, or the body has no {items}", p.Items, maxItems)
	case p.Items > 0 && (p.Item == "" || p.Count == "" || p.Order == "once" || p.conditional()):
		return errors.New("items need item and count, and random order without {etag}")
	case strings.ContainsAny(p.Method+p.Path+p.Prefix+strings.Join(p.Header, ""), "\r\n"):
		return errors.New("a line break is not allowed in the head of a request")
	}
	return nil
}

// conditional reports whether requests present an ETag.
func (p *Plan) conditional() bool {
	return slices.ContainsFunc(p.Header, func(h string) bool { return strings.Contains(h, "{etag}") })
}

// keyBytes returns the length of every key.
func (p *Plan) keyBytes() int { return len(p.Prefix) + keyDigits }

// itemsHole is the placeholder of the items.
const itemsHole = "{items}"

// requestTemplate is the request of a plan, cut into constant parts and placeholders. Building a request only copies.
type requestTemplate struct {
	parts  []templatePart
	prefix string
	value  []byte           // the part behind the stamp
	value6 []byte           // the same part in base64
	item   *requestTemplate // of {items}; nil without items
}

type templatePart struct {
	text []byte
	hole string // placeholder behind the text; "" for none
}

// blanks are the contents of the placeholders of a request.
type blanks struct {
	key   int
	stamp uint64 // of the value
	etag  []byte
	items []int // keys of {items}; the stamps of the items follow that of the request
}

// template returns the template of p; if bare, without the conditional headers.
func (p *Plan) template(bare bool) *requestTemplate {
	t := &requestTemplate{prefix: p.Prefix}
	if p.ValueBytes > 0 {
		t.value = noise(p.Seed, p.ValueBytes-stampBytes)
		t.value6 = base64.StdEncoding.AppendEncode(nil, t.value)
	}
	if p.Items > 0 {
		t.item = &requestTemplate{prefix: t.prefix, value: t.value, value6: t.value6}
		t.item.split(p.Item)
	}
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\n", p.Method, p.Path, p.Address)
	for _, h := range p.Header {
		if !bare || !strings.Contains(h, "{etag}") {
			head.WriteString(h + "\r\n")
		}
	}
	if p.Body != "" {
		fmt.Fprintf(&head, "Content-Length: %d\r\n", p.contentLength())
	}
	t.split(head.String() + "\r\n" + p.Body)
	return t
}

// contentLength returns the length of the body with all placeholders filled.
func (p *Plan) contentLength() int {
	filled := strings.NewReplacer(
		"{key}", strings.Repeat("k", p.keyBytes()),
		"{key64}", strings.Repeat("k", base64.StdEncoding.EncodedLen(p.keyBytes())),
		"{value}", strings.Repeat("v", p.ValueBytes),
		"{value64}", strings.Repeat("v", base64.StdEncoding.EncodedLen(p.ValueBytes)),
	)
	items := p.Items * len(filled.Replace(p.Item))
	return items + len(filled.Replace(strings.ReplaceAll(p.Body, itemsHole, "")))
}

// split splits text at its placeholders.
func (t *requestTemplate) split(text string) {
	for text != "" {
		at, hole := len(text), ""
		for _, h := range []string{"{key}", "{key64}", "{value}", "{value64}", "{etag}", itemsHole} {
			if i := strings.Index(text, h); i >= 0 && i < at {
				at, hole = i, h
			}
		}
		t.parts = append(t.parts, templatePart{[]byte(text[:at]), hole})
		text = text[at+len(hole):]
	}
}

// append appends a request to b.
func (t *requestTemplate) append(b []byte, with blanks) []byte {
	for _, p := range t.parts {
		b = append(b, p.text...)
		switch p.hole {
		case "{key}":
			b = t.appendKey(b, with.key)
		case "{key64}":
			var key [64]byte
			b = base64.StdEncoding.AppendEncode(b, t.appendKey(key[:0], with.key))
		case "{value}":
			b = append(appendStamp(b, with.stamp), t.value...)
		case "{value64}":
			var stamp [stampBytes]byte
			b = base64.StdEncoding.AppendEncode(b, appendStamp(stamp[:0], with.stamp))
			b = append(b, t.value6...)
		case "{etag}":
			b = append(b, with.etag...)
		case itemsHole:
			for i, key := range with.items {
				b = t.item.append(b, blanks{key: key, stamp: with.stamp + uint64(i)})
			}
		}
	}
	return b
}

const keyDigits = 8

func (t *requestTemplate) appendKey(b []byte, n int) []byte {
	b = append(b, t.prefix...)
	return appendNumber(b, uint64(n), keyDigits)
}

func appendStamp(b []byte, n uint64) []byte { return appendNumber(b, n, stampBytes) }

// appendNumber appends the last digits of n, padded with zeros.
func appendNumber(b []byte, n uint64, digits int) []byte {
	var text [20]byte
	s := strconv.AppendUint(text[:0], n, 10)
	s = s[max(0, len(s)-digits):]
	const zeros = "00000000000000000000"
	return append(append(b, zeros[:digits-len(s)]...), s...)
}

// noise returns n printable characters that do not compress well. Every server accepts them as text.
func noise(seed uint64, n int) []byte {
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	random := rand.New(rand.NewPCG(seed, 1))
	return bytes.Map(func(rune) rune { return rune(alphabet[random.IntN(len(alphabet))]) }, make([]byte, n))
}
