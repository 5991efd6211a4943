package testbed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"time"
)

// GCPercent is GOGC of "runnel serve" unless the environment sets GOGC. All servers in Go get the same.
const GCPercent = 400

// Serve runs a server of the bench until ctx ends. The arguments are the address, the files of the certificate and of its
// private key, both empty for plain HTTP, and the handler: "ceiling", "plain" and a DSN, or "files" and a directory.
func Serve(ctx context.Context, args []string) error {
	if len(args) < 4 {
		return fmt.Errorf("serve %q: arguments are missing", args)
	}
	address, certFile, keyFile, args := args[0], args[1], args[2], args[3:]
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(GCPercent)
	}
	handler := Ceiling()
	if args[0] == "plain" && len(args) == 2 {
		p, err := newPlain(ctx, args[1])
		if err != nil {
			return err
		}
		handler = p.handler()
	}
	if args[0] == "files" && len(args) == 2 {
		var err error
		if handler, err = fileHandler(args[1]); err != nil {
			return err
		}
	}
	server := &http.Server{Addr: address, Handler: ready(handler), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	listen := server.ListenAndServe
	if certFile != "" {
		listen = func() error { return server.ListenAndServeTLS(certFile, keyFile) }
	}
	if err := listen(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ready answers /readyz before the handler next.
func ready(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			next.ServeHTTP(w, r)
		}
	})
}
