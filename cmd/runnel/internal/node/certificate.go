package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runnelkv/runnel/config"
)

// certificate is the certificate of the server with the authorities of the clients, as their files hold them.
type certificate struct {
	files  config.TLS
	log    *slog.Logger
	inUse  atomic.Pointer[tls.Config]
	expiry prometheus.Gauge

	mu     sync.Mutex // guards the fields below
	loaded fileStamps // of the files that were read last, usable or not
	seen   fileStamps // at the last check
}

// newCertificate reads the files for the first time. An expired certificate is used, and logged as an error.
func newCertificate(files config.TLS, log *slog.Logger) (*certificate, error) {
	c := &certificate{files: files, log: log, expiry: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "runnel_tls_certificate_expiry_seconds",
		Help: "When the server's certificate expires, in seconds since 1970.",
	})}
	c.loaded = c.stamps()
	c.seen = c.loaded
	settings, err := c.read()
	if err != nil {
		return nil, err
	}
	if err := checkTime(settings); err != nil {
		log.Error("clients will refuse the certificate of the server", "error", err)
	}
	c.use(settings)
	log.Info("the certificate of the server", c.describe(settings)...)
	return c, nil
}

// serverConfig returns the settings of a server, which follow the files.
func (c *certificate) serverConfig() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.inUse.Load(), nil },
	}
}

// checkEvery is the time between two looks at the files. Changed files are read at the second look that finds them the
// same, so that no half-written file and no certificate without its new key is read.
const checkEvery = time.Second

// follow reads changed files until ctx ends.
func (c *certificate) follow(ctx context.Context) error {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			c.check()
		}
	}
}

// check reads the files if they have changed, and not since the last check.
func (c *certificate) check() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.stamps()
	settled := now.equal(c.seen)
	c.seen = now
	if settled && !now.equal(c.loaded) {
		c.reload()
	}
}

// readNow reads the files, changed or not.
func (c *certificate) readNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = c.stamps()
	c.reload()
}

// reload replaces the settings in use, or keeps them if the files cannot be used. The caller holds c.mu.
func (c *certificate) reload() {
	c.loaded = c.seen
	settings, err := c.read()
	if err == nil && checkTime(c.inUse.Load()) == nil {
		err = checkTime(settings) // an expired certificate does not replace a valid one
	}
	if err != nil {
		c.log.Error("the certificate was read again and cannot be used: the former remains", "error", err)
		return
	}
	c.use(settings)
	c.log.Info("the certificate was read again", c.describe(settings)...)
}

func (c *certificate) use(settings *tls.Config) {
	c.expiry.Set(float64(settings.Certificates[0].Leaf.NotAfter.Unix()))
	c.inUse.Store(settings)
}

func (c *certificate) read() (*tls.Config, error) {
	pair, err := c.files.ReadCert()
	if err != nil {
		return nil, err
	}
	clients, err := c.files.ReadClientCA()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
		Certificates: []tls.Certificate{*pair},
		ClientCAs:    clients,
		ClientAuth:   clientAuth(c.files.ClientAuth),
	}, nil
}

func clientAuth(a config.ClientAuth) tls.ClientAuthType {
	switch a {
	case config.ClientRequest:
		return tls.VerifyClientCertIfGiven
	case config.ClientRequire:
		return tls.RequireAndVerifyClientCert
	}
	return tls.NoClientCert
}

// checkTime returns why clients refuse a certificate today.
func checkTime(settings *tls.Config) error {
	leaf, now := settings.Certificates[0].Leaf, time.Now()
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate has expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate is valid from %s on", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// fileStamps tell the contents of the certificate, the key and the authorities apart without reading them. A missing file
// has no stamp.
type fileStamps [3]os.FileInfo

func (c *certificate) stamps() (s fileStamps) {
	for i, path := range []string{c.files.Cert, c.files.Key, c.files.ClientCA} {
		if info, err := os.Stat(path); err == nil {
			s[i] = info
		}
	}
	return s
}

func (s fileStamps) equal(other fileStamps) bool {
	for i, a := range s {
		b := other[i]
		if (a == nil) != (b == nil) {
			return false
		}
		if a != nil && (!os.SameFile(a, b) || !a.ModTime().Equal(b.ModTime()) || a.Size() != b.Size()) {
			return false
		}
	}
	return true
}
