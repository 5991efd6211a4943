package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
)

// TLS configures HTTPS. The paths name PEM files, which may change while the server runs.
type TLS struct {
	Cert       string     `toml:"cert" json:"cert"` // the server's certificate and its intermediate certificates; "": plain HTTP
	Key        string     `toml:"key" json:"key"`   // the private key of Cert
	ClientCA   string     `toml:"client_ca" json:"client_ca"`
	ClientAuth ClientAuth `toml:"client_auth" json:"client_auth"`
}

// ClientAuth is whether clients show certificates.
type ClientAuth string

// The values of ClientAuth.
const (
	ClientNone    ClientAuth = "none"    // clients are not asked
	ClientRequest ClientAuth = "request" // a certificate is optional, and verified
	ClientRequire ClientAuth = "require" // no handshake without a verified certificate
)

// IsSet reports whether the server speaks TLS.
func (t TLS) IsSet() bool { return t.Cert != "" }

// ReadCert reads the certificate and its key. Leaf is set.
func (t TLS) ReadCert() (*tls.Certificate, error) {
	cert, err := readFile(t.Cert)
	if err != nil {
		return nil, err
	}
	key, err := readFile(t.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s are not a certificate and its key: %w", t.Cert, t.Key, err)
	}
	return &pair, nil
}

// ReadClientCA reads the authorities that sign the certificates of clients; nil if ClientAuth is ClientNone.
func (t TLS) ReadClientCA() (*x509.CertPool, error) {
	if t.ClientAuth == ClientNone {
		return nil, nil
	}
	return ReadAuthorities(t.ClientCA)
}

// ReadAuthorities reads the certificates of a PEM file of at most 1 MiB. A file without a certificate is an error.
func ReadAuthorities(path string) (*x509.CertPool, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return pool, nil
}

// ParseProxies returns the networks of HTTP.TrustedProxies. An address is a network of its own.
func ParseProxies(texts []string) ([]netip.Prefix, error) {
	networks := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		network, err := parseNetwork(text)
		if err != nil {
			return nil, err
		}
		networks[i] = network
	}
	return networks, nil
}

var errNetwork = errors.New(`must be an address or a network, such as "10.0.0.7" or "10.1.0.0/16"`)

func parseNetwork(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil || network != network.Masked() || network.Addr().Is4In6() {
		return netip.Prefix{}, errNetwork
	}
	return network, nil
}
