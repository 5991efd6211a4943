package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/locks"
	"github.com/runnelkv/runnel/cmd/runnel/internal/session"
	"github.com/runnelkv/runnel/config"
)

// server is the URL of the server that the flags or the environment name.
func (p *program) server() string {
	return cmp.Or(p.flags.server, p.getenv("RUNNEL_SERVER"), defaultServer)
}

// apiKey returns the key to present to the server; empty for none. Flags win over the environment, and a key over a file.
func (p *program) apiKey() (string, error) {
	key, file := p.flags.key, p.flags.keyFile
	if key == "" && file == "" {
		key, file = p.getenv("RUNNEL_KEY"), p.getenv("RUNNEL_KEY_FILE")
	}
	if key != "" || file == "" {
		return key, nil
	}
	secret, err := config.ReadPassword(file)
	if err != nil {
		return "", console.UsageError("--key-file, or RUNNEL_KEY_FILE: %v", err)
	}
	return secret.Reveal(), nil
}

// tls returns the settings of connections with https.
func (p *program) tls() (*tls.Config, error) {
	if p.flags.certKey != "" && p.flags.cert == "" {
		return nil, console.UsageError("--cert-key needs --cert")
	}
	settings, err := client.LoadTLS(cmp.Or(p.flags.caCert, p.getenv("RUNNEL_CACERT")), p.flags.cert, p.flags.certKey)
	if err != nil {
		return nil, console.UsageError("--cacert or --cert: %v", err)
	}
	return settings, nil
}

// sessionFlag defines --session.
func sessionFlag(f *pflag.FlagSet, path *string) {
	f.StringVar(path, "session", "", "see nothing older than commands with this `FILE` have read or written")
}

// client returns a client for the server, with the session that a file keeps; an empty path for none. The options
// complete those of the flags.
func (p *program) client(file string, o client.Options) (*client.Client, error) {
	if p.flags.timeout <= 0 {
		return nil, console.UsageError("--timeout %v is not a positive duration", p.flags.timeout)
	}
	var err error
	if o.APIKey, err = p.apiKey(); err != nil {
		return nil, err
	}
	if o.TLS, err = p.tls(); err != nil {
		return nil, err
	}
	o.UserAgent = "runnel/" + buildVersion().Version
	o.Timeout = p.flags.timeout
	if o.RetryFor = cmp.Or(o.RetryFor, p.flags.retry); o.RetryFor == 0 {
		o.RetryFor = -1 // --retry 0 sends each request once
	}
	if p.flags.verbose {
		o.OnAttempt = logAttempts(p.Err)
	}
	warn := func(text string) { fmt.Fprintln(p.Err, "warning:", console.Line(text)) }
	if p.session, err = session.Open(file, warn); p.session != nil {
		o.Session = p.session
	}
	if err != nil {
		return nil, err
	}
	c, err := client.New(p.server(), o)
	if errors.Is(err, client.ErrPlainKey) {
		return nil, console.UsageError("%v", err)
	}
	if err != nil {
		return nil, console.UsageError("--server, or RUNNEL_SERVER, is not a URL like %s", defaultServer) // the URL may hold a password
	}
	return c, nil
}

// locks returns what the commands of locks use of the program.
func (p *program) locks() locks.Environment {
	return locks.Environment{Streams: &p.Streams, Client: func(o client.Options) (*client.Client, error) { return p.client("", o) }}
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
		fmt.Fprintf(w, "%s %s: %s, %v\n", a.Method, a.URI, console.Line(outcome), a.Took.Round(time.Microsecond))
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

const (
	completeMost    = 100
	completeTimeout = 2 * time.Second
)

// completePrefix makes the shell offer keys for --prefix.
func (p *program) completePrefix(cmd *cobra.Command) {
	offer := func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return p.completeKey(cmd, nil, typed)
	}
	if err := cmd.RegisterFlagCompletionFunc("prefix", offer); err != nil {
		panic(err) // the flag does not exist, or has a completion already
	}
}

// completeKey returns the keys and common prefixes that begin with the typed text, for shell completion. A failure
// returns nothing.
func (p *program) completeKey(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	c, err := p.client("", client.Options{RetryFor: -1})
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	var found []string
	for k, err := range c.List(ctx, client.ListOptions{Prefix: typed, Delimiter: "/", Limit: completeMost}) {
		if err != nil {
			break
		}
		if console.Line(k.Key) == k.Key { // the shell would obey or misread the rest
			found = append(found, k.Key)
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
