package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/store/ledger"
	"github.com/runnelkv/runnel/sync"
	"github.com/runnelkv/runnel/sync/files"
	"github.com/runnelkv/runnel/sync/webhook"
)

// Options describe a node.
type Options struct {
	Config   *config.Config
	File     string // the configuration file, which is read again at each SIGHUP; empty for none
	Version  string // of the program, for the status
	NoSync   bool   // the sync process runs elsewhere
	Insecure bool   // listen on any address, without keys and TLS
	Logger   *slog.Logger
	OnListen func(net.Addr) // called once, when the node accepts connections
}

// node holds the parts of a running process.
type node struct {
	file     string
	config   *config.Config
	insecure bool
	log      *slog.Logger
	logs     logFiles
	audit    *audit.Log // nil without an audit log
	store    *store.Store
	files    *file.Service // nil in a process that only syncs from a crontab
	keeper   *files.Keeper // nil if the sync process runs elsewhere
	ledger   *ledger.Ledger
	keys     *access.Registry // nil in a process that only syncs
	syncer   *sync.Syncer     // nil if the sync process runs elsewhere
	webhooks *webhook.Sender  // nil without webhooks or a syncer
	s3       net.Listener     // nil without the protocol of S3
	s3Ended  chan struct{}    // closed when the requests of S3 have ended
	secret   []byte           // of auth.secret_file; nil without
	api      *api.Server      // nil in a process that only syncs

	certificate *certificate // nil without TLS
}

// Serve runs a node until ctx ends. An address that other machines can reach is a usage error.
func Serve(ctx context.Context, o Options) error {
	tuneMemory(o.Logger)
	n, err := newNode(o)
	if err != nil {
		return err
	}
	listener, err := listen(ctx, o)
	if err != nil {
		return errors.Join(err, n.store.Close())
	}
	admin, err := listenAdmin(ctx, o.Config)
	if err != nil {
		return errors.Join(err, listener.Close(), n.store.Close())
	}
	if n.s3, err = n.listenS3(ctx, o); err != nil {
		return errors.Join(err, listener.Close(), n.store.Close())
	}
	o.OnListen(listener.Addr())
	return errors.Join(n.runParts(ctx, listener, admin), n.store.Close(), n.logs.close())
}

func newNode(o Options) (*node, error) {
	wake := make(chan struct{}, 1)
	n := &node{file: o.File, config: o.Config, insecure: o.Insecure, log: o.Logger, s3Ended: make(chan struct{})}
	var err error
	if o.Config.HTTP.TLS.IsSet() {
		if n.certificate, err = newCertificate(o.Config.HTTP.TLS, o.Logger); err != nil {
			return nil, err
		}
	}
	n.store, err = OpenStore(o.Config, o.Logger, store.Options{Promotes: !o.NoSync, OnReach: n.onReach, OnCommit: func() {
		select {
		case wake <- struct{}{}:
		default: // a pass is due anyway
		}
	}})
	if err != nil {
		return nil, err
	}
	if n.files, err = openFiles(o.Config, n.store, o.Logger); err != nil {
		return nil, errors.Join(err, n.store.Close())
	}
	n.ledger = ledger.New(n.store, ledger.Options{Logger: o.Logger})
	if !o.NoSync {
		n.keeper = newKeeper(o.Config, n.store, n.files, o.Logger)
		if n.syncer, err = NewSyncer(o.Config, n.store, o.Logger, wake); err != nil {
			return nil, errors.Join(err, n.store.Close())
		}
		if n.webhooks, err = n.newWebhooks(); err != nil {
			return nil, errors.Join(err, n.store.Close())
		}
	}
	if n.keys, err = n.newKeys(); err != nil {
		return nil, errors.Join(err, n.store.Close())
	}
	if n.logs, err = openLogFiles(o.Config.Log.Access, o.Config.Audit.File); err != nil {
		return nil, errors.Join(err, n.store.Close())
	}
	options := n.apiOptions(o.Version)
	if options.SignInSecret, err = signInSecret(o.Config.Auth); err != nil {
		return nil, errors.Join(err, n.logs.close(), n.store.Close())
	}
	n.secret = options.SignInSecret
	n.api = api.New(options)
	n.logAccess()
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
		Store:        n.store,
		Files:        n.files,
		Ledger:       n.ledger,
		Node:         hostName(),
		Version:      version,
		Logger:       n.log,
		Limits:       limits(n.config.HTTP),
		Hosts:        append(hosts(n.config.HTTP), hostOf(n.config.S3.Listen)),
		Origins:      n.config.HTTP.CORSOrigins,
		Memory:       int64(n.config.HTTP.RequestMemory),
		Keys:         n.keys,
		Certificates: certificates(n.config),
		Proxies:      proxies(n.config.HTTP),
		Rates:        rates(n.config.Limits),

		TerraformKeep: n.config.Terraform.Keep,
	}
	n.logRequests(&o)
	if n.syncer != nil {
		o.Syncer = syncAdapter{n.syncer}
	}
	o.Collectors = append(o.Collectors, filesCollector{n.files, n.keeper})
	if n.keeper != nil {
		o.FilesStatus = func() *wire.FilesStatus { return filesStatus(n.keeper.Status()) }
	}
	if n.certificate != nil {
		o.Collectors = append(o.Collectors, n.certificate.expiry)
	}
	if n.webhooks != nil {
		o.Collectors = append(o.Collectors, hookCollector{n.webhooks})
	}
	return o
}

// runParts runs the store, the sync process and the server until ctx ends or a part fails. Then runParts stops the
// parts in the reverse order of their start: first the requests, then the sync process, then the store with the writes
// that it has accepted. admin is nil without such a listener.
func (n *node) runParts(ctx context.Context, listener, admin net.Listener) error {
	background := context.WithoutCancel(ctx)
	storeCtx, stopStore := context.WithCancel(background)
	syncCtx, stopSync := context.WithCancel(background)
	defer stopStore()
	defer stopSync()
	server := n.newServer()

	var running errgroup.Group
	broken, breakOff := context.WithCancel(background)
	defer breakOff()
	failed, fail := context.WithCancelCause(ctx)
	start := func(run func() error) {
		running.Go(func() error {
			err := run()
			if fail(err); err != nil {
				breakOff()
			}
			return err
		})
	}
	start(func() error { return n.store.Run(storeCtx) })
	start(func() error { return n.keys.Run(storeCtx) })
	start(func() error { return n.ledger.Run(syncCtx) })
	start(func() error { return n.api.Run(syncCtx) })
	syncEnded := make(chan struct{})
	if n.syncer != nil {
		start(func() error { defer close(syncEnded); return n.sync(syncCtx) })
	} else {
		close(syncEnded)
	}
	start(func() error {
		if err := n.checkAdmin(failed); err != nil {
			return errors.Join(err, listener.Close())
		}
		return ignore(api.Serve(server, listener, api.Accepting{Max: n.maxConnections(), MaxIdle: n.config.HTTP.MaxIdleConnections, Logger: n.log}), http.ErrServerClosed)
	})
	start(func() error { return n.reloadOnSignals(failed) })
	if n.certificate != nil {
		start(func() error { return n.certificate.follow(failed) })
	}
	start(func() error { return n.serveS3(failed) })
	start(func() error { return n.serveAdmin(storeCtx, admin) })

	<-failed.Done()
	n.awaitDrain(ctx, broken)
	shutdownErr := n.shutDown(background, server)
	stopSync()
	<-syncEnded // the sync process releases its leases, some of them by writing
	stopStore()
	return errors.Join(running.Wait(), shutdownErr)
}

// awaitDrain serves on for the configured time after ctx has ended, while /readyz fails, and until a part has failed.
func (n *node) awaitDrain(ctx, broken context.Context) {
	n.api.Leave()
	if ctx.Err() == nil || n.config.HTTP.Drain == 0 { // a part has failed, or no load balancer waits
		return
	}
	n.log.Info("stopping: /readyz fails, and requests are served for a while", "drain", n.config.HTTP.Drain)
	select {
	case <-time.After(n.config.HTTP.Drain):
	case <-broken.Done():
	}
}

// shutDown closes the listener, then ends the streams, and answers the accepted requests.
func (n *node) shutDown(ctx context.Context, server *http.Server) error {
	n.log.Info("stopping: answering what was accepted")
	timeout := n.config.HTTP.ShutdownTimeout
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	server.RegisterOnShutdown(n.api.Drain)
	defer func() { <-n.s3Ended }() // which takes no longer
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("some requests were still in flight after %v: %w", timeout, err), server.Close())
	}
	return nil
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
