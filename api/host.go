package api

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/runnelkv/runnel/api/internal/problem"
)

// checkHost refuses a request for a name that is not configured. Such a name
// may belong to another site that made it resolve to this server (DNS
// rebinding), so that a browser takes that site's pages for pages of this one.
// Addresses and localhost cannot be rebound; only programs send no name at all.
func (s *Server) checkHost(r *http.Request) error {
	if s.options.Hosts == nil || r.Host == "" {
		return nil
	}
	name, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		name = strings.Trim(r.Host, "[]")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	name = strings.TrimSuffix(name, ".")
	if strings.EqualFold(name, "localhost") || slices.ContainsFunc(s.options.Hosts, func(h string) bool { return strings.EqualFold(name, h) }) {
		return nil
	}
	return problem.New(problem.UnknownHost, "This server is not configured to answer for the host %s; http.hosts of its configuration lists the names.", printable(name))
}
