package exchange

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Bounds of linger, and the largest unread body that net/http discards to keep the connection.
const (
	lingerBytes = 64 << 20
	lingerStep  = 1 << 20 // must arrive within LingerTime
	LingerTime  = 5 * time.Second
	drainLinger = time.Second // for a server that drains
	unreadBytes = 256 << 10
)

var connectionClose = []string{"close"}

// linger flushes an answer that was sent before the body was read, and discards the rest of the body. A connection
// closed with unread data is reset, and the reset may destroy the answer on its way (RFC 9112, section 9.6).
func (w *Response) linger(r *http.Request) {
	control := http.NewResponseController(w.ResponseWriter)
	if !w.Unread || control.Flush() != nil {
		return
	}
	if w.Cut && w.conn != nil {
		w.conn.CloseWrite() // ends the incomplete answer
	}
	stop := context.AfterFunc(w.draining, func() { control.SetReadDeadline(time.Now().Add(drainLinger)) })
	defer stop()
	for range lingerBytes / lingerStep {
		control.SetReadDeadline(time.Now().Add(LingerTime)) // fails in tests
		if w.draining.Err() != nil {
			control.SetReadDeadline(time.Now().Add(drainLinger))
			w.DiscardBody(r)
			return
		}
		if !w.discard(r, lingerStep) {
			return
		}
	}
}

// DiscardBody reads and drops the body, up to the deadline and lingerBytes.
func (w *Response) DiscardBody(r *http.Request) { w.discard(r, lingerBytes) }

// discard reads and drops n bytes of the body. False: the body ends earlier, or the deadline has passed.
func (w *Response) discard(r *http.Request, n int64) bool {
	_, err := io.CopyN(io.Discard, r.Body, n)
	if err != nil && err != io.EOF && w.conn != nil {
		_, err = io.CopyN(io.Discard, w.conn, n) // after a broken encoding or a cancelled read
	}
	return err == nil
}
