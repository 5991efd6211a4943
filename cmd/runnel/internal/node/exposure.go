package node

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"time"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store/access"
)

// logAccess logs the API keys and the files that the configuration names; logKeys follows for the stored keys.
func (n *node) logAccess() {
	n.log.Info("the API keys of the configuration", configuredKeys(n.config)...)
	secret, acts, requests := n.config.Auth.SecretFile, n.config.Audit.File, n.config.Log.Access
	if secret+acts+requests != "" {
		n.log.Info("the files of the configuration", "auth.secret_file", secret, "audit.file", acts, "log.access", requests)
	}
}

// logKeys logs whether requests need a key, and the stored keys.
func (n *node) logKeys(s access.Summary) {
	message := "every request needs an API key"
	switch {
	case s.Open && n.insecure:
		message = "every request is answered: there is no API key, and --insecure is set"
	case s.Open:
		message = "every request from this machine is answered: there is no API key, and other machines cannot reach the server"
	case s.Anonymous:
		message = "requests without an API key have the grants of auth.anonymous"
	}
	n.log.Info(message, append([]any{"stored_keys", s.Stored}, few("names", s.Names)...)...)
}

func configuredKeys(c *config.Config) []any {
	names := make([]string, len(c.Keys))
	for i, k := range c.Keys {
		names[i] = k.Name
	}
	return append([]any{"keys", len(names)}, few("names", names)...)
}

// maxNames is the most names in a list of a log line.
const maxNames = 5

// few returns an attribute with the first names, and the number of others if there are more.
func few(key string, names []string) []any {
	if len(names) <= maxNames {
		return []any{key, names}
	}
	return []any{key, names[:maxNames], "more_" + key, len(names) - maxNames}
}

// describe returns what a log line tells about the certificate of the server and the authorities of the clients.
func (c *certificate) describe(settings *tls.Config) []any {
	leaf := settings.Certificates[0].Leaf
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	for _, uri := range leaf.URIs {
		names = append(names, uri.String())
	}
	attributes := append([]any{"subject", leaf.Subject.String()}, few("names", names)...)
	attributes = append(attributes, "issuer", leaf.Issuer.String(), "expires", leaf.NotAfter, "days_left", int(time.Until(leaf.NotAfter).Hours()/24))
	attributes = append(attributes, "client_auth", string(c.files.ClientAuth))
	if settings.ClientCAs == nil {
		return attributes
	}
	return append(attributes, few("authorities", subjects(settings.ClientCAs))...)
}

// subjects returns the names of the authorities of a file.
func subjects(pool *x509.CertPool) (names []string) {
	//lint:ignore SA1019 the pool holds no authorities of the system, which Subjects would lack
	for _, der := range pool.Subjects() {
		var name pkix.RDNSequence
		if _, err := asn1.Unmarshal(der, &name); err == nil {
			names = append(names, name.String())
		}
	}
	return names
}
