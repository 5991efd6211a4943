package forwarded

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

var proxies = Proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("127.0.0.1/32")}

func TestClientIsTheFirstUntrustedAddress(t *testing.T) {
	for _, c := range []struct{ name, remote, forwarded, want string }{
		{"no proxy", "192.0.2.7:4000", "", "192.0.2.7"},
		{"a stranger forges the header", "192.0.2.7:4000", "10.0.0.1", "192.0.2.7"},
		{"a proxy without the header", "10.0.0.1:4000", "", "10.0.0.1"},
		{"a proxy", "10.0.0.1:4000", "192.0.2.7", "192.0.2.7"},
		{"two proxies", "10.0.0.1:4000", "192.0.2.7, 10.0.0.2", "192.0.2.7"},
		{"two fields", "10.0.0.1:4000", "192.0.2.7\n10.0.0.2", "192.0.2.7"},
		{"the client forges before the proxy", "10.0.0.1:4000", "198.51.100.1, 192.0.2.7", "192.0.2.7"},
		{"the client claims to be a proxy", "10.0.0.1:4000", "10.9.9.9, 192.0.2.7", "192.0.2.7"},
		{"all are proxies", "10.0.0.1:4000", "10.0.0.3, 10.0.0.2", "10.0.0.3"},
		{"with ports", "10.0.0.1:4000", "192.0.2.7:99", "192.0.2.7"},
		{"IPv6 with a port", "[fd00::1]:4000", "[2001:db8::7]:99", "2001:db8::7"},
		{"IPv6 in brackets", "[fd00::1]:4000", "[2001:db8::7]", "2001:db8::7"},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:4000", "::ffff:192.0.2.7", "192.0.2.7"},
		{"garbage behind a proxy", "10.0.0.1:4000", "192.0.2.7, nonsense", "10.0.0.1"},
		{"garbage before an address", "10.0.0.1:4000", "nonsense, 192.0.2.7", "192.0.2.7"},
		{"an empty element", "10.0.0.1:4000", "192.0.2.7,", "10.0.0.1"},
		{"unknown remote", "@", "192.0.2.7", "invalid IP"},
	} {
		header := http.Header{}
		if c.forwarded != "" {
			header["X-Forwarded-For"] = strings.Split(c.forwarded, "\n")
		}
		got := proxies.Client(c.remote, header)
		if got.String() != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}

// TestProxiesStateTheProtocol: only a trusted proxy says that the client speaks HTTPS.
func TestProxiesStateTheProtocol(t *testing.T) {
	for _, c := range []struct {
		remote string
		tls    bool
		fields []string
		want   bool
	}{
		{"192.0.2.7:1", false, nil, false},
		{"192.0.2.7:1", false, []string{"https"}, false},
		{"192.0.2.7:1", true, []string{"http"}, true},
		{"@", false, []string{"https"}, false},
		{"10.0.0.1:1", false, nil, false},
		{"10.0.0.1:1", true, nil, true},
		{"10.0.0.1:1", false, []string{"https"}, true},
		{"10.0.0.1:1", false, []string{"HTTPS"}, true},
		{"10.0.0.1:1", false, []string{"https, http"}, false},
		{"10.0.0.1:1", false, []string{"https", "http"}, false},
		{"10.0.0.1:1", true, []string{"http"}, false},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-Proto": c.fields}}
		if c.tls {
			r.TLS = &tls.ConnectionState{}
		}
		if got := proxies.Secure(r); got != c.want {
			t.Errorf("%s, TLS %v, %q: %v", c.remote, c.tls, c.fields, got)
		}
	}
}

func FuzzClient(f *testing.F) {
	f.Add("192.0.2.7, 10.0.0.2")
	f.Add("[::1]:80,,")
	f.Fuzz(func(t *testing.T, field string) {
		header := http.Header{"X-Forwarded-For": {field}}
		if got := proxies.Client("10.0.0.1:4000", header); !got.IsValid() {
			t.Errorf("%q: no address", field)
		}
		if got := proxies.Client("192.0.2.7:4000", header); got.String() != "192.0.2.7" {
			t.Errorf("%q: a stranger became %v", field, got)
		}
	})
}
