package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// client speaks the HTTP contract to one server. It is safe for concurrent use.
type client struct {
	base    string // the server's URL without a slash at its end
	name    string // base for files and messages: without user and password
	key     string // a bearer key, or empty
	timeout time.Duration
	retry   time.Duration
	http    *http.Client
	session *sessionFile // nil for none
	trace   io.Writer    // gets a line a request; nil for none

	now  func() time.Time
	wait func(context.Context, time.Duration) error
}

type clientOptions struct {
	server, key    string
	timeout, retry time.Duration
}

// maxConns bounds the kept-alive connections to the server: what the widest import uses.
const maxConns = 256

// newClient returns a client, or a usage error for a server that is not an http or https URL.
func newClient(o clientOptions) (*client, error) {
	u, err := url.Parse(o.server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, usageError("--server, or RUNNEL_SERVER, is not a URL like %s", defaultServer) // it may hold a password
	}
	if o.timeout <= 0 {
		return nil, usageError("--timeout %v is not a positive duration", o.timeout)
	}
	named := *u
	named.User = nil
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = maxConns, maxConns
	t.DisableCompression = true // a value is wanted as it is stored
	return &client{
		base: strings.TrimRight(o.server, "/"), name: strings.TrimRight(named.String(), "/"), key: o.key, timeout: o.timeout, retry: o.retry,
		// Following a redirect would let whoever sent it rewrite a key, and see the bearer key.
		http: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		now:  time.Now,
		wait: wait,
	}, nil
}

// request is one call of the contract, possibly sent more than once.
type request struct {
	method string
	path   string // percent-encoded
	query  url.Values
	header http.Header
	body   func() (io.ReadCloser, error) // a fresh reader of the same bytes each time; nil for no body
	size   int64                         // of the body, in bytes

	status []int  // those that are success; 200 alone if there are none
	proof  string // how an answer is known to be Runnel's: a media type, or the name of a header

	repeatable bool // doing it twice is as good as once (RFC 9110, section 9.2.2), and nothing it was conditional on moves
	finish     bool // when the caller's ctx ends, let the attempt under way finish and only stop repeating it
}

// expectBytes is the size of a body from which the server is asked first whether it will have it at all, so that a
// refusal is read as one and not as a broken connection.
const expectBytes = 1 << 20

// errIdle is the cause of a request given up on by --timeout.
var errIdle = errors.New("nothing moved within the timeout")

// attempt sends r once. An answer other than 2xx is a *problem, a lost connection a *lostError, a 2xx that Runnel does
// not give a *strangerError.
func (c *client) attempt(ctx context.Context, r request) (*http.Response, error) {
	if r.finish {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	idle := time.AfterFunc(c.timeout, func() { cancel(errIdle) })
	release := func() { idle.Stop(); cancel(nil) }

	req, err := c.newRequest(ctx, r)
	if err != nil {
		release()
		return nil, err
	}
	moved := func() { idle.Reset(c.timeout) }
	if r.size > 0 {
		req.Body = &sentBody{ReadCloser: req.Body, left: r.size, moved: moved}
	}
	began := c.now()
	resp, err := c.http.Do(req)
	c.log(req, resp, err, c.now().Sub(began))
	if err != nil {
		cause := context.Cause(ctx)
		release()
		if source, ok := errors.AsType[*sourceError](err); ok {
			return nil, source
		}
		return nil, &lostError{err: lostCause(cause, err, c.timeout), unsent: isDialError(err)}
	}
	resp.Body = &answerBody{
		ReadCloser: resp.Body, cause: func() error { return context.Cause(ctx) }, moved: moved, release: release,
		ended: func() error { return c.session.note(resp.Trailer) },
	}
	if err := c.session.note(resp.Header); err != nil {
		resp.Body.Close()
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, readProblem(resp)
	}
	if err := r.check(resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// check refuses a 2xx answer that Runnel does not give, such as a page to sign in at.
func (r *request) check(resp *http.Response) error {
	status := r.status
	if status == nil {
		status = []int{http.StatusOK}
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	known := media == r.proof || !strings.Contains(r.proof, "/") && resp.Header.Get(r.proof) != ""
	if slices.Contains(status, resp.StatusCode) && known {
		return nil
	}
	return &strangerError{status: resp.StatusCode, media: media}
}

// strangerError is an answer of something other than Runnel.
type strangerError struct {
	status int
	media  string
}

func (e *strangerError) Error() string {
	return fmt.Sprintf("the answer, %d with %s, is not Runnel's: does --server name another service, or does a proxy ask to sign in?",
		e.status, firstOf(e.media, "no media type"))
}

func (c *client) newRequest(ctx context.Context, r request) (*http.Request, error) {
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
				return nil, usageError("%s cannot hold the control characters in %q", name, text)
			}
		}
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "runnel/"+buildVersion().Version)
	c.session.sign(req.Header)
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	if r.body == nil {
		return req, nil
	}
	req.ContentLength = r.size
	if r.size == 0 {
		req.Body = http.NoBody // so that Content-Length: 0 is sent
		return req, nil
	}
	if r.size >= expectBytes {
		req.Header.Set("Expect", "100-continue")
	}
	req.Body, err = r.body()
	return req, err
}

// log writes a line about one attempt, with --verbose.
func (c *client) log(req *http.Request, resp *http.Response, err error, took time.Duration) {
	if c.trace == nil {
		return
	}
	outcome := fmt.Sprint(err)
	if err == nil {
		outcome = fmt.Sprintf("%d, request %s", resp.StatusCode, firstOf(resp.Header.Get("X-Request-Id"), "unnamed"))
	}
	fmt.Fprintf(c.trace, "%s %s: %s, %v\n", req.Method, req.URL.RequestURI(), visible(outcome), took.Round(time.Microsecond))
}

// answerBody is the body of an answer. Each read that moved something puts the timeout off, so that only silence, never
// size, runs into it.
type answerBody struct {
	io.ReadCloser
	cause   func() error // why the request was ended from this side, or nil
	moved   func()
	ended   func() error // it was read to its end, behind which a trailer may stand
	release func()
}

// Read fails with a *lostError.
func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.moved()
	}
	if err == io.EOF {
		if ended := b.ended(); ended != nil {
			return n, ended
		}
	} else if err != nil {
		if cause := b.cause(); cause != nil {
			err = cause
		}
		err = &lostError{err: fmt.Errorf("the answer was cut short: %w", err)}
	}
	return n, err
}

func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.release()
	return err
}

// sentBody is the body of a request: exactly as long as was announced, or an error.
type sentBody struct {
	io.ReadCloser
	left  int64
	moved func()
}

var (
	errShorter = errors.New("it became shorter while it was read")
	errLonger  = errors.New("it became longer while it was read")
)

// Read fails with a *sourceError.
func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	switch {
	case b.left < 0:
		return 0, &sourceError{errLonger}
	case err == io.EOF && b.left > 0:
		return n, &sourceError{errShorter}
	case err != nil && err != io.EOF:
		return n, &sourceError{err}
	}
	if n > 0 {
		b.moved()
	}
	return n, err
}

// sourceError is a value that could not be read to be sent: no fault of the server's.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return "read the value: " + e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// lockedWriter lets concurrent requests share one trace.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
