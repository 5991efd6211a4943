package batch

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runnelkv/runnel/api/internal/document"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/store"
)

// resultWriter appends the results of operations as JSON. It avoids encoding/json because a batch has thousands of
// results.
type resultWriter struct {
	b     []byte
	index int // of the next result
	lines bool
	some  bool // a result has been written
}

// openResult begins the result of an operation.
func (rs *resultWriter) openResult(o *op, status int) {
	if rs.some && !rs.lines {
		rs.b = append(rs.b, ',')
	}
	rs.some = true
	rs.b = strconv.AppendInt(append(rs.b, `{"index":`...), int64(rs.index), 10)
	if o.name != "" {
		rs.b = append(append(append(rs.b, `,"op":"`...), o.name...), '"')
	}
	if o.Entry.Key != "" {
		rs.appendText(`,"key":`, store.Name(o.Entry.Key))
	}
	rs.b = strconv.AppendInt(append(rs.b, `,"status":`...), int64(status), 10)
}

func (rs *resultWriter) closeResult() {
	rs.b = append(rs.b, '}')
	if rs.lines {
		rs.b = append(rs.b, '\n')
	}
	rs.index++
}

// appendText appends a member. Text in the store is valid UTF-8.
func (rs *resultWriter) appendText(name, value string) {
	rs.b, _ = appendQuote(append(rs.b, name...), value)
}

func (rs *resultWriter) appendTime(name string, at store.Instant) {
	rs.b = append(append(rs.b, name...), '"')
	rs.b = append(at.Time().AppendFormat(rs.b, time.RFC3339Nano), '"')
}

// appendVersion appends etag and revision.
func (rs *resultWriter) appendVersion(e *store.Entry) {
	rs.b = strconv.AppendInt(append(rs.b, `,"etag":"\"`...), int64(e.Revision), 10)
	rs.b = strconv.AppendInt(append(rs.b, `\"","revision":`...), int64(e.Revision), 10)
}

// writeResult appends the result of a put or a delete.
func (rs *resultWriter) writeResult(o *op, e *store.Entry, status int) {
	rs.openResult(o, status)
	if o.name == "delete" {
		rs.b = strconv.AppendInt(append(rs.b, `,"revision":`...), int64(e.Revision), 10)
		rs.closeResult()
		return
	}
	rs.appendVersion(e)
	if e.ExpiresAt != 0 {
		rs.appendTime(`,"expires_at":`, e.ExpiresAt)
	}
	rs.closeResult()
}

// readResult appends the result of a get.
func (rs *resultWriter) readResult(o *op, r *store.Read) {
	e := &r.Entry
	rs.openResult(o, http.StatusOK)
	rs.appendValue(e.Value)
	rs.appendText(`,"content_type":`, e.ContentType)
	rs.b = strconv.AppendInt(append(rs.b, `,"size":`...), e.Size, 10)
	rs.appendVersion(e)
	rs.appendText(`,"origin":`, string(e.Origin))
	rs.appendTime(`,"modified_at":`, e.ModifiedAt)
	if e.ExpiresAt != 0 {
		rs.appendTime(`,"expires_at":`, e.ExpiresAt)
	}
	if m := document.MetadataOf(e.Metadata); m != nil {
		rs.appendJSON(`,"metadata":`, m)
	}
	rs.appendSource(r)
	rs.closeResult()
}

// appendValue appends value, or value_base64 if the value is not valid UTF-8.
func (rs *resultWriter) appendValue(value []byte) {
	before := len(rs.b)
	b, err := appendQuote(append(rs.b, `,"value":`...), value)
	if err != nil { // it is not valid UTF-8
		b = append(rs.b[:before], `,"value_base64":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, value), '"')
	}
	rs.b = b
}

// appendSource appends the partition that answered a get and, if known, the bound of its staleness.
func (rs *resultWriter) appendSource(r *store.Read) {
	if r.Partition == "" {
		return
	}
	rs.appendText(`,"partition":`, r.Partition)
	if d := r.Staleness; d >= 0 {
		rs.b = strconv.AppendFloat(append(rs.b, `,"staleness":`...), roundUp(d).Seconds(), 'f', 3, 64)
	}
}

// problemLine appends a problem of the whole batch as a line.
func (rs *resultWriter) problemLine(p *exchange.ProblemDocument) {
	rs.appendJSON("", p)
	rs.b = append(rs.b, '\n')
}

// problemResult appends the result of an operation that failed.
func (rs *resultWriter) problemResult(o *op, r *store.Read, err error) {
	e := exchange.AsProblem(err)
	rs.openResult(o, e.Type.Status)
	rs.appendJSON(`,"problem":`, e.Document())
	rs.appendSource(r)
	rs.closeResult()
}

// appendJSON appends a member that encoding/json encodes.
func (rs *resultWriter) appendJSON(name string, d any) {
	encoded, err := json.Marshal(d)
	if err != nil {
		panic(err) // a bug: all documents can be encoded
	}
	rs.b = append(append(rs.b, name...), encoded...)
}

// appendQuote appends a JSON string. The Unicode line separators U+2028 and U+2029 are escaped, because some readers of
// NDJSON would split lines there.
func appendQuote[S ~string | ~[]byte](b []byte, s S) ([]byte, error) {
	begin := len(b)
	b, err := jsontext.AppendQuote(b, s)
	if bytes.Contains(b[begin:], separatorPrefix) {
		b = append(b[:begin], separatorEscapes.Replace(string(b[begin:]))...)
	}
	return b, err
}

var (
	separatorPrefix  = []byte("\u2028"[:2]) // U+2029 begins alike
	separatorEscapes = strings.NewReplacer("\u2028", `\u2028`, "\u2029", `\u2029`)
)

// roundUp rounds up to milliseconds.
func roundUp(d time.Duration) time.Duration {
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}
