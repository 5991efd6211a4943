package api

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/forwarded"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/ratelimit"
)

// Rates bounds the requests of a client in this process. 0 is no limit. A client may send the requests of two seconds
// at once.
type Rates struct {
	Requests int // a second, of an address
	OfKey    int // requests a second, of an API key
	Failures int // failed authentications a minute, of an address

	// Long answers in progress at once: streams, long polls, lists and batches of lines.
	StreamsOfKey int // of an API key
	Streams      int // of an address, for requests without a key
}

// clients bounds the requests of each client address.
type clients struct {
	proxies  forwarded.Proxies
	requests *ratelimit.Limiter
	failures *ratelimit.Limiter
	ofKey    *ratelimit.Limiter

	streams      *ratelimit.Slots
	streamsOfKey *ratelimit.Slots
}

func newClients(proxies []netip.Prefix, r Rates) *clients {
	return &clients{
		proxies:  proxies,
		requests: ratelimit.New(float64(r.Requests), 2*r.Requests),
		ofKey:    ratelimit.New(float64(r.OfKey), 2*r.OfKey),
		failures: ratelimit.New(float64(r.Failures)/60, r.Failures),

		streams: ratelimit.NewSlots(r.Streams), streamsOfKey: ratelimit.NewSlots(r.StreamsOfKey),
	}
}

// address returns the address of the client; invalid if the connection has none, as with a socket file.
func (c *clients) address(r *http.Request) netip.Addr {
	return c.proxies.Client(r.RemoteAddr, r.Header)
}

// secure reports whether the client speaks HTTPS.
func (c *clients) secure(r *http.Request) bool { return c.proxies.Secure(r) }

// name returns the client's address as a text for logs.
func (c *clients) name(r *http.Request) string {
	if address := c.address(r); address.IsValid() {
		return address.String()
	}
	return r.RemoteAddr
}

// admit refuses a request of an address that has sent too many requests.
func (c *clients) admit(r *http.Request) error {
	if c.requests == nil {
		return nil
	}
	return c.count(c.requests, r, "This address sends more requests than the server allows.")
}

// noteFailure counts a request without a valid key, and refuses an address that has sent too many. Requests with a valid
// key are not refused for this reason: the address may be that of a proxy.
func (c *clients) noteFailure(r *http.Request) error {
	if c.failures == nil {
		return nil
	}
	return c.count(c.failures, r, "Too many requests of this address had no valid API key.")
}

// count counts an event of the client's address.
func (c *clients) count(l *ratelimit.Limiter, r *http.Request, refusal string) error {
	address := c.address(r)
	if !address.IsValid() {
		return nil
	}
	if retry, ok := l.Allow(ratelimit.NameOf(address), time.Now()); !ok {
		return tooMany(retry, refusal)
	}
	return nil
}

// admitKey refuses a request of a key that has sent too many requests. keyID is "" for a request without a key.
func (c *clients) admitKey(keyID string) error {
	if c.ofKey == nil || keyID == "" {
		return nil
	}
	if retry, ok := c.ofKey.Allow(keyID, time.Now()); !ok {
		return tooMany(retry, "This API key sends more requests than the server allows.")
	}
	return nil
}

// streamRetry is how long a client with too many long answers waits; nobody knows when one of them ends.
const streamRetry = 5 * time.Second

// admitStream refuses a long answer of a client that has too many already. Call release at the end of the answer.
func (c *clients) admitStream(r *exchange.Request) (release func(), err error) {
	name, slots, refusal := "", c.streamsOfKey, "This API key has more streams open than the server allows: limits.streams_per_key of its configuration."
	if i := r.Identity; i != nil && i.KeyID != "" {
		name = i.KeyID
	} else if address := c.address(r.Request); address.IsValid() {
		name, slots = ratelimit.NameOf(address), c.streams
		refusal = "This address has more streams open without an API key than the server allows: limits.streams_per_address of its configuration."
	} else {
		return func() {}, nil
	}
	release, ok := slots.Take(name)
	if !ok {
		return nil, tooMany(streamRetry, refusal)
	}
	return release, nil
}

func tooMany(retry time.Duration, detail string) error {
	e := problem.New(problem.TooManyRequests, "%s", detail)
	e.Retry = retry
	return e
}
