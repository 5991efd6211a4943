package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// problem is a refusal by the server: an application/problem+json answer (RFC 9457), or what could be made of another.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	MaxBytes  int64  `json:"max_bytes"`
	RequestID string `json:"-"`

	retryAfter *time.Duration // what Retry-After asks for; nil without one
}

// slugOutcomeUnknown names the refusal of a write that may, or may not, have been done.
const slugOutcomeUnknown = "outcome-unknown"

// slugSessionLost names the refusal of a session of which the server knows nothing: the client begins a new one.
const slugSessionLost = "session-lost"

// maxProblemBytes bounds what is read of an answer that is an error.
const maxProblemBytes = 64 << 10

// slug is the last segment of the problem's type: what a program branches on.
func (p *problem) slug() string {
	if p.Type == "" || p.Type == "about:blank" {
		return ""
	}
	return path.Base(p.Type)
}

// Error is "412 precondition-failed: detail", as much of it as is known.
func (p *problem) Error() string {
	name := p.slug()
	if name == "" {
		name = strings.ToLower(http.StatusText(p.Status))
	}
	s := fmt.Sprintf("%d %s", p.Status, name)
	if text := firstOf(p.Detail, p.Title); text != "" {
		s += ": " + text
	}
	if size := humanize.IBytes(uint64(max(0, p.MaxBytes))); p.MaxBytes > 0 {
		number := fmt.Sprintf("%d bytes", p.MaxBytes)
		if exact, err := humanize.ParseBytes(size); err != nil || exact != uint64(p.MaxBytes) || exact < 1024 {
			size = number
		}
		if !strings.Contains(s, number) {
			return s + " (at most " + size + ")"
		}
		s = strings.ReplaceAll(s, number, size)
	}
	return s
}

// ofKey is err, which names the key where it says that there is none.
func ofKey(key string, err error) error {
	if p, ok := errors.AsType[*problem](err); ok && p.Status == http.StatusNotFound {
		p.Detail = strings.TrimSuffix(firstOf(p.Detail, "There is no such key"), ".") + fmt.Sprintf(": %q", key)
	}
	return err
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// readProblem makes an error of resp, whose status says it is one, and consumes its body.
func readProblem(resp *http.Response) *problem {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblemBytes)) // a body cut short still leaves the status
	p := &problem{}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media != "application/problem+json" && media != "application/json" || json.Unmarshal(body, p) != nil {
		*p = problem{Detail: oneLine(body, media)}
	}
	p.Status = resp.StatusCode
	p.RequestID = resp.Header.Get("X-Request-Id")
	p.retryAfter = parseRetryAfter(resp.Header)
	return p
}

// parseRetryAfter reads Retry-After (RFC 9110, section 10.2.3): seconds, or a date, taken against the server's own Date.
func parseRetryAfter(h http.Header) *time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		d := time.Duration(n) * time.Second
		return &d
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return nil
	}
	var d time.Duration
	if now, err := http.ParseTime(h.Get("Date")); err == nil {
		d = max(0, at.Sub(now))
	}
	return &d
}

// oneLine is the beginning of a plain-text answer, for an error message. Anything else says nothing to a person.
func oneLine(body []byte, media string) string {
	const most = 200
	if media != "text/plain" {
		return ""
	}
	s := strings.Join(strings.Fields(string(body)), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// hasStatus reports whether err is the server's answer with this status.
func hasStatus(err error, status int) bool {
	var p *problem
	return errors.As(err, &p) && p.Status == status
}
