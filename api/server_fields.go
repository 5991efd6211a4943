package api

import (
	"net/http"
	"strconv"
	"time"
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
