package doctor

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/runnelkv/runnel/cmd/runnel/internal/node"
	"github.com/runnelkv/runnel/config"
)

func (e *examination) listen() {
	e.listenAdmin()
	http := e.Config.HTTP
	if isLocalAddress(http.Listen) {
		e.add(OK, http.Listen, "only this machine can reach the server; every user of this machine can")
		return
	}
	missing := node.MissingDefences(e.Config)
	switch {
	case len(missing) > 0:
		e.add(Fail, http.Listen, "other machines can reach the server, which lacks %s", strings.Join(missing, " and "))
	case !http.TLS.IsSet():
		e.add(Warn, http.Listen, "machines that bypass the trusted proxies reach the server without TLS: let a firewall admit only the proxies")
	default:
		e.add(OK, http.Listen, "other machines can reach the server with a key, over TLS")
	}
}

// listenAdmin adds the finding for the listener for operators, if there is an address.
func (e *examination) listenAdmin() {
	switch address := e.Config.Admin.Listen; {
	case address == "":
	case isLocalAddress(address):
		e.add(OK, address, "only this machine can reach profiles and metrics")
	case e.Config.HTTP.TLS.ClientAuth == config.ClientRequire:
		e.add(OK, address, "other machines can reach profiles and metrics with a certificate")
	default:
		e.add(Fail, address, "other machines can reach profiles and metrics: set http.tls.client_auth = \"require\", or use a loopback address")
	}
}

// Networks with fewer bits in common belong to many owners.
const (
	wideIPv4 = 8
	wideIPv6 = 32
)

func (e *examination) trustedProxies() {
	for _, text := range e.Config.HTTP.TrustedProxies {
		networks, err := config.ParseProxies([]string{text})
		if err != nil {
			continue // package config has checked the networks
		}
		network := networks[0]
		switch bits := network.Bits(); {
		case bits == 0:
			e.add(Fail, text, "every client can pretend to be a proxy, and choose the address that logs and limits see: name the proxies")
		case network.Addr().Is4() && bits < wideIPv4, network.Addr().Is6() && bits < wideIPv6:
			e.add(Warn, text, "many machines can pretend to be a proxy: name the proxies")
		default:
			e.add(OK, text, "only these machines can pass on the address of a client")
		}
	}
}

func (e *examination) grants() {
	if e.File == "" {
		return // the embedded default grants nothing beyond loopback
	}
	_, warnings, err := config.Review(e.File, os.LookupEnv)
	if err != nil {
		e.add(Fail, e.File, "%v", err)
		return
	}
	warnings = slices.DeleteFunc(warnings, func(p config.Problem) bool { // which webhooks and databaseTLS add
		return strings.HasPrefix(p.Key, "partition[") || strings.HasPrefix(p.Key, "webhook[")
	})
	for _, w := range warnings {
		subject := w.File
		if w.Line > 0 { // a setting that is missing has no line
			subject = fmt.Sprintf("%s:%d", w.File, w.Line)
		}
		e.add(Warn, subject, "%s: %s", w.Key, w.Message)
	}
	if len(warnings) == 0 {
		e.add(OK, e.File, "no request is answered without a key, and each prefix of a grant ends with a slash")
	}
}

func (e *examination) webhooks() {
	for _, h := range e.Config.Webhooks {
		u, err := url.Parse(h.URL)
		if err != nil {
			continue // package config has checked the URL
		}
		if weakness := h.Weakness(); weakness != "" {
			e.add(Warn, u.Host, "%s", weakness)
		} else {
			e.add(OK, u.Host, "changes stay on this machine or are encrypted")
		}
	}
}

func (e *examination) databaseTLS() {
	for _, p := range e.Config.Partitions {
		switch weakness := p.URL.Weakness(); {
		case p.URL.Scheme != config.MySQL:
		case weakness != "":
			e.add(Warn, p.Name, "%s", weakness)
		case p.URL.Params["tls"] == "true":
			e.add(OK, p.Name, "the connection is encrypted, and the server's certificate is checked")
		default:
			e.add(OK, p.Name, "the connection stays on this machine")
		}
	}
}

// isLocalAddress reports whether host:port is on this machine's loopback. Package config has checked the address.
func isLocalAddress(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	return isLocal(host)
}

// isLocal reports whether a host name or address is this machine's loopback.
func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
