package https

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/certs"
	"github.com/runnelkv/runnel/test/runnel"
)

func TestMain(m *testing.M) { os.Exit(runnel.Main(m)) }

// server is a running binary with TLS.
type server struct {
	*runnel.Process
	ca   *certs.Authority
	pair certs.Pair
}

// start runs "runnel serve" with more lines of [http.tls].
func start(t *testing.T, more string) server {
	t.Helper()
	return startWith(t, "", more)
}

// startWith is start with sections before [http.tls].
func startWith(t *testing.T, sections, more string) server {
	t.Helper()
	ca := certs.NewAuthority(t)
	s := server{ca: ca, pair: ca.Issue(t, certs.Names{})}
	section := sections + fmt.Sprintf("[http.tls]\ncert = %q\nkey = %q\n%s", s.pair.Cert, s.pair.Key, more)
	s.Process = runnel.ServeUnready(t, "--config", runnel.WriteConfig(t, section, runnel.ThreeFiles(t)...))
	s.URL = strings.Replace(s.URL, "http:", "https:", 1)
	return s
}

// client returns a client that trusts an authority, and shows the certificate of a pair unless it is empty.
func client(t *testing.T, pool *x509.CertPool, shown certs.Pair, http2 bool) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: http2}
	if shown.Cert != "" {
		transport.TLSClientConfig.Certificates = []tls.Certificate{shown.Load(t)}
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// fetch sends a request and returns an error unless the answer is 2xx.
func fetch(c *http.Client, method, url, body string) error {
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := c.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s", method, url, answer.Status)
	}
	return nil
}

// await waits until the server is ready for a client.
func (s server) await(t *testing.T, c *http.Client) {
	t.Helper()
	runnel.Eventually(t, time.Minute, "readiness", func() error { return fetch(c, "GET", s.URL+"/readyz?write", "") })
}
