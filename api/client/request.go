package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	mediaJSON  = "application/json"
	mediaLines = "application/x-ndjson"
	// durableHeader says where a write is known to be durable, if the request asks for a majority of the voters.
	durableHeader = "Runnel-Durable"
	// revisionHeader is in every successful response about a single key.
	revisionHeader = "Runnel-Revision"
)

// request is a call of the API, possibly sent more than once.
type request struct {
	method string
	path   string // percent-encoded
	query  url.Values
	header http.Header
	body   Body // without Open: no body

	accept  string // the media type to ask for and to expect; otherwise revisionHeader is expected
	success []int  // statuses; 200 alone if empty

	bodiless bool // the response has neither a body nor revisionHeader

	idempotent bool          // sending the request twice is as good as once
	isWrite    bool          // Options.FinishWrites applies
	securable  bool          // Options.Majority applies
	silence    time.Duration // the least timeout; 0 for that of the options
}

// expectBytes is the size of a body from which the client first asks whether the server will accept it, so that a
// refusal arrives as a response and not as a broken connection.
const expectBytes = 1 << 20

// attempt sends r once. The error is a *Error for a status of failure, a *ConnectionError without a complete response,
// or ErrNotRunnel for a response that Runnel does not give.
func (c *Client) attempt(ctx context.Context, r request) (*http.Response, error) {
	if r.isWrite && c.o.FinishWrites {
		ctx = context.WithoutCancel(ctx)
	}
	timeout := max(c.o.Timeout, r.silence)
	ctx, cancel := context.WithCancelCause(ctx)
	idle := time.AfterFunc(timeout, func() { cancel(ErrTimeout) })
	release := func() { idle.Stop(); cancel(nil) }
	progress := func() { idle.Reset(timeout) }

	req, err := c.newRequest(ctx, r, progress)
	if err != nil {
		release()
		return nil, err
	}
	began := time.Now()
	resp, err := c.http.Do(req)
	c.reportAttempt(req, resp, err, began)
	if err != nil {
		cause := context.Cause(ctx)
		release()
		if unreadable, ok := errors.AsType[*bodyError](err); ok {
			return nil, unreadable
		}
		return nil, c.newConnectionError(cause, err)
	}
	resp.Body = &responseBody{ReadCloser: resp.Body, ctx: ctx, resp: resp, session: c.updateSession, progress: progress, release: release}
	if err = c.updateSession(resp.Header); err == nil {
		err = r.verify(resp)
	}
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// updateSession passes the token of a header or a trailer on to the session.
func (c *Client) updateSession(h http.Header) error {
	if token := h.Get(sessionHeader); c.o.Session != nil && token != "" {
		return c.o.Session.Update(token)
	}
	return nil
}

// verify returns the error of a response that is no success, or that Runnel does not give, such as a sign-in page.
func (r *request) verify(resp *http.Response) error {
	if resp.StatusCode/100 != 2 {
		return readError(resp)
	}
	media := mediaType(resp)
	if r.bodiless && slices.Contains(r.success, resp.StatusCode) {
		return nil
	}
	known := r.accept != "" && media == r.accept || r.accept == "" && resp.Header.Get(revisionHeader) != ""
	if known && (slices.Contains(r.success, resp.StatusCode) || len(r.success) == 0 && resp.StatusCode == http.StatusOK) {
		return nil
	}
	return &foreignError{status: resp.StatusCode, media: media}
}

func (c *Client) newRequest(ctx context.Context, r request, progress func()) (*http.Request, error) {
	target := c.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, nil)
	if err != nil {
		return nil, err
	}
	for name, values := range r.header {
		for _, text := range values {
			if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return nil, fmt.Errorf("%w: %s cannot hold the control characters in %q", ErrInvalid, name, text)
			}
		}
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", c.o.UserAgent)
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	if c.o.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+c.o.APIKey)
	}
	if c.o.Session != nil {
		if token := c.o.Session.Token(); token != "" {
			req.Header.Set(sessionHeader, token)
		}
	}
	if r.body.Size == 0 {
		return req, nil
	}
	if r.body.Size >= expectBytes || r.body.Size < 0 {
		req.Header.Set("Expect", "100-continue")
	}
	body, err := r.body.Open()
	req.ContentLength, req.Body = r.body.Size, &requestBody{ReadCloser: body, left: r.body.Size, progress: progress}
	return req, err
}

// reportAttempt calls Options.OnAttempt.
func (c *Client) reportAttempt(req *http.Request, resp *http.Response, err error, began time.Time) {
	if c.o.OnAttempt == nil {
		return
	}
	a := Attempt{Method: req.Method, URI: req.URL.RequestURI(), Err: err, Took: time.Since(began)}
	if err == nil {
		a.Status, a.RequestID = resp.StatusCode, resp.Header.Get("X-Request-Id")
	}
	c.o.OnAttempt(a)
}

// getJSON sends r and decodes the JSON document of the response into document. getJSON returns the document as received.
func (c *Client) getJSON(ctx context.Context, r request, document any) (json.RawMessage, error) {
	r.accept = mediaJSON
	resp, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	return readJSON(resp, r, document)
}

// readJSON reads the response to r into document.
func readJSON(resp *http.Response, r request, document any) (json.RawMessage, error) {
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, document); err != nil {
		return nil, malformed(fmt.Sprintf("response to %s %s", r.method, r.path), err)
	}
	return raw, nil
}

// notSecured returns ErrNotSecured if the response says that a write is not known to be on a majority of the voters.
func notSecured(resp *http.Response) error {
	if resp.Header.Get(durableHeader) == "master" {
		return ErrNotSecured
	}
	return nil
}
