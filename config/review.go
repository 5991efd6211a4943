package config

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// Review is Load, and also returns what a valid file exposes to others, as warnings in the order of lines.
func Review(path string, env Lookup) (c *Config, warnings Problems, err error) {
	r, c, err := load(path, env)
	if err != nil {
		return nil, nil, err
	}
	w := &report{file: path, lines: r.lines}
	w.exposure(c)
	w.openPrefixes(c)
	w.weaknesses(c)
	w.sort()
	return c, w.problems, nil
}

// exposure reports which requests are answered.
func (r *report) exposure(c *Config) {
	a := c.Auth.Anonymous
	if len(c.Certificates) > 0 && (!c.HTTP.TLS.IsSet() || c.HTTP.TLS.ClientAuth == ClientNone) {
		r.addf("certificate", "has no effect: http.tls.client_auth asks for no certificate")
	}
	if !a.isZero() {
		r.addf("auth.anonymous", "requests without a key are answered: %s", describeGrants(a))
	}
	for i, origin := range c.HTTP.CORSOrigins {
		r.addf(element("http.cors_origins", i), "pages of %s may read and change everything that their requests are granted", origin)
	}
	exposed := false
	for _, l := range []struct{ key, address string }{{"http.listen", c.HTTP.Listen}, {"s3.listen", c.S3.Listen}} {
		host, _, _ := net.SplitHostPort(l.address) // valid, or "" for no listener
		if l.address == "" || isLoopback(host) {
			continue
		}
		exposed = true
		if !c.HTTP.TLS.IsSet() && len(c.HTTP.TrustedProxies) == 0 {
			r.addf(l.key, "other machines reach this address without TLS: keys and values travel in clear text")
		}
		if !slices.ContainsFunc(c.Keys, func(k Key) bool { return slices.Contains(k.Roles, "admin") }) {
			r.addf(l.key, "other machines reach this address, and no [[key]] has the role admin: "+
				"while every database is away, no key is valid")
		}
	}
	if !exposed && a.isZero() && len(c.Keys) == 0 {
		r.addf("http.listen", "until the store has a key, every program on this machine may do everything: see 'runnel key create'")
	}
}

func describeGrants(g Grants) string {
	parts := append(slices.Clone(g.Roles), g.Rights...)
	for _, p := range g.Prefixes {
		parts = append(parts, fmt.Sprintf("%s %q", p.Access, p.Prefix))
	}
	return strings.Join(parts, ", ")
}

// openPrefixes reports prefixes that match more names than their authors may expect.
func (r *report) openPrefixes(c *Config) {
	check := func(table, prefix string) {
		if prefix != "" && !strings.HasSuffix(prefix, "/") {
			r.addf(table+".prefix", `%q does not end in "/", so it matches %q too`, prefix, prefix+"-x")
		}
	}
	checkAll := func(key string, prefixes []PrefixAccess) {
		for i, p := range prefixes {
			check(element(key+".prefixes", i), p.Prefix)
		}
	}
	checkAll("auth.anonymous", c.Auth.Anonymous.Prefixes)
	for i, q := range c.Quotas {
		check(element("quota", i), q.Prefix)
	}
	for i, k := range c.Keys {
		checkAll(element("key", i), k.Prefixes)
	}
}

// weaknesses reports connections to other machines that are not encrypted, or whose other end is not verified.
func (r *report) weaknesses(c *Config) {
	for i, p := range c.Partitions {
		if weakness := p.URL.Weakness(); weakness != "" {
			r.addf(element("partition", i)+".url", "%s", weakness)
		}
	}
	for i, h := range c.Webhooks {
		if weakness := h.Weakness(); weakness != "" {
			r.addf(element("webhook", i)+".url", "%s", weakness)
		}
	}
}

// Weakness says why others may read or change what travels to a database beyond this machine; "" if nobody can.
func (u URL) Weakness() string {
	if u.Scheme != MySQL || u.isSocket() || isLoopback(u.Host) {
		return ""
	}
	switch u.Params["tls"] {
	case "true":
		return ""
	case "preferred":
		return "tls=preferred verifies nothing, and falls back to plain text when no TLS is offered, so whoever sits in between can read and change everything: " + useTLS
	case "skip-verify":
		return "tls=skip-verify encrypts, but verifies nothing, so whoever sits in between can read and change everything: " + useTLS
	}
	return "values travel unencrypted, so whoever sits in between can read and change everything: " + useTLS
}

const useTLS = "use tls=true, with ca=FILE for an authority of your own"

// isLoopback reports whether a host name or address is this machine's loopback.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Weakness says why others may read or change what travels to an endpoint beyond this machine; "" if nobody can.
func (h Webhook) Weakness() string {
	if u, err := url.Parse(h.URL); err != nil || u.Scheme == "https" || isLoopback(u.Hostname()) {
		return ""
	}
	return "changes travel unencrypted: use https"
}
