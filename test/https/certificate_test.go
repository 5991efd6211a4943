package https

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/certs"
	"github.com/runnelkv/runnel/test/runnel"
)

// serial returns the serial number of the certificate that a new connection receives.
func (s server) serial() (*big.Int, error) {
	c, err := tls.Dial("tcp", strings.TrimPrefix(s.URL, "https://"), &tls.Config{RootCAs: s.ca.Pool})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber, nil
}

// TestRenewedCertificateInterruptsNoRequest renews the certificate while clients write and read on kept and new
// connections.
func TestRenewedCertificateInterruptsNoRequest(t *testing.T) {
	s := start(t, "")
	s.await(t, client(t, s.ca.Pool, certs.Pair{}, true))
	var requests atomic.Int64
	var load sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		c := client(t, s.ca.Pool, certs.Pair{}, i%2 == 0)
		c.Transport.(*http.Transport).DisableKeepAlives = i >= 2
		load.Go(func() {
			url := fmt.Sprintf("%s/v1/keys/%d", s.URL, i)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := errors.Join(fetch(c, "PUT", url, "x"), fetch(c, "GET", url+"?consistency=master", "")); err != nil {
					t.Error(err)
					return
				}
				requests.Add(2)
			}
		})
	}
	for range 3 {
		before, err := s.serial()
		if err != nil {
			t.Fatal(err)
		}
		began := requests.Load()
		s.ca.Renew(t, s.pair, certs.Names{})
		runnel.Eventually(t, time.Minute, "a new certificate", func() error {
			if now, err := s.serial(); err != nil || now.Cmp(before) == 0 || requests.Load() == began {
				return fmt.Errorf("the former: %v after %d requests, %w", now, requests.Load()-began, err)
			}
			return nil
		})
	}
	close(stop)
	load.Wait()
}

// TestForeignAuthorityIsRefused on both sides.
func TestForeignAuthorityIsRefused(t *testing.T) {
	clients, foreign := certs.NewAuthority(t), certs.NewAuthority(t)
	s := start(t, fmt.Sprintf("client_ca = %q\nclient_auth = 'require'\n", clients.File))
	mine := clients.Issue(t, certs.Names{URI: "spiffe://example.org/app"})
	s.await(t, client(t, s.ca.Pool, mine, true))
	for _, http2 := range []bool{false, true} {
		if err := fetch(client(t, s.ca.Pool, mine, http2), "GET", s.URL+"/healthz", ""); err != nil {
			t.Errorf("HTTP/2 %v: %v", http2, err)
		}
		for name, c := range map[string]*http.Client{
			"no certificate":        client(t, s.ca.Pool, certs.Pair{}, http2),
			"foreign certificate":   client(t, s.ca.Pool, foreign.Issue(t, certs.Names{}), http2),
			"expired certificate":   client(t, s.ca.Pool, clients.Issue(t, certs.Names{Expires: -time.Hour}), http2),
			"foreign server":        client(t, foreign.Pool, mine, http2),
			"TLS 1.1":               oldClient(t, s, mine),
			"authorities of system": client(t, nil, mine, http2),
		} {
			if err := fetch(c, "GET", s.URL+"/healthz", ""); err == nil {
				t.Errorf("HTTP/2 %v: %s is accepted", http2, name)
			}
		}
	}
	// The authority of the clients changes without a restart.
	text, err := os.ReadFile(foreign.File)
	if err == nil {
		err = os.WriteFile(clients.File, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.await(t, client(t, s.ca.Pool, foreign.Issue(t, certs.Names{}), true))
	if err := fetch(client(t, s.ca.Pool, mine, true), "GET", s.URL+"/healthz", ""); err == nil {
		t.Error("the former authority is accepted")
	}
}

// oldClient returns a client with an old version of TLS.
func oldClient(t *testing.T, s server, shown certs.Pair) *http.Client {
	t.Helper()
	c := client(t, s.ca.Pool, shown, false)
	c.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS11
	c.Transport.(*http.Transport).TLSClientConfig.MinVersion = tls.VersionTLS10
	return c
}

// TestServerThatOthersReachNeedsAnAdminKey: without a key it does not start, and with the first key no request without the
// key is answered.
func TestServerThatOthersReachNeedsAnAdminKey(t *testing.T) {
	ca := certs.NewAuthority(t)
	pair := ca.Issue(t, certs.Names{})
	_, port, _ := strings.Cut(runnel.FreeAddress(t), ":")
	section := fmt.Sprintf("[http]\nlisten = '0.0.0.0:%s'\n[http.tls]\ncert = %q\nkey = %q\n", port, pair.Cert, pair.Key)
	file := runnel.WriteConfig(t, section, runnel.ThreeFiles(t)...)
	refuse := func(file string) {
		t.Helper()
		p := runnel.Start(t, "serve", "--config", file)
		if <-p.Exited; p.Err == nil || !strings.Contains(p.Log.String(), "without an admin key") {
			t.Fatalf("%v\n%s", p.Err, p.Log)
		}
	}
	refuse(file)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 40)), 0o600); err != nil {
		t.Fatal(err)
	}
	byS3 := strings.Replace(section, "0.0.0.0:"+port, runnel.FreeAddress(t), 1) + fmt.Sprintf("[s3]\nlisten = '0.0.0.0:%s'\n[auth]\nsecret_file = %q\n", port, secret)
	refuse(runnel.WriteConfig(t, byS3, runnel.ThreeFiles(t)...))
	out, err := runnel.Run(t, "key", "create", "ops", "--role", "admin", "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(out)
	runnel.Start(t, "serve", "--config", file)
	url := "https://127.0.0.1:" + port
	c := client(t, ca.Pool, certs.Pair{}, true)
	runnel.Eventually(t, time.Minute, "readiness", func() error { return fetch(c, "GET", url+"/readyz?write", "") })
	for sent, want := range map[string]int{"": 401, "Bearer " + key: 201, "Bearer x" + key: 401} {
		request, _ := http.NewRequest("PUT", url+"/v1/keys/k", strings.NewReader("v"))
		request.Header.Set("Authorization", sent)
		answer, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Body.Close(); answer.StatusCode != want {
			t.Errorf("Authorization %.10q…: %s, want %d", sent, answer.Status, want)
		}
	}
	if err := fetch(client(t, ca.Pool, certs.Pair{}, false), "GET", strings.Replace(url, "https", "http", 1)+"/readyz", ""); err == nil {
		t.Error("plain HTTP is answered")
	}
}

// TestCertificateHasTheGrantsOfItsKey: the URI or DNS name decides, never the common name; a key that is sent wins.
func TestCertificateHasTheGrantsOfItsKey(t *testing.T) {
	ca, clients := certs.NewAuthority(t), certs.NewAuthority(t)
	pair := ca.Issue(t, certs.Names{})
	section := fmt.Sprintf("[http.tls]\ncert = %q\nkey = %q\nclient_ca = %q\nclient_auth = 'request'\n", pair.Cert, pair.Key, clients.File)
	urls := runnel.ThreeFiles(t)
	bare := runnel.WriteConfig(t, section, urls...)
	create := func(args ...string) (id, key string) {
		out, err := runnel.Run(t, append([]string{"key", "create", "--config", bare}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		key = strings.TrimSpace(out)
		return strings.Split(key, "_")[1], key
	}
	p := runnel.Serve(t, "--config", runnel.WriteConfig(t, "", urls...)) // founds the cluster
	p.Stop(t)
	_, admin := create("ops", "--role", "admin")
	reader, _ := create("reader", "--read", "a/")
	lines := filepath.Join(t.TempDir(), "audit.log")
	section += fmt.Sprintf("[audit]\nfile = %q\nreads = true\n", lines)
	section += fmt.Sprintf("[[certificate]]\nsan = 'spiffe://example.org/reader'\nkey = %q\n[[certificate]]\nsan = 'Certificate of a test'\nkey = %q\n",
		reader, strings.Split(admin, "_")[1])
	p = runnel.ServeUnready(t, "--config", runnel.WriteConfig(t, section, urls...))
	url := strings.Replace(p.URL, "http:", "https:", 1)
	named := clients.Issue(t, certs.Names{URI: "spiffe://example.org/reader"})
	runnel.Eventually(t, time.Minute, "keys that were read", func() error { // after the readiness
		request, _ := http.NewRequest("PUT", url+"/v1/keys/first", strings.NewReader("v"))
		request.Header.Set("Authorization", "Bearer "+admin)
		answer, err := client(t, ca.Pool, certs.Pair{}, true).Do(request)
		if err != nil {
			return err
		}
		if answer.Body.Close(); answer.StatusCode/100 != 2 {
			return errors.New(answer.Status)
		}
		return nil
	})
	for name, c := range map[string]struct {
		shown             certs.Pair
		key, method, path string
		want              int
	}{
		"reads its keys":      {named, "", "GET", "a/k", 404},
		"reads other keys":    {named, "", "GET", "b/k", 403},
		"writes":              {named, "", "PUT", "a/k", 403},
		"sends a key too":     {named, admin, "PUT", "b/k", 201},
		"sends a false key":   {named, admin + "x", "GET", "a/k", 401},
		"has no certificate":  {certs.Pair{}, "", "GET", "a/k", 401},
		"has a longer URI":    {clients.Issue(t, certs.Names{URI: "spiffe://example.org/reader/x"}), "", "GET", "a/k", 401},
		"has the common name": {clients.Issue(t, certs.Names{}), "", "GET", "a/k", 401},
	} {
		for _, http2 := range []bool{false, true} {
			request, _ := http.NewRequest(c.method, url+"/v1/keys/"+c.path, strings.NewReader("v"))
			if c.key != "" {
				request.Header.Set("Authorization", "Bearer "+c.key)
			}
			answer, err := client(t, ca.Pool, c.shown, http2).Do(request)
			if err != nil {
				t.Fatal(err)
			}
			if answer.Body.Close(); answer.StatusCode != c.want && (c.want != 201 || answer.StatusCode != 204) {
				t.Errorf("a client that %s, HTTP/2 %v: %s, want %d", name, http2, answer.Status, c.want)
			}
		}
	}
	text, err := os.ReadFile(lines)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if named := strings.Contains(line, `"san":"spiffe://example.org/reader"`); named != strings.Contains(line, `"key_name":"reader"`) {
			t.Errorf("the certificate is missing, or stands in the line of another client: %s", line)
		}
	}
	if n := strings.Count(string(text), `"san"`); n != 6 {
		t.Errorf("%d lines name the certificate, want 6:\n%s", n, text)
	}
}

// TestServeLogsKeysCertificatesAndFiles: the log of a start holds the names of keys, and no secret.
func TestServeLogsKeysCertificatesAndFiles(t *testing.T) {
	dir := t.TempDir()
	ca, clients := certs.NewAuthority(t), certs.NewAuthority(t)
	pair := ca.Issue(t, certs.Names{Expires: 49 * time.Hour})
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	file := runnel.WriteConfig(t, fmt.Sprintf("[auth]\nsecret_file = %q\n[audit]\nfile = '%s/audit'\n[http.tls]\ncert = %q\nkey = %q\nclient_ca = %q\nclient_auth = 'request'\n",
		secret, dir, pair.Cert, pair.Key, clients.File), runnel.ThreeFiles(t)...)
	stored, err := runnel.Run(t, "key", "create", "in-store", "--role", "admin", "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	inFile, err := runnel.Run(t, "key", "create", "in-file", "--role", "monitor", "--toml", file)
	if err != nil {
		t.Fatal(err)
	}
	p := runnel.ServeUnready(t, "--config", file)
	for _, want := range []string{
		`msg="the certificate of the server" subject="CN=Certificate of a test" names="[localhost 127.0.0.1]" issuer="CN=Authority of a test" expires=`,
		`days_left=2 client_auth=request authorities="[CN=Authority of a test]"`,
		`msg="the API keys of the configuration" keys=1 names=[in-file]`, `msg="every request needs an API key" stored_keys=1 names=[in-store]`,
		"auth.secret_file=" + secret + " audit.file=" + dir + `/audit log.access=""`,
	} {
		runnel.Eventually(t, time.Minute, want, func() error {
			if !strings.Contains(p.Log.String(), want) {
				return errors.New("no such line")
			}
			return nil
		})
	}
	for _, key := range []string{stored, inFile} {
		if id, secret := key[:14], key[16:40]; strings.Contains(p.Log.String(), id) || strings.Contains(p.Log.String(), secret) {
			t.Errorf("a key is in the log:\n%s", p.Log)
		}
	}
}
