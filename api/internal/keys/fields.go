package keys

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/runnelkv/runnel/api/internal/etag"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/store"
)

// appendHTTPDate appends a date in HTTP's format (RFC 9110, section 5.6.7). time.Time.Format with http.TimeFormat gives
// the same result at several times the cost.
func appendHTTPDate(b []byte, t time.Time) []byte {
	const days, months = "SunMonTueWedThuFriSat", "JanFebMarAprMayJunJulAugSepOctNovDec"
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(b, http.TimeFormat)
	}
	hour, minute, second := t.Clock()
	b = append(b, days[3*t.Weekday():][:3]...)
	b = append(b, ", "...)
	b = appendTwo(b, day)
	b = append(b, ' ')
	b = append(b, months[3*(month-1):][:3]...)
	b = append(b, ' ')
	b = appendTwo(appendTwo(b, year/100), year%100)
	b = append(b, ' ')
	b = append(appendTwo(b, hour), ':')
	b = append(appendTwo(b, minute), ':')
	return append(appendTwo(b, second), " GMT"...)
}

// appendTwo appends a number below 100 with two digits.
func appendTwo(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

// seconds formats a duration in seconds with three decimals, rounded up: headers state upper bounds.
func seconds(d time.Duration) string {
	n := int64((d + time.Millisecond - 1) / time.Millisecond)
	var buffer [24]byte
	b := strconv.AppendInt(buffer[:0], n/1000, 10)
	b = append(b, '.', byte('0'+n/100%10))
	return string(appendTwo(b, int(n%100)))
}

var notStale = []string{"0"}

// setStaleness sets an upper bound in seconds; nothing if the bound is unknown.
func setStaleness(h http.Header, d time.Duration) {
	switch {
	case d == 0:
		h["Runnel-Staleness"] = notStale
	case d > 0:
		h["Runnel-Staleness"] = []string{seconds(d)}
	}
}

// setValidators sets the entity tag for the format, the date and the revision of an entry.
func setValidators(w *exchange.Response, e *store.Entry, f negotiate.Format) {
	var b [96]byte
	modified := e.ModifiedAt.Time()
	if now := time.Now(); modified.After(now) {
		modified = now // the master's clock is ahead, but the date must not be later than the answer (RFC 9110, section 8.8.2.1)
	}
	date := appendHTTPDate(b[:0], modified)
	all := string(etag.Append(date, e.Revision, f)) // one allocation for all three headers
	tag := all[len(date):]
	revision, _, _ := strings.Cut(tag[1:len(tag)-1], ".")
	w.SetField("Etag", tag)
	w.SetField("Last-Modified", all[:len(date)])
	w.SetField("Runnel-Revision", revision)
	if e.ExpiresAt != 0 {
		w.SetField("Runnel-Expires-At", e.ExpiresAt.Time().Format(time.RFC3339Nano))
	}
}

// setWritten sets the headers of a committed entry. Its origin is its master.
func setWritten(w *exchange.Response, e *store.Entry) {
	setValidators(w, e, negotiate.FormatRaw)
	w.SetField("Runnel-Partition", string(e.Origin))
	w.Header()["Runnel-Staleness"] = notStale
}

// setPage sets the headers of a page.
func setPage(h http.Header, page *store.Page, nextPath string) {
	h["Cache-Control"] = exchange.NoCache
	if page.Partition != "" {
		h["Runnel-Partition"] = []string{page.Partition}
		setStaleness(h, page.Staleness)
	}
	if nextPath != "" {
		h["Link"] = []string{"<" + nextPath + `>; rel="next"`}
	}
}
