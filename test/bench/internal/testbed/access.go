package testbed

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/runnelkv/runnel/store/access"
	"github.com/runnelkv/runnel/test/bench/internal/report"
)

// entrance describes how clients reach a server. The zero entrance is plain HTTP without a key.
type entrance struct {
	certFile string // the server's certificate, which signs itself; "" for plain HTTP
	keyFile  string // its private key
	token    string // the API key of every request; "" for none
}

// url returns the URL of a server at an address.
func (e entrance) url(address string) string {
	if e.certFile != "" {
		return "https://" + address
	}
	return "http://" + address
}

// header returns the fields that every request carries.
func (e entrance) header() []string {
	if e.token == "" {
		return nil
	}
	return []string{"Authorization: Bearer " + e.token}
}

// client returns a client for the requests of the bench itself.
func (e entrance) client() (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if e.certFile != "" {
		text, err := os.ReadFile(e.certFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(text)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: bearer{e.token, transport}}, nil
}

// bearer adds an API key to requests.
type bearer struct {
	token string
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}

// StartAccess starts the systems that show the cost of API keys and of TLS: a Runnel that is open, a Runnel that demands a
// key, a Runnel that also speaks TLS, and the ceiling with and without TLS. Both servers with TLS have the same certificate.
func (s *Testbed) StartAccess(ctx context.Context) ([]*System, error) {
	secure, err := newCertificate(s.Dir)
	if err != nil {
		return nil, err
	}
	keyed := entrance{token: access.NewToken().Reveal()}
	both := secure
	both.token = keyed.token
	var systems []*System
	for _, c := range []struct {
		name    string
		start   func(context.Context, string, entrance) (*System, error)
		through entrance
	}{
		{report.OpenCeiling, s.startCeiling, entrance{}},
		{report.SecureCeiling, s.startCeiling, secure},
		{report.OpenRunnel, s.startEmbedded, entrance{}},
		{report.KeyedRunnel, s.startEmbedded, keyed},
		{report.SecureRunnel, s.startEmbedded, both},
	} {
		system, err := c.start(ctx, c.name, c.through)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		system.Name = c.name
		systems = append(systems, system)
	}
	return systems, nil
}

func (s *Testbed) startCeiling(ctx context.Context, name string, e entrance) (*System, error) {
	return s.startSelf(ctx, name, e, "ceiling")
}

func (s *Testbed) startEmbedded(ctx context.Context, name string, e entrance) (*System, error) {
	return s.startRunnel(ctx, name, e, s.Partitions(name, report.Embedded, 3))
}

// sections returns the part of Runnel's configuration that makes a server demand the entrance. The key may write the keys of
// the bench and read the status, as the key of an application may.
func (e entrance) sections() (string, error) {
	var text string
	if e.certFile != "" {
		text += fmt.Sprintf("[http.tls]\ncert = %q\nkey = %q\n", e.certFile, e.keyFile)
	}
	if e.token == "" {
		return text, nil
	}
	token, err := access.ParseToken(e.token)
	return text + fmt.Sprintf("[[key]]\nid = %q\nname = \"bench\"\nhash = %q\nroles = [\"write\", \"monitor\"]\nprefixes = [{prefix = %q, access = \"write\"}]\n",
		token.ID, token.Hash(), KeyPrefix), err
}

// newCertificate writes a certificate of 127.0.0.1 and its private key to dir, of the kind that most servers have.
func newCertificate(dir string) (e entrance, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return e, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "bench"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return e, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return e, err
	}
	e = entrance{certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem")}
	if err := writePEM(e.certFile, "CERTIFICATE", cert); err != nil {
		return e, err
	}
	return e, writePEM(e.keyFile, "PRIVATE KEY", secret)
}

func writePEM(file, kind string, content []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600)
}
