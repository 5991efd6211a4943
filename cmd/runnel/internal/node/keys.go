package node

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store/access"
)

// newKeys returns the API keys of a server, which n.keys.Run keeps up to date.
func (n *node) newKeys() (*access.Registry, error) {
	return access.NewRegistry(n.store, n.staticAccess(n.config), access.Options{MaxStale: n.config.Auth.MaxStale, Logger: n.log, OnChange: n.recordKey, OnRead: n.logKeys})
}

// recordKey records that a key was created, changed or revoked.
func (n *node) recordKey(c access.Change) {
	n.log.Info("an API key was "+c.What, "key", c.Name, "id", c.ID)
	if err := n.audit.Record(audit.Record{Time: time.Now(), Act: audit.Admin, Route: "key " + c.What, KeyID: c.ID, KeyName: c.Name}); err != nil {
		n.log.Error("the change of a key cannot be recorded", "error", err)
	}
}

// staticAccess returns the access that a configuration grants. A server that only this machine reaches is open as long as
// there is no key.
func (n *node) staticAccess(c *config.Config) access.Static {
	s := c.Static()
	s.OpenWithoutKeys = n.insecure || exposed(n.config) == ""
	return s
}

// exposed returns the address of a listener that other machines reach; "" if there is none. All listeners have the same keys.
func exposed(c *config.Config) string {
	for _, address := range []string{c.HTTP.Listen, c.S3.Listen} {
		if address != "" && !isLoopback(address) {
			return address
		}
	}
	return ""
}

// isLoopback reports whether only this machine reaches an address, host:port.
func isLoopback(address string) bool {
	tcp, err := net.ResolveTCPAddr("tcp", address)
	return err == nil && tcp.IP.IsLoopback()
}

// awaitKeys bounds the wait for the stored keys at the start.
const awaitKeys = 10 * time.Second

// checkAdmin returns an error if other machines reach the server and no key has the role admin. While the stored keys cannot
// be read, requests are refused, so the server starts.
func (n *node) checkAdmin(ctx context.Context) error {
	address := exposed(n.config)
	if n.insecure || address == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, awaitKeys)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !n.keys.HasAdmin() {
		if n.keys.Ready() {
			return console.UsageError("will not listen on %s without an admin key: nobody could create keys; "+
				"'runnel key create ops --role admin' creates the first, or use --insecure in a network where everyone may do everything", address)
		}
		select {
		case <-ctx.Done():
			n.log.Warn("the API keys cannot be read yet, so requests are refused that need a stored key")
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// reloadKeys makes the keys of a configuration that was read again valid, and ends the others of the file.
func (n *node) reloadKeys(c *config.Config) {
	if n.keys == nil { // this process only syncs
		return
	}
	if err := n.keys.SetStatic(n.staticAccess(c)); err != nil {
		n.log.Error("the API keys of the configuration cannot be used: the former keys stay valid", "error", err)
		return
	}
	n.config.Keys, n.config.Auth.Anonymous = c.Keys, c.Auth.Anonymous
	n.log.Info("the API keys of the configuration were replaced", configuredKeys(c)...)
}

// certificates returns the ids of keys by the names of certificates.
func certificates(c *config.Config) map[string]string {
	keys := make(map[string]string, len(c.Certificates))
	for _, cert := range c.Certificates {
		keys[cert.SAN] = cert.Key
	}
	return keys
}

// signInSecret returns the secret of the sign-in cookies; nil without a file.
func signInSecret(a config.Auth) ([]byte, error) {
	if a.SecretFile == "" {
		return nil, nil
	}
	secret, err := config.ReadSecret(a.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("auth.secret_file: %w", err)
	}
	return []byte(secret.Reveal()), nil
}
