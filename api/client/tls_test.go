package client_test

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/test/certs"
)

func TestKeyIsNotSentUnencrypted(t *testing.T) {
	for url, plain := range map[string]bool{
		"http://127.0.0.1:1": false, "http://127.9.9.9:1": false, "http://[::1]:1": false, "http://localhost:1": false,
		"https://runnel.example.org": false, "https://10.0.0.1:8443/path": false,
		"http://runnel.example.org": true, "http://10.0.0.1:8080": true, "http://localhost.example.org": true, "http://127.0.0.1.example.org": true,
	} {
		_, err := client.New(url, client.Options{APIKey: "secret"})
		if errors.Is(err, client.ErrPlainKey) != plain || !plain && err != nil {
			t.Errorf("%s: %v, want refusal %v", url, err, plain)
		}
		if _, err := client.New(url, client.Options{}); err != nil {
			t.Errorf("%s without a key: %v", url, err)
		}
	}
}

// TestCertificatesAreVerifiedOnBothSides: a server that cannot prove its name is asked once.
func TestCertificatesAreVerifiedOnBothSides(t *testing.T) {
	ca, foreign := certs.NewAuthority(t), certs.NewAuthority(t)
	mine := ca.Issue(t, certs.Names{URI: "spiffe://example.org/app"})
	var shakes atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.PeerCertificates[0].URIs[0].Path != "/app" || r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("the server sees %v", r.Header)
		}
		w.Header().Set("Runnel-Revision", "1")
		w.WriteHeader(http.StatusNoContent)
	}))
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{ca.Issue(t, certs.Names{}).Load(t)}, ClientCAs: ca.Pool, ClientAuth: tls.RequireAndVerifyClientCert,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { shakes.Add(1); return nil, nil },
	}
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)

	joined := t.TempDir() + "/both.pem"
	cert, _ := os.ReadFile(mine.Cert)
	key, _ := os.ReadFile(mine.Key)
	if err := os.WriteFile(joined, append(cert, key...), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		ca, cert, key, want string
		retry               time.Duration
	}{
		"two files":          {ca.File, mine.Cert, mine.Key, "", -1},
		"one file":           {ca.File, joined, "", "", -1},
		"foreign authority":  {foreign.File, mine.Cert, mine.Key, "cannot prove that it is https://127.0.0.1", 10 * time.Second},
		"system's authority": {"", mine.Cert, mine.Key, "cannot prove", 10 * time.Second},
		// A server of TLS 1.3 refuses the certificate after the client's handshake, so net/http does not always know the reason.
		"without certificate": {ca.File, "", "", "the connection was lost before a response", -1},
	} {
		settings, err := client.LoadTLS(test.ca, test.cert, test.key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.New(server.URL, client.Options{TLS: settings, APIKey: "secret", RetryFor: test.retry})
		if err != nil {
			t.Fatal(err)
		}
		shakes.Store(0)
		err = c.Delete(t.Context(), "k", client.Conditions{})
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if n := shakes.Load(); strings.HasPrefix(test.want, "cannot prove") && n != 1 {
			t.Errorf("%s: %d handshakes", name, n)
		}
	}
}

func TestUnusableFilesAreNamed(t *testing.T) {
	ca := certs.NewAuthority(t)
	pair := ca.Issue(t, certs.Names{})
	for _, test := range [][3]string{{pair.Key, "", ""}, {"absent.pem", "", ""}, {"", pair.Cert, ""}, {"", pair.Cert, ca.File}, {"", "absent.pem", ""}} {
		if settings, err := client.LoadTLS(test[0], test[1], test[2]); err == nil {
			t.Errorf("%v: %v", test, settings)
		}
	}
}
