package forwarded

import (
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the networks of the trusted proxies.
type Proxies []netip.Prefix

// Contain reports whether the address belongs to a trusted proxy.
func (p Proxies) Contain(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	for _, network := range p {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

// Client returns the address of the client of a request. Header fields count only if the connection comes from a
// trusted proxy. The result is invalid if remote (http.Request.RemoteAddr) is no address, as with a socket file.
func (p Proxies) Client(remote string, header http.Header) netip.Addr {
	port, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	client := port.Addr().Unmap()
	if len(p) == 0 || !p.Contain(client) {
		return client
	}
	chain := header["X-Forwarded-For"]
	for i := len(chain) - 1; i >= 0; i-- {
		list := chain[i]
		for list != "" {
			var last string
			list, last = cutLast(list)
			hop, ok := parseHop(last)
			if !ok {
				return client // no proxy wrote this: trust nothing beyond
			}
			if client = hop; !p.Contain(hop) {
				return client
			}
		}
	}
	return client
}

// cutLast returns the text before and after the last comma.
func cutLast(list string) (before, last string) {
	i := strings.LastIndexByte(list, ',')
	if i < 0 {
		return "", list
	}
	return list[:i], list[i+1:]
}

// parseHop parses an element of X-Forwarded-For: an address, with a port in some proxies.
func parseHop(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if address, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return address.Unmap(), true
	}
	port, err := netip.ParseAddrPort(text)
	return port.Addr().Unmap(), err == nil
}

// Secure reports whether the client speaks HTTPS: to a trusted proxy that says so in X-Forwarded-Proto, or, without such
// a field, to this server. The last element counts, since earlier elements may come from the client.
func (p Proxies) Secure(r *http.Request) bool {
	given := r.Header["X-Forwarded-Proto"]
	port, err := netip.ParseAddrPort(r.RemoteAddr)
	if len(given) == 0 || err != nil || !p.Contain(port.Addr()) {
		return r.TLS != nil
	}
	_, last := cutLast(given[len(given)-1])
	return strings.EqualFold(strings.TrimSpace(last), "https")
}
