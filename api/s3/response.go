package s3

import (
	"encoding/xml"
	"io"
	"net/http"
	"strings"
	"time"
)

// failure is an answer with an error of S3.
type failure struct {
	status        int
	code, message string
}

var (
	denied    = &failure{http.StatusForbidden, "AccessDenied", "The grants of the API key do not allow this."}
	slowDown  = &failure{http.StatusServiceUnavailable, "SlowDown", "The server cannot serve this now. Send the request again."}
	unaudited = &failure{http.StatusServiceUnavailable, "ServiceUnavailable", "The audit log cannot be written."}
)

// write sends the answer, and ends the connection if a body may follow.
func (f *failure) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Connection", "close")
	if f.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(f.status)
	_, _ = io.WriteString(w, xml.Header) // an error means that the client is gone, here and below
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		RequestID string `xml:"RequestId,omitempty"`
	}{Code: f.code, Message: f.message, RequestID: w.Header().Get("X-Amz-Request-Id")})
}

// response gives the client a fresh deadline for each piece of an answer.
type response struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	status  int
	id      [1]string // of the request
}

// Header implements http.ResponseWriter. The library numbers requests by itself; each further use of the header restores the id,
// so that the header, the document of an error and the audit log name the same id.
func (w *response) Header() http.Header {
	h := w.ResponseWriter.Header()
	if w.id[0] != "" {
		h["X-Amz-Request-Id"] = w.id[:]
	}
	return h
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		w.protect()
	}
	w.extend()
	w.ResponseWriter.WriteHeader(status)
}

// policy is the Content-Security-Policy of all answers. A browser runs no script of a stored page, loads nothing for the
// page, and shows the page in no frame.
const policy = "sandbox; default-src 'none'; frame-ancestors 'none'"

// protect keeps stored values from acting as pages of the server, and keeps answers from pages of other origins, to which the
// library would give everything.
func (w *response) protect() {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", policy)
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			h.Del(name)
		}
	}
}

// Write implements http.ResponseWriter.
func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.extend()
	return w.ResponseWriter.Write(b)
}

func (w *response) extend() {
	if w.timeout > 0 {
		_ = w.control.SetWriteDeadline(time.Now().Add(w.timeout)) // fails in tests
	}
}

// Unwrap makes the connection available to http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
