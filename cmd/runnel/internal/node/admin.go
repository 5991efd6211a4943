package node

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/config"
)

const (
	maxProfile   = 5 * time.Minute // longest duration of a profile
	maxOperators = 64              // connections of operators and monitoring
)

// listenAdmin listens on the address for operators; nil if there is no address. Remote clients need a certificate.
func listenAdmin(ctx context.Context, c *config.Config) (net.Listener, error) {
	address := c.Admin.Listen
	if address == "" {
		return nil, nil
	}
	if !isLoopback(address) && c.HTTP.TLS.ClientAuth != config.ClientRequire {
		return nil, console.UsageError(`will not listen on %s for operators: other machines reach the address, `+
			`so http.tls.client_auth must be "require"`, address)
	}
	return (&net.ListenConfig{}).Listen(ctx, "tcp", address)
}

// serveAdmin serves profiles and metrics to operators until ctx ends; nothing without a listener. Remote clients need TLS.
func (n *node) serveAdmin(ctx context.Context, listener net.Listener) error {
	if listener == nil {
		<-ctx.Done()
		return nil
	}
	server := &http.Server{
		Handler:           n.adminHandler(),
		ErrorLog:          log.New(&serverErrors{log: n.log}, "", 0),
		ReadHeaderTimeout: n.config.HTTP.ReadHeaderTimeout,
		ReadTimeout:       n.config.HTTP.ReadTimeout,
		WriteTimeout:      maxProfile + n.config.HTTP.WriteTimeout,
		IdleTimeout:       n.config.HTTP.IdleTimeout,
		MaxHeaderBytes:    int(n.config.HTTP.MaxHeaderBytes),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if !isLoopback(n.config.Admin.Listen) {
		server.TLSConfig = n.certificate.serverConfig()
	}
	err := api.Serve(server, listener, api.Accepting{Max: maxOperators, Logger: n.log})
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (n *node) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", n.api)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	names := hosts(n.config.HTTP)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header() // n.api sets its own
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", "sandbox; frame-ancestors 'none'")
		if !knownHost(r.Host, names) { // a name that somebody else makes resolve to this machine
			http.Error(w, "unknown host", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// knownHost reports whether the host of a request is an address, localhost or one of the names.
func knownHost(host string, names []string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return slices.ContainsFunc(append([]string{"localhost"}, names...), func(known string) bool { return strings.EqualFold(name, known) })
}
