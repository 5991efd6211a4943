package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/sync"
	"github.com/runnelkv/runnel/sync/webhook"
)

// Options describe a node.
type Options struct {
	Config   *config.Config
	File     string // the configuration file, which is read again at each SIGHUP; empty for none
	Version  string // of the program, for the status
	NoSync   bool   // the sync process runs elsewhere
	Logger   *slog.Logger
	OnListen func(net.Addr) // called once, when the node accepts connections
}

// node holds the parts of a running process.
type node struct {
	file     string
	config   *config.Config
	log      *slog.Logger
	store    *store.Store
	syncer   *sync.Syncer    // nil if the sync process runs elsewhere
	webhooks *webhook.Sender // nil without webhooks or a syncer
	api      *api.Server     // nil in a process that only syncs
}

// Serve runs a node until ctx ends. An address that other machines can reach is a usage error.
func Serve(ctx context.Context, o Options) error {
	tuneMemory(o.Logger)
	n, err := newNode(o)
	if err != nil {
		return err
	}
	listener, err := listenLoopback(ctx, o.Config.HTTP.Listen)
	if err != nil {
		return errors.Join(err, n.store.Close())
	}
	o.OnListen(listener.Addr())
	return errors.Join(n.runParts(ctx, listener), n.store.Close())
}

func newNode(o Options) (*node, error) {
	wake := make(chan struct{}, 1)
	n := &node{file: o.File, config: o.Config, log: o.Logger}
	var err error
	n.store, err = OpenStore(o.Config, o.Logger, store.Options{OnReach: n.onReach, OnCommit: func() {
		select {
		case wake <- struct{}{}:
		default: // a pass is due anyway
		}
	}})
	if err != nil {
		return nil, err
	}
	if !o.NoSync {
		if n.syncer, err = NewSyncer(o.Config, n.store, o.Logger, wake); err != nil {
			return nil, errors.Join(err, n.store.Close())
		}
		n.webhooks = n.newWebhooks()
	}
	n.api = api.New(n.apiOptions(o.Version))
	return n, nil
}

// onReach starts a pass when a partition becomes usable, independently of the schedule. The store calls onReach only
// while the store runs, when n.syncer is set.
func (n *node) onReach() {
	if n.syncer != nil {
		n.syncer.Trigger()
	}
}

func (n *node) apiOptions(version string) api.Options {
	o := api.Options{
		Store:   n.store,
		Node:    hostName(),
		Version: version,
		Logger:  n.log,
		Limits:  limits(n.config.HTTP),
		Hosts:   hosts(n.config.HTTP),
		Memory:  int64(n.config.HTTP.RequestMemory),
	}
	if n.log.Enabled(context.Background(), slog.LevelDebug) {
		o.Access = n.log
	}
	if n.syncer != nil {
		o.Syncer = syncAdapter{n.syncer}
	}
	if n.webhooks != nil {
		o.Collectors = append(o.Collectors, hookCollector{n.webhooks})
	}
	return o
}

// runParts runs the store, the sync process and the server until ctx ends or a part fails. Then runParts stops the
// parts in the reverse order of their start: first the requests, then the sync process, then the store with the writes
// that it has accepted.
func (n *node) runParts(ctx context.Context, listener net.Listener) error {
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
		start(func() error { defer close(syncEnded); return n.sync(syncCtx) })
	} else {
		close(syncEnded)
	}
	start(func() error {
		return ignore(api.Serve(server, listener, api.Accepting{Max: n.maxConnections(), Logger: n.log}), http.ErrServerClosed)
	})
	start(func() error { return n.reloadOnSignals(failed) })

	<-failed.Done()
	n.log.Info("stopping: answering what was accepted")
	n.api.Drain()
	shutdownCtx, cancel := context.WithTimeout(background, n.config.HTTP.ShutdownTimeout)
	defer cancel()
	shutdownErr := server.Shutdown(shutdownCtx)
	if shutdownErr != nil {
		shutdownErr = errors.Join(fmt.Errorf("some requests were still in flight after %v: %w", n.config.HTTP.ShutdownTimeout, shutdownErr), server.Close())
	}
	stopSync()
	<-syncEnded // the sync process releases its leases, some of them by writing
	stopStore()
	return errors.Join(running.Wait(), shutdownErr)
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
