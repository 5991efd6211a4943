package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runnelkv/runnel/store"
)

// results writes the results of operations as JSON. They are appended by hand:
// a batch has thousands of them.
type results struct {
	b     []byte
	index int // of the next result
	lines bool
	some  bool // a result was written
}

// begin starts the result of an operation.
func (rs *results) begin(o *operation, status int) {
	if rs.some && !rs.lines {
		rs.b = append(rs.b, ',')
	}
	rs.some = true
	rs.b = strconv.AppendInt(append(rs.b, `{"index":`...), int64(rs.index), 10)
	if o.name != "" {
		rs.b = append(append(append(rs.b, `,"op":"`...), o.name...), '"')
	}
	if o.entry.Key != "" {
		rs.text(`,"key":`, store.Name(o.entry.Key))
	}
	rs.b = strconv.AppendInt(append(rs.b, `,"status":`...), int64(status), 10)
}

func (rs *results) end() {
	rs.b = append(rs.b, '}')
	if rs.lines {
		rs.b = append(rs.b, '\n')
	}
	rs.index++
}

// text appends a member. What the store holds as text is valid UTF-8.
func (rs *results) text(name, value string) {
	rs.b, _ = appendQuote(append(rs.b, name...), value)
}

func (rs *results) time(name string, at store.Instant) {
	rs.b = append(append(rs.b, name...), '"')
	rs.b = append(at.Time().AppendFormat(rs.b, time.RFC3339Nano), '"')
}

// version appends what identifies a written entry.
func (rs *results) version(e *store.Entry) {
	rs.b = strconv.AppendInt(append(rs.b, `,"etag":"\"`...), int64(e.Revision), 10)
	rs.b = strconv.AppendInt(append(rs.b, `\"","revision":`...), int64(e.Revision), 10)
}

// wrote appends the result of a put or a delete.
func (rs *results) wrote(o *operation, e *store.Entry, created bool) {
	switch {
	case o.name == "delete":
		rs.begin(o, http.StatusNoContent)
		rs.b = strconv.AppendInt(append(rs.b, `,"revision":`...), int64(e.Revision), 10)
		rs.end()
		return
	case created:
		rs.begin(o, http.StatusCreated)
	default:
		rs.begin(o, http.StatusNoContent)
	}
	rs.version(e)
	if e.ExpiresAt != 0 {
		rs.time(`,"expires_at":`, e.ExpiresAt)
	}
	rs.end()
}

// got appends the result of a get.
func (rs *results) got(o *operation, r *store.Read) {
	e := &r.Entry
	rs.begin(o, http.StatusOK)
	rs.value(e.Value)
	rs.text(`,"content_type":`, e.ContentType)
	rs.b = strconv.AppendInt(append(rs.b, `,"size":`...), e.Size, 10)
	rs.version(e)
	rs.text(`,"origin":`, string(e.Origin))
	rs.time(`,"modified_at":`, e.ModifiedAt)
	if e.ExpiresAt != 0 {
		rs.time(`,"expires_at":`, e.ExpiresAt)
	}
	if m := metadataOf(e.Metadata); m != nil {
		rs.document(`,"metadata":`, m)
	}
	rs.answeredBy(r)
	rs.end()
}

// value appends a value in the member that can hold it exactly.
func (rs *results) value(value []byte) {
	before := len(rs.b)
	b, err := appendQuote(append(rs.b, `,"value":`...), value)
	if err != nil { // it is not valid UTF-8
		b = append(rs.b[:before], `,"value_base64":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, value), '"')
	}
	rs.b = b
}

// answeredBy says who answered a get, and how stale that can be, if it is known.
func (rs *results) answeredBy(r *store.Read) {
	if r.Partition == "" {
		return
	}
	rs.text(`,"partition":`, r.Partition)
	if d := r.Staleness; d >= 0 {
		rs.b = strconv.AppendFloat(append(rs.b, `,"staleness":`...), roundUp(d).Seconds(), 'f', 3, 64)
	}
}

// problem appends a problem that is no operation's, on a line of its own.
func (rs *results) problem(p *problemDocument) {
	rs.document("", p)
	rs.b = append(rs.b, '\n')
}

// failed appends the result of an operation that was refused or has failed.
func (rs *results) failed(o *operation, r *store.Read, err error) {
	e := problemOf(err)
	rs.begin(o, e.Type.Status)
	rs.document(`,"problem":`, e.Document())
	rs.answeredBy(r)
	rs.end()
}

// document appends a member that the standard library encodes.
func (rs *results) document(name string, d any) {
	encoded, err := json.Marshal(d)
	if err != nil {
		panic(err) // a mistake of the program
	}
	rs.b = append(append(rs.b, name...), encoded...)
}

// appendQuote appends a JSON string. The two line separators of Unicode are escaped:
// readers that split lines by Unicode's rules would cut the line of a result there.
func appendQuote[S ~string | ~[]byte](b []byte, s S) ([]byte, error) {
	begin := len(b)
	b, err := jsontext.AppendQuote(b, s)
	for raw, escaped := range map[string]string{"\u2028": `\u2028`, "\u2029": `\u2029`} {
		if bytes.Contains(b[begin:], []byte(raw)) {
			b = append(b[:begin], bytes.ReplaceAll(b[begin:], []byte(raw), []byte(escaped))...)
		}
	}
	return b, err
}
