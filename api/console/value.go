package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/runnelkv/runnel/api/wire"
)

// value is a stored value, or its beginning, with the fields of the answer that had it.
type value struct {
	Data        []byte
	Size        int64
	ContentType string
	ETag        string
	Revision    string
	Partition   string
	Staleness   string // in seconds; "": unknown
	ModifiedAt  time.Time
	ExpiresAt   time.Time // zero: never
	Meta        []pair
}

// pair is a field of the metadata.
type pair struct{ Name, Value string }

// readValue reads at most maxEdit bytes of the value at a path, and nothing more of a larger value.
func (v *visit) readValue(path string, q url.Values) (*value, error) {
	c := call{method: http.MethodGet, path: path, query: q, fields: map[string]string{"Accept": "*/*", "Range": fmt.Sprintf("bytes=0-%d", maxEdit-1)}}
	answer, err := v.do(c)
	if refusedAs(err, "range-not-satisfiable") { // the value is empty
		delete(c.fields, "Range")
		answer, err = v.do(c)
	}
	if err != nil {
		return nil, err
	}
	h := answer.header
	out := &value{Data: answer.body, Size: int64(len(answer.body)), ContentType: h.Get("Content-Type"), ETag: h.Get("Etag"), Revision: h.Get("Runnel-Revision"),
		Partition: h.Get("Runnel-Partition"), Staleness: h.Get("Runnel-Staleness")}
	if _, total, ok := strings.Cut(h.Get("Content-Range"), "/"); ok {
		out.Size, _ = strconv.ParseInt(total, 10, 64)
	}
	out.ModifiedAt, _ = http.ParseTime(h.Get("Last-Modified"))
	out.ExpiresAt, _ = time.Parse(time.RFC3339Nano, h.Get("Runnel-Expires-At"))
	for name, values := range h {
		if short, ok := strings.CutPrefix(name, wire.MetaHeader); ok {
			out.Meta = append(out.Meta, pair{strings.ToLower(short), strings.Join(values, ", ")})
		}
	}
	sortPairs(out.Meta)
	return out, nil
}

// Whole reports whether all of the value was read.
func (x *value) Whole() bool { return int64(len(x.Data)) == x.Size }

// mediaType is the content type without parameters.
func (x *value) mediaType() string {
	t, _, err := mime.ParseMediaType(x.ContentType)
	if err != nil {
		return ""
	}
	return t
}

// Form is the way to show the value: image, json, text, bytes or empty.
func (x *value) Form() string {
	t := x.mediaType()
	switch {
	case x.Size == 0:
		return "empty"
	case strings.HasPrefix(t, "image/"):
		return "image"
	case (t == "application/json" || strings.HasSuffix(t, "+json")) && x.Whole() && json.Valid(x.Data):
		return "json"
	case x.isText():
		return "text"
	}
	return "bytes"
}

// isText reports whether the value consists of characters that a page can show. The last character may be cut.
func (x *value) isText() bool {
	data := x.Data
	for cut := 0; !x.Whole() && cut < utf8.UTFMax && len(data) > 0 && !utf8.Valid(data); cut++ {
		data = data[:len(data)-1]
	}
	return utf8.Valid(data) && bytes.IndexFunc(data, func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' }) < 0
}

// Text is the value as text; JSON is indented.
func (x *value) Text() string {
	if x.Form() == "json" {
		var b bytes.Buffer
		if json.Indent(&b, x.Data, "", "  ") == nil {
			return b.String()
		}
	}
	return string(bytes.ToValidUTF8(x.Data, nil))
}

// Editable reports whether a text field can carry the value without a change: a browser sends every line break as CR LF.
func (x *value) Editable() bool {
	if !x.Whole() || !x.isText() {
		return false
	}
	breaks := bytes.Count(x.Data, []byte("\r\n"))
	return bytes.Count(x.Data, []byte("\r")) == breaks && (breaks == 0 || breaks == bytes.Count(x.Data, []byte("\n")))
}

// Newlines is crlf if the lines of the value end so, otherwise lf.
func (x *value) Newlines() string {
	if bytes.Contains(x.Data, []byte("\r\n")) {
		return "crlf"
	}
	return "lf"
}

// hexBytes is the number of bytes that a page shows in hexadecimal digits.
const hexBytes = 1 << 10

// Hex shows the first bytes, sixteen in a line.
func (x *value) Hex() string {
	var b strings.Builder
	for at := 0; at < min(len(x.Data), hexBytes); at += 16 {
		row := x.Data[at:min(at+16, len(x.Data))]
		fmt.Fprintf(&b, "%08x  %-48s ", at, fmt.Sprintf("% x", row))
		for _, c := range row {
			if c < ' ' || c > '~' {
				c = '.'
			}
			b.WriteByte(c)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// HexCut reports whether Hex leaves bytes out.
func (x *value) HexCut() bool { return x.Size > hexBytes }
