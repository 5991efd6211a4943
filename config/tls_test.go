package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/test/certs"
)

func TestFaultyTLSIsNamed(t *testing.T) {
	ca := certs.NewAuthority(t)
	pair, other := ca.Issue(t, certs.Names{}), ca.Issue(t, certs.Names{})
	both := fmt.Sprintf("cert = %q\nkey = %q\n", pair.Cert, pair.Key)
	for name, test := range map[string]struct{ section, want string }{
		"no certificate":     {fmt.Sprintf("key = %q", pair.Key), "http.tls.cert: is missing"},
		"no key":             {fmt.Sprintf("cert = %q", pair.Cert), "http.tls.key: is missing"},
		"foreign key":        {fmt.Sprintf("cert = %q\nkey = %q", pair.Cert, other.Key), "http.tls.cert: " + pair.Cert + " and " + other.Key + " are not a certificate and its key"},
		"absent file":        {"cert = 'nothing.pem'\nkey = 'nothing.pem'", "http.tls.cert: stat nothing.pem"},
		"clients, no server": {fmt.Sprintf("client_auth = 'require'\nclient_ca = %q", ca.File), "http.tls.client_auth: needs"},
		"clients of nobody":  {both + "client_auth = 'request'", "http.tls.client_ca: is missing"},
		"authority in vain":  {both + fmt.Sprintf("client_ca = %q", ca.File), "http.tls.client_ca: has no effect"},
		"authority's file":   {both + fmt.Sprintf("client_auth = 'require'\nclient_ca = %q", pair.Key), "http.tls.client_ca: " + pair.Key + " holds no certificate"},
		"unknown word":       {both + "client_auth = 'yes'", `http.tls.client_auth: must be "none", "request" or "require"`},
	} {
		_, err := config.Parse("f", []byte("[http.tls]\n"+test.section+"\n"+good), nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestAnExpiredCertificateIsRead: clients decide whether they accept it, and a restart must not be an outage.
func TestAnExpiredCertificateIsRead(t *testing.T) {
	ca := certs.NewAuthority(t)
	pair := ca.Issue(t, certs.Names{Expires: -time.Hour})
	c := parse(t, fmt.Sprintf("http.tls = {cert = %q, key = %q, client_ca = %q, client_auth = 'require'}\n", pair.Cert, pair.Key, ca.File)+good, nil)
	cert, err := c.HTTP.TLS.ReadCert()
	if err != nil || cert.Leaf == nil || time.Now().Before(cert.Leaf.NotAfter) {
		t.Errorf("%v, %v", cert, err)
	}
	if pool, err := c.HTTP.TLS.ReadClientCA(); err != nil || !pool.Equal(ca.Pool) {
		t.Errorf("%v, %v", pool, err)
	}
}

func TestProxiesAreNetworks(t *testing.T) {
	c := parse(t, "http.trusted_proxies = ['10.0.0.7', '10.1.0.0/16', '::ffff:10.0.0.8', '2001:db8::/32']\n"+good, nil)
	networks, err := config.ParseProxies(c.HTTP.TrustedProxies)
	if got := fmt.Sprint(networks); err != nil || got != "[10.0.0.7/32 10.1.0.0/16 10.0.0.8/32 2001:db8::/32]" {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range []string{"", "proxy", "10.0.0.7/8", "10.0.0.7:80", "fe80::1%eth0", "10.0.0.0/33", "::ffff:10.0.0.0/104"} {
		_, err := config.Parse("f", []byte(fmt.Sprintf("http.trusted_proxies = [%q]\n", bad)+good), nil)
		if err == nil || !strings.Contains(err.Error(), "f:1: http.trusted_proxies[0]: must be an address or a network") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestOriginsAreThoseThatBrowsersSend(t *testing.T) {
	parse(t, "http.cors_origins = ['https://app.example.org', 'http://localhost:3000', 'https://[2001:db8::1]:8443', 'https://xn--bcher-kva.example']\n"+good, nil)
	for bad, want := range map[string]string{
		"*":                             "lets the pages of every site in",
		"":                              "must be an exact origin",
		"null":                          "must be an exact origin",
		"app.example.org":               "must be an exact origin",
		"ftp://app.example.org":         "must be an exact origin",
		"https://":                      "must be an exact origin",
		"https://*.example.org":         "must be an exact origin",
		"https://bücher.example":        "must be an exact origin",
		"https://app.example.org/":      "without a path",
		"https://app.example.org/x":     "without a path",
		"https://app.example.org?x":     "without a path",
		"https://app.example.org#x":     "without a path",
		"https://me@app.example.org":    "without a path, a user",
		"https://App.example.org":       "in lower case",
		"HTTPS://app.example.org":       "exact origin",
		"https://app.example.org:443":   "no port for https",
		"http://app.example.org:80":     "no port for http",
		"https://app.example.org:":      "no port for https",
		"https://app.example.org:0443":  "its port must be",
		"https://app.example.org:0":     "its port must be",
		"https://app.example.org:7e4":   "must be an exact origin",
		"https://app.example.org:65536": "its port must be",
	} {
		_, err := config.Parse("f", []byte(fmt.Sprintf("http.cors_origins = ['https://a.example', %q]\n", bad)+good), nil)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("f:1: http.cors_origins[1]: %q: ", bad)) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestCertificatesNameKeys(t *testing.T) {
	section := func(san, key string) string { return fmt.Sprintf("[[certificate]]\nsan = %q\nkey = %q\n", san, key) }
	c := parse(t, good+section("spiffe://example.org/app", "abcdefghij")+section("app.example.org", "abcdefghij"), nil)
	if len(c.Certificates) != 2 || c.Certificates[1] != (config.Certificate{SAN: "app.example.org", Key: "abcdefghij"}) {
		t.Errorf("%+v", c.Certificates)
	}
	for source, want := range map[string]string{
		section("", "abcdefghij"):                               "f:5: certificate[0].san: must be a URI",
		section("a", "rnl_abc"):                                 "f:6: certificate[0].key: must be the id",
		section("a", "abcdefghij") + section("a", "bcdefghijk"): "f:8: certificate[1].san: has a section already",
	} {
		if _, err := config.Parse("f", []byte(good+source), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", source, err, want)
		}
	}
}
