package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// server is the URL of the server that the flags or the environment name.
func (p *program) server() string {
	return cmp.Or(p.flags.server, p.getenv("RUNNEL_SERVER"), defaultServer)
}

// apiKey is the key to present to the server; empty for none.
func (p *program) apiKey() string { return cmp.Or(p.flags.key, p.getenv("RUNNEL_KEY")) }

// client returns a client for the server, with the session that a file keeps; an empty path for none. The options
// complete those of the flags.
func (p *program) client(session string, o client.Options) (*client.Client, error) {
	if p.flags.timeout <= 0 {
		return nil, console.UsageError("--timeout %v is not a positive duration", p.flags.timeout)
	}
	o.APIKey, o.UserAgent = p.apiKey(), "runnel/"+buildVersion().Version
	o.Timeout = p.flags.timeout
	if o.RetryFor = cmp.Or(o.RetryFor, p.flags.retry); o.RetryFor == 0 {
		o.RetryFor = -1 // --retry 0 sends each request once
	}
	if p.flags.verbose {
		o.OnAttempt = logAttempts(p.Err)
	}
	var err error
	if p.session, err = p.openSession(session); p.session != nil {
		o.Session = p.session
	}
	if err != nil {
		return nil, err
	}
	c, err := client.New(p.server(), o)
	if err != nil {
		return nil, console.UsageError("--server, or RUNNEL_SERVER, is not a URL like %s", defaultServer) // the URL may hold a password
	}
	return c, nil
}

// logAttempts writes a line for each attempt, for --verbose.
func logAttempts(w io.Writer) func(client.Attempt) {
	var mu sync.Mutex // requests may run concurrently
	return func(a client.Attempt) {
		outcome := fmt.Sprint(a.Err)
		if a.Err == nil {
			outcome = fmt.Sprintf("%d, request %s", a.Status, cmp.Or(a.RequestID, "unnamed"))
		}
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(w, "%s %s: %s, %v\n", a.Method, a.URI, console.Visible(outcome), a.Took.Round(time.Microsecond))
	}
}

// withKey adds the key to an error that says that there is no such key.
func withKey(key string, err error) error {
	if e, ok := errors.AsType[*client.Error](err); ok && errors.Is(err, client.ErrNotFound) {
		e.Detail = wire.Text(fmt.Sprintf("%s: %q", strings.TrimSuffix(cmp.Or(string(e.Detail), "There is no such key"), "."), key))
	}
	return err
}

// conditions returns the conditions of a write, with the quotes of an ETag that a shell has removed.
func conditions(ifMatch, ifNoneMatch string) client.Conditions {
	quote := func(etag string) string {
		if etag == "" || etag == "*" || strings.Contains(etag, `"`) {
			return etag
		}
		return `"` + etag + `"`
	}
	return client.Conditions{IfMatch: quote(ifMatch), IfNoneMatch: quote(ifNoneMatch)}
}
