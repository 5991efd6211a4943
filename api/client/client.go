package client

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Defaults of Options, and a limit.
const (
	DefaultTimeout  = 30 * time.Second
	DefaultRetryFor = 5 * time.Second
	// MaxConnections is how many idle connections a client keeps open. More requests than that at a time are
	// possible, but their connections are not reused.
	MaxConnections = 256
)

// Options configure a Client. The zero value is useful.
type Options struct {
	// APIKey is sent as a bearer token; empty for none. A key needs a URL with https, or a server on this machine.
	APIKey string
	// TLS configures connections with https; nil for the authorities of the system and no certificate of the client.
	// See LoadTLS. Not used with a Transport.
	TLS *tls.Config
	// Timeout ends an attempt when no byte has been sent or received for this long, however large the value is.
	// 0 means DefaultTimeout.
	Timeout time.Duration
	// RetryFor bounds the time from the first attempt of a request to the beginning of the last attempt. 0 means
	// DefaultRetryFor; with a negative duration every request is sent once.
	RetryFor time.Duration
	// Session is sent with every request and updated by every response; nil for none.
	Session Session
	// FinishWrites lets a put or batch that was sent run to its end when its context is cancelled, and only stops
	// further attempts. Its outcome is then known.
	FinishWrites bool
	// Majority lets every write of keys wait until a majority of the voters holds the write, so that no loss of a master
	// can undo the write. If that takes too long, the error is ErrNotSecured.
	Majority bool
	// UserAgent is the User-Agent header; "runnel-client" if empty.
	UserAgent string
	// Transport sends the requests; nil for a transport of this client alone with MaxConnections idle connections.
	Transport http.RoundTripper
	// OnAttempt is called after each attempt, possibly from several goroutines at a time; nil for none.
	OnAttempt func(Attempt)
}

// Attempt describes an attempt to send a request.
type Attempt struct {
	Method    string
	URI       string // path and query
	Status    int    // 0 without a response
	RequestID string // of the response, as the server's log has it
	Err       error  // why there is no response, or nil
	Took      time.Duration
}

// Client speaks to one server. A Client is safe for concurrent use.
type Client struct {
	base string // the server's URL without a trailing slash
	name string // base without user and password
	http *http.Client
	o    Options
}

// New returns a client for the server at a URL such as http://127.0.0.1:8080, possibly with a path. It connects to
// nothing yet. A URL of another form is ErrInvalid; the error does not repeat the URL, which may hold a password. A key
// that would travel unencrypted to another machine is ErrPlainKey.
func New(server string, o Options) (*Client, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: the server's URL is not like http://HOST:PORT", ErrInvalid)
	}
	if o.APIKey != "" && sendsPlainKey(u) {
		return nil, ErrPlainKey
	}
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.RetryFor = cmp.Or(o.RetryFor, DefaultRetryFor)
	o.UserAgent = cmp.Or(o.UserAgent, "runnel-client")
	if o.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConns, t.MaxIdleConnsPerHost = MaxConnections, MaxConnections
		t.DisableCompression = true // values are exchanged as they are stored
		if o.TLS != nil {
			t.TLSClientConfig = o.TLS.Clone()
		}
		o.Transport = t
	}
	u.User = nil
	return &Client{
		base: strings.TrimRight(server, "/"),
		name: strings.TrimRight(u.String(), "/"),
		// Following a redirect would let its sender rewrite the key, and would disclose the API key.
		http: &http.Client{Transport: o.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		o:    o,
	}, nil
}

// Server returns the server's URL without user, password and trailing slash.
func (c *Client) Server() string { return c.name }

// WithSession returns a client that shares c's connections and options, but uses another session; nil for none.
func (c *Client) WithSession(s Session) *Client {
	copied := *c
	copied.o.Session = s
	return &copied
}
