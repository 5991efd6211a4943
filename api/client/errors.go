package client

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/runnelkv/runnel/api/wire"
)

// Classes of errors, for errors.Is. An error may belong to several.
var (
	// ErrInvalid: the arguments cannot be sent. No request was made.
	ErrInvalid = errors.New("invalid request")
	// ErrPlainKey: the API key would travel unencrypted to another machine. No request was made.
	ErrPlainKey = errors.New("an API key is sent over https only, or to a server on this machine")
	// ErrNotFound: the replica that answered, or for a write the master, has no entry of the key.
	ErrNotFound = errors.New("not found")
	// ErrPreconditionFailed: a condition did not hold; nothing was stored.
	ErrPreconditionFailed = errors.New("precondition failed")
	// ErrNotSecured: the write is durable at its master, but not known to be on a majority of the voters; see
	// Options.Majority.
	ErrNotSecured = errors.New("stored at the master, but not known to be on a majority of the voters")
	// ErrLocked: another owner holds the lock, or the lock protects the key of a write.
	ErrLocked = errors.New("locked")
	// ErrUnauthorized: the server asks for another API key.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrResync: the changes since a token are incomplete. Watch again from the beginning, and drop every key that is
	// not reported by then.
	ErrResync = errors.New("resync")
	// ErrSessionLost: the server does not know the session's history. A client with a Session starts a new history by
	// itself.
	ErrSessionLost = errors.New("session lost")
	// ErrOutcomeUnknown: the request may or may not have been processed.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrTimeout: no byte was sent or received for Options.Timeout.
	ErrTimeout = errors.New("nothing moved within the timeout")
	// ErrNotRunnel: the response does not come from Runnel, for example a sign-in page of a proxy.
	ErrNotRunnel = errors.New("not a response of Runnel")
	// ErrServer: the failure concerns the server or the way to it, not the request. Any request would fail alike.
	ErrServer = errors.New("server failure")
)

// Error is a refusal by the server: a problem document (RFC 9457), or the parts of a foreign response that fit.
// Status is always set. Request is the id under which the server's log has the request; an operation of a batch has
// none.
type Error struct {
	wire.Problem

	retryAfter *time.Duration // of Retry-After; nil without the header
}

// Slug is the short name of the problem, such as "precondition-failed"; empty if the server gave none. The server's
// page /problems lists them.
func (e *Error) Slug() string {
	if e.Type == "" || e.Type == "about:blank" {
		return ""
	}
	return path.Base(e.Type)
}

// Error returns a line like "412 precondition-failed: detail".
func (e *Error) Error() string {
	s := fmt.Sprintf("%d %s", e.Status, cmp.Or(e.Slug(), strings.ToLower(http.StatusText(e.Status))))
	if text := cmp.Or(string(e.Detail), e.Title); text != "" {
		s += ": " + text
	}
	s = strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ").Replace(s)
	if e.MaxBytes <= 0 {
		return s
	}
	number, size := fmt.Sprintf("%d bytes", e.MaxBytes), humanize.IBytes(uint64(e.MaxBytes))
	if exact, err := humanize.ParseBytes(size); err != nil || exact != uint64(e.MaxBytes) || exact < 1024 {
		size = number
	}
	if !strings.Contains(s, number) {
		return s + " (at most " + size + ")"
	}
	return strings.ReplaceAll(s, number, size)
}

// Is reports whether the error belongs to a class of this package.
func (e *Error) Is(class error) bool {
	switch class {
	case ErrNotFound:
		return e.Status == http.StatusNotFound
	case ErrPreconditionFailed:
		return e.Status == http.StatusPreconditionFailed
	case ErrLocked:
		return e.Status == http.StatusLocked
	case ErrUnauthorized:
		return e.Status == http.StatusUnauthorized
	case ErrResync:
		return e.Status == http.StatusGone && e.Slug() != "session-lost"
	case ErrSessionLost:
		return e.Slug() == "session-lost"
	case ErrOutcomeUnknown:
		return e.Status == http.StatusBadGateway || e.Status == http.StatusGatewayTimeout ||
			e.Status == http.StatusServiceUnavailable && (e.Slug() == "outcome-unknown" || e.retryAfter == nil)
	case ErrServer:
		return e.Status >= 502 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusUnauthorized
	}
	return false
}

// invitesRetry reports whether the server asks to send the request again later.
func (e *Error) invitesRetry() bool {
	return (e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests) && e.retryAfter != nil
}

// maxProblemBytes bounds the part of an error response that is read.
const maxProblemBytes = 64 << 10

// readError reads the error of an unsuccessful response, and consumes the body.
func readError(resp *http.Response) *Error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblemBytes)) // a truncated body still leaves the status
	e := &Error{}
	media := mediaType(resp)
	if media != "application/problem+json" && media != "application/json" || json.Unmarshal(body, &e.Problem) != nil {
		e.Problem = wire.Problem{}
		if media == "text/plain" {
			e.Detail = wire.Text(oneLine(string(body)))
		}
	}
	e.Status = resp.StatusCode
	e.Request = resp.Header.Get("X-Request-Id")
	e.retryAfter = parseRetryAfter(resp.Header)
	return e
}

func mediaType(resp *http.Response) string {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return media
}

// parseRetryAfter reads Retry-After (RFC 9110, section 10.2.3): seconds, or a date relative to the server's own Date.
func parseRetryAfter(h http.Header) *time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		return new(time.Duration(n) * time.Second)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return nil
	}
	if now, err := http.ParseTime(h.Get("Date")); err == nil {
		return new(max(0, at.Sub(now)))
	}
	return new(time.Duration)
}

// oneLine returns the beginning of a text without line breaks.
func oneLine(text string) string {
	const limit = 200 // bytes
	s := strings.Join(strings.Fields(text), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// ConnectionError is a request without a complete response. It is ErrServer and, unless Unsent, ErrOutcomeUnknown.
type ConnectionError struct {
	Err    error // ErrTimeout, or an error of package net or context
	Unsent bool  // no connection was made, so the server has not seen the request
}

func (e *ConnectionError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ConnectionError) Unwrap() error { return e.Err }

// Is reports whether the error belongs to a class of this package.
func (e *ConnectionError) Is(class error) bool {
	return class == ErrServer || class == ErrOutcomeUnknown && !e.Unsent
}

// newConnectionError describes a failed attempt without the URL that net/http puts before its errors. cause is why the
// client ended the attempt, or nil.
func (c *Client) newConnectionError(cause, err error) *ConnectionError {
	if errors.Is(cause, ErrTimeout) {
		return &ConnectionError{Err: fmt.Errorf("%w of %v", ErrTimeout, c.o.Timeout)}
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return &ConnectionError{Err: fmt.Errorf("the server cannot prove that it is %s: %w", c.name, err), Unsent: true}
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return &ConnectionError{Err: fmt.Errorf("the server cannot be reached: %w", err), Unsent: true}
	}
	return &ConnectionError{Err: fmt.Errorf("the connection was lost before a response: %w", err)}
}

// truncated is a response that ended early.
func truncated(err error) *ConnectionError {
	if e, ok := errors.AsType[*ConnectionError](err); ok {
		return e
	}
	return &ConnectionError{Err: fmt.Errorf("the response was cut short: %w", err)}
}

// foreignError is a successful response that Runnel does not give.
type foreignError struct {
	status int
	media  string
}

func (e *foreignError) Error() string {
	return fmt.Sprintf("the response, %d with %s, is not Runnel's: does the server's URL name another service, or does a proxy ask to sign in?",
		e.status, cmp.Or(e.media, "no media type"))
}

func (e *foreignError) Is(class error) bool { return class == ErrNotRunnel || class == ErrServer }

// malformed is a document from the server that cannot be decoded.
func malformed(document string, err error) error {
	return fmt.Errorf("the server's %s is malformed: %w", document, err)
}
