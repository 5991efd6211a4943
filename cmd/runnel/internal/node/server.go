package node

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/config"
)

// listen listens on the configured address.
func listen(ctx context.Context, o Options) (net.Listener, error) {
	address := o.Config.HTTP.Listen
	if _, err := net.ResolveTCPAddr("tcp", address); err != nil {
		return nil, console.UsageError("listen address %q: %v", address, err)
	}
	if err := checkExposure(o, address); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("another program listens on %s: choose another address with --listen ADDR or http.listen (%w)", address, err)
	}
	return listener, err
}

// checkExposure returns the missing defences of an address that other machines can reach. With Options.Insecure they are only
// logged.
func checkExposure(o Options, address string) error {
	if isLoopback(address) {
		return nil
	}
	lacks := strings.Join(MissingDefences(o.Config), " and ")
	if o.Insecure {
		o.Logger.Warn("other machines reach this server, and without a key every request is answered", "address", address, "missing", lacks)
		return nil
	}
	if lacks == "" {
		return nil // checkAdmin follows
	}
	return console.UsageError("will not listen on %s without %s: keys and values would travel in clear text; use a loopback address such as "+
		"127.0.0.1:8080, or --insecure in a network where everyone may do everything", address, lacks)
}

// MissingDefences returns the defences that a configuration lacks for a server that is reachable from elsewhere.
func MissingDefences(c *config.Config) []string {
	if !c.HTTP.TLS.IsSet() && len(c.HTTP.TrustedProxies) == 0 {
		return []string{"TLS (http.tls, or http.trusted_proxies that terminate TLS)"}
	}
	return nil
}

// serverErrors receives the log lines of net/http. Most lines are about clients that disconnect; they are logged for
// debugging only. A failure to accept connections, for want of file descriptors, is logged as an error, but at most once
// in acceptErrorEvery: net/http repeats it up to 200 times a second.
type serverErrors struct {
	log  *slog.Logger
	last atomic.Int64 // time of the last error line, in nanoseconds since 1970
}

// acceptErrorEvery is the least time between two errors about connections that cannot be accepted.
const acceptErrorEvery = 10 * time.Second

func (e *serverErrors) Write(line []byte) (int, error) {
	text, now := strings.TrimSpace(string(line)), time.Now().UnixNano()
	failure, accepting := strings.CutPrefix(text, "http: Accept error: ")
	switch last := e.last.Load(); {
	case !accepting:
		e.log.Debug(text)
	case now-last >= int64(acceptErrorEvery) && e.last.CompareAndSwap(last, now):
		e.log.Error("connections cannot be accepted; databases and copies may fail for the same reason", "error", failure)
	}
	return len(line), nil
}

func (n *node) newServer() *http.Server {
	server := &http.Server{
		Handler:  n.api,
		ErrorLog: log.New(&serverErrors{log: n.log}, "", 0),
	}
	limits(n.config.HTTP).Apply(server)
	if n.certificate != nil {
		server.TLSConfig = n.certificate.serverConfig()
	}
	return server
}

// maxConnections returns the limit of client connections: the configured limit, or otherwise the file descriptors that
// databases and files leave.
func (n *node) maxConnections() int {
	const (
		reserved = 64    // logs, listeners, webhooks and other files
		most     = 16384 // far more than a process can serve
	)
	if n.config.HTTP.MaxConnections > 0 {
		return n.config.HTTP.MaxConnections
	}
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) != nil {
		return most
	}
	needed := reserved
	for _, p := range n.config.Partitions {
		needed += p.MaxConnections
		if p.URL.Scheme == config.SQLite {
			needed += p.MaxConnections // the write-ahead log of each connection
		}
	}
	limit := int(min(files.Cur, 1<<20))
	return min(most, max(limit-needed, limit/4))
}

// hosts returns the names of the server: requests for foreign names are refused.
func hosts(c config.HTTP) []string {
	return append([]string{hostOf(c.Listen)}, c.Hosts...)
}

// hostOf returns the host of an address; "" without a host.
func hostOf(address string) string {
	host, _, _ := net.SplitHostPort(address) // package config has checked the address
	return host
}

func limits(c config.HTTP) api.Limits {
	return api.Limits{
		Header:      c.ReadHeaderTimeout,
		Body:        c.ReadTimeout,
		Write:       c.WriteTimeout,
		Idle:        c.IdleTimeout,
		HeaderBytes: int(c.MaxHeaderBytes),
	}
}

func rates(c config.Limits) api.Rates {
	return api.Rates{
		Requests: c.RequestsPerAddress, OfKey: c.RequestsPerKey, Failures: c.FailuresPerAddress,
		Streams: c.StreamsPerAddress, StreamsOfKey: c.StreamsPerKey,
	}
}

// proxies returns the networks of the trusted proxies.
func proxies(c config.HTTP) []netip.Prefix {
	networks, _ := config.ParseProxies(c.TrustedProxies) // package config has checked the networks
	return networks
}
