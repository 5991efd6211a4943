package node

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// listenS3 listens on the address for tools that speak the protocol of S3; nil if there is no address. The rules are those of
// http.listen.
func (n *node) listenS3(ctx context.Context, o Options) (net.Listener, error) {
	address := o.Config.S3.Listen
	if address == "" {
		return nil, nil
	}
	if err := checkExposure(o, address); err != nil {
		return nil, err
	}
	if n.secret == nil && (len(o.Config.Keys) > 0 || exposed(o.Config) != "" && !o.Insecure) {
		return nil, console.UsageError("s3.listen needs auth.secret_file, from which the S3 secrets of the API keys are derived")
	}
	return (&net.ListenConfig{}).Listen(ctx, "tcp", address)
}

// serveS3 serves the protocol of S3 until ctx ends. Without a secret no key can be used, and as soon as there is a key every
// request is refused.
func (n *node) serveS3(ctx context.Context) error {
	defer close(n.s3Ended)
	if n.s3 == nil {
		<-ctx.Done()
		return nil
	}
	door := n.api.S3(n.config.S3.Domain, n.secret)
	server := &http.Server{
		Handler:           door,
		ErrorLog:          log.New(&serverErrors{log: n.log}, "", 0),
		ReadHeaderTimeout: n.config.HTTP.ReadHeaderTimeout, // the door bounds the time of bodies and answers
		IdleTimeout:       n.config.HTTP.IdleTimeout,
		MaxHeaderBytes:    int(n.config.HTTP.MaxHeaderBytes),
	}
	if n.certificate != nil {
		server.TLSConfig = n.certificate.serverConfig()
	}
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return door.Run(ctx) })
	running.Go(func() error {
		<-ctx.Done()
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.config.HTTP.ShutdownTimeout)
		defer cancel()
		if server.Shutdown(bound) != nil {
			return server.Close()
		}
		return nil
	})
	running.Go(func() error {
		err := api.Serve(server, n.s3, api.Accepting{Max: n.maxConnections(), MaxIdle: n.config.HTTP.MaxIdleConnections, Logger: n.log})
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	return running.Wait()
}
