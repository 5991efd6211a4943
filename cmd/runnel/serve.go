package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/sync"
	"github.com/runnelkv/runnel/sync/webhook"
)

const serveLong = `Serve the HTTP API over the partitions of a configuration, with the sync process inside.

Without --config it runs three embedded SQLite partitions in --data, the first of them the master: nothing to
install, nothing to set up. With --config FILE it runs on the MySQL, MariaDB or SQLite databases that the file
names, and creates missing databases and tables there when the account may.

SIGTERM or an interrupt stops it: what was accepted is answered first. SIGHUP reads the file again: a new
[[partition]] joins without a restart; a faulty file changes nothing.

Until API keys are configured it listens on loopback addresses only.`

type serveFlags struct {
	configFlags
	listen string
	noSync bool
}

func newServe(p *program) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Serve the HTTP API, with the sync process inside",
		Long:    serveLong,
		Example: "  runnel serve\n  runnel serve --data /var/lib/runnel --listen 127.0.0.1:9000\n  runnel serve --config /etc/runnel.toml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.serve(cmd.Context(), f)
		},
	}
	f.define(cmd)
	cmd.Flags().StringVar(&f.listen, "listen", "", "listen on `ADDR`, whatever the configuration says")
	cmd.Flags().BoolVar(&f.noSync, "no-sync", false, "leave the sync process to 'runnel sync'")
	return cmd
}

// serve runs a node until ctx ends.
func (p *program) serve(ctx context.Context, f serveFlags) error {
	c, err := f.load()
	if err == nil {
		err = f.prepareData()
	}
	if err != nil {
		return err
	}
	if f.listen != "" {
		c.HTTP.Listen = f.listen
	}
	log := newLogger(p.Err, c.Log)
	p.tuneMemory(log)
	n, err := newNode(c, log, !f.noSync)
	if err != nil {
		return err
	}
	listener, err := listenLoopback(ctx, c.HTTP.Listen)
	if err != nil {
		return errors.Join(err, n.store.Close())
	}
	p.welcome(f, listener.Addr())
	err = n.run(ctx, listener, f.configFlags)
	return errors.Join(err, n.store.Close())
}

// listenLoopback listens on an address that only this machine can reach.
func listenLoopback(ctx context.Context, address string) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, console.UsageError("listen address %q: %v", address, err)
	}
	if !tcp.IP.IsLoopback() {
		return nil, console.UsageError("will not listen on %s: without API keys anyone who reaches it could write; "+
			"use a loopback address such as 127.0.0.1:8080 behind a proxy that authenticates", address)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("another program listens on %s: choose another address with --listen ADDR or http.listen (%w)", address, err)
	}
	return listener, err
}

// welcome tells how to use a server that was started without a configuration.
func (p *program) welcome(f serveFlags, address net.Addr) {
	url := "http://" + address.String()
	if f.file != "" {
		fmt.Fprintf(p.Out, "runnel serves %s\n", url)
		return
	}
	fmt.Fprintf(p.Out, `runnel serves %[1]s from three SQLite partitions in %[2]s

  curl -X PUT --data-binary 'hello' %[1]s/v1/keys/greeting     write a value
  curl '%[1]s/v1/keys/greeting?consistency=master'             read it
  curl '%[1]s/v1/keys?prefix=gr'                              list keys
  curl -X DELETE %[1]s/v1/keys/greeting                       delete it
  curl %[1]s/v1/status                                        see the partitions

Without consistency=master any partition answers a read, which for a moment can be what stood there before.
Stop it with Ctrl-C; the data stays in %[2]s.
`, url, f.data)
}

// node is everything that one 'runnel serve' runs.
type node struct {
	config *config.Config
	log    *slog.Logger
	store  *store.Store
	syncer *sync.Syncer // nil: the sync process runs elsewhere
	api    *api.Server

	webhooks *webhook.Webhooks // nil: none, or the sync process runs elsewhere
}

func newNode(c *config.Config, log *slog.Logger, withSync bool) (*node, error) {
	wake := make(chan struct{}, 1)
	n := &node{config: c, log: log}
	s, err := openStore(c, log, store.Options{OnReach: n.onReach, OnCommit: func() {
		select {
		case wake <- struct{}{}:
		default: // a pass is due already
		}
	}})
	if err != nil {
		return nil, err
	}
	n.store = s
	if withSync {
		if n.syncer, err = newSyncer(c, s, log, wake); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		n.webhooks = n.newWebhooks()
	}
	n.api = api.New(n.apiOptions())
	return n, nil
}

// onReach makes a pass when a partition becomes usable, however long the schedule
// would have it wait. The store calls it only while it runs: n.syncer is set then.
func (n *node) onReach() {
	if n.syncer != nil {
		n.syncer.Trigger()
	}
}

func (n *node) apiOptions() api.Options {
	o := api.Options{
		Store:   n.store,
		Node:    hostName(),
		Version: buildVersion().Version,
		Logger:  n.log,
		Limits:  limits(n.config.HTTP),
		Hosts:   hosts(n.config.HTTP),
		Memory:  int64(n.config.HTTP.RequestMemory),
	}
	if n.log.Enabled(context.Background(), slog.LevelDebug) {
		o.Access = n.log
	}
	if n.syncer != nil {
		o.Syncer = passes{n.syncer}
	}
	if n.webhooks != nil {
		o.Collectors = append(o.Collectors, hookCollector{n.webhooks})
	}
	return o
}

// run serves until ctx ends, then stops in the reverse order of starting:
// requests first, then sync, then the store with what it has accepted.
func (n *node) run(ctx context.Context, listener net.Listener, f configFlags) error {
	background := context.WithoutCancel(ctx)
	storeCtx, stopStore := context.WithCancel(background)
	syncCtx, stopSync := context.WithCancel(background)
	defer stopStore()
	defer stopSync()
	server := n.newServer()

	var running errgroup.Group
	failed, fail := context.WithCancelCause(ctx)
	start := func(run func() error) {
		running.Go(func() error {
			err := run()
			fail(err)
			return err
		})
	}
	start(func() error { return n.store.Run(storeCtx) })
	syncEnded := make(chan struct{})
	if n.syncer != nil {
		start(func() error { defer close(syncEnded); return n.runSync(syncCtx) })
	} else {
		close(syncEnded)
	}
	start(func() error {
		return ignore(api.Serve(server, listener, api.Accepting{Max: n.maxConnections(), Logger: n.log}), http.ErrServerClosed)
	})
	reloads, stop := notifyReload()
	defer stop()
	start(func() error { return n.reloadOn(failed, reloads, f) })

	<-failed.Done()
	n.log.Info("stopping: answering what was accepted")
	n.api.Drain()
	shutdownCtx, cancel := context.WithTimeout(background, n.config.HTTP.ShutdownTimeout)
	defer cancel()
	shutdownErr := server.Shutdown(shutdownCtx)
	if shutdownErr != nil {
		shutdownErr = errors.Join(fmt.Errorf("some requests were still under way after %v: %w", n.config.HTTP.ShutdownTimeout, shutdownErr), server.Close())
	}
	stopSync()
	<-syncEnded // it gives its leases up, some of them by writing
	stopStore()
	return errors.Join(running.Wait(), shutdownErr)
}

// serverErrors takes the lines that net/http logs. Most are of clients that break off, and
// for debugging only. That no connection can be accepted, for want of file descriptors,
// is for everybody: but net/http says so up to 200 times a second.
type serverErrors struct {
	log  *slog.Logger
	last atomic.Int64 // when it was said, in nanoseconds since 1970
}

// acceptErrorEvery is the least time between two lines about connections that cannot be accepted.
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
	return server
}

// maxConnections is how many clients may be connected: as configured, or what
// the process's file descriptors leave after its databases and files.
func (n *node) maxConnections() int {
	const (
		others = 64    // logs, listeners, webhooks and other files
		most   = 16384 // which is far from what a process can serve
	)
	if n.config.HTTP.MaxConnections > 0 {
		return n.config.HTTP.MaxConnections
	}
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) != nil {
		return most
	}
	needed := others
	for _, p := range n.config.Partitions {
		needed += p.MaxConnections
		if p.URL.Scheme == config.SQLite {
			needed += p.MaxConnections // the log of each connection
		}
	}
	limit := int(min(files.Cur, 1<<20))
	return min(most, max(limit-needed, limit/4))
}

// hosts are the names that the server answers for.
func hosts(c config.HTTP) []string {
	host, _, _ := net.SplitHostPort(c.Listen) // which config has checked
	return append([]string{host}, c.Hosts...)
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

func notifyReload() (<-chan os.Signal, func()) {
	reloads := make(chan os.Signal, 1)
	signal.Notify(reloads, syscall.SIGHUP)
	return reloads, func() { signal.Stop(reloads) }
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

func ignore(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}
