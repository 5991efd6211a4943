package node

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/test/certs"
)

// served is a certificate whose files change during a test.
type served struct {
	*certificate
	ca   *certs.Authority
	pair certs.Pair
	log  *strings.Builder
}

func newServed(t *testing.T, n certs.Names) served {
	t.Helper()
	ca := certs.NewAuthority(t)
	s := served{ca: ca, pair: ca.Issue(t, n), log: &strings.Builder{}}
	files := config.TLS{Cert: s.pair.Cert, Key: s.pair.Key, ClientCA: ca.File, ClientAuth: config.ClientRequire}
	var err error
	if s.certificate, err = newCertificate(files, slog.New(slog.NewTextHandler(s.log, nil))); err != nil {
		t.Fatal(err)
	}
	return s
}

// leaf returns the certificate that a new connection would receive.
func (s served) leaf(t *testing.T) *x509.Certificate {
	t.Helper()
	settings, err := s.serverConfig().GetConfigForClient(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	return settings.Certificates[0].Leaf
}

// metric returns the time that the metric shows, in seconds since 1970.
func (s served) metric(t *testing.T) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.expiry)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%v, %v", families, err)
	}
	return families[0].GetMetric()[0].GetGauge().GetValue()
}

func TestChangedCertificateIsReadOnceItRests(t *testing.T) {
	s := newServed(t, certs.Names{})
	first := s.leaf(t)
	s.check()
	s.ca.Renew(t, s.pair, certs.Names{Expires: 2 * time.Hour})
	s.check()
	if !s.leaf(t).Equal(first) {
		t.Error("a file is read as soon as it changes, perhaps half-written")
	}
	s.check()
	renewed := s.leaf(t)
	if renewed.Equal(first) || s.metric(t) != float64(renewed.NotAfter.Unix()) {
		t.Errorf("expires at %v by the metric, at %v by the certificate", s.metric(t), renewed.NotAfter)
	}
	s.log.Reset()
	for range 3 {
		s.check()
	}
	if s.log.Len() > 0 {
		t.Errorf("unchanged files are read again:\n%s", s.log)
	}
}

func TestUnusableCertificateLeavesTheFormer(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, s served){
		"no certificate": func(t *testing.T, s served) { overwrite(t, s.pair.Cert, "no certificate") },
		"missing key":    func(t *testing.T, s served) { os.Remove(s.pair.Key) },
		"foreign key": func(t *testing.T, s served) {
			if err := os.Rename(s.ca.Issue(t, certs.Names{}).Key, s.pair.Key); err != nil {
				t.Fatal(err)
			}
		},
		"expired":        func(t *testing.T, s served) { s.ca.Renew(t, s.pair, certs.Names{Expires: -time.Hour}) },
		"no authorities": func(t *testing.T, s served) { overwrite(t, s.ca.File, "") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServed(t, certs.Names{})
			first := s.leaf(t)
			spoil(t, s)
			for range 5 {
				s.check()
			}
			if !s.leaf(t).Equal(first) {
				t.Error("the former certificate is gone")
			}
			if n := strings.Count(s.log.String(), "cannot be used"); n != 1 {
				t.Errorf("%d log lines, want 1:\n%s", n, s.log)
			}
			if s.ca.Renew(t, s.pair, certs.Names{}); name != "no authorities" {
				s.check()
				s.check()
				if s.leaf(t).Equal(first) {
					t.Errorf("a good certificate is not read after an unusable one:\n%s", s.log)
				}
			}
		})
	}
}

// TestExpiredCertificateIsServedAndReplaced: the start is no outage, and the metric shows the past.
func TestExpiredCertificateIsServedAndReplaced(t *testing.T) {
	s := newServed(t, certs.Names{Expires: -time.Hour})
	if !strings.Contains(s.log.String(), "has expired") || s.metric(t) > float64(time.Now().Unix()) {
		t.Errorf("nothing tells: %s", s.log)
	}
	s.ca.Renew(t, s.pair, certs.Names{})
	s.readNow() // as SIGHUP does
	if leaf := s.leaf(t); time.Now().After(leaf.NotAfter) {
		t.Error("still expired")
	}
}

// TestAuthoritiesOfAWebhookFollowTheirFile: an unusable file leaves the former, with a single log line.
func TestAuthoritiesOfAWebhookFollowTheirFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := certs.NewAuthority(t), certs.NewAuthority(t)
		var log strings.Builder
		authorities, err := follow(first.File, config.ReadAuthorities, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		wants := func(what string, pool *x509.CertPool) {
			t.Helper()
			time.Sleep(checkEvery)
			if !authorities().Equal(pool) {
				t.Errorf("%s: the other authorities are in use", what)
			}
		}
		wants("at the start", first.Pool)
		overwrite(t, first.File, "no certificate")
		wants("with a text of no use", first.Pool)
		wants("with a text of no use, again", first.Pool)
		if err := os.Rename(second.File, first.File); err != nil {
			t.Fatal(err)
		}
		wants("with a new file", second.Pool)
		os.Remove(first.File)
		wants("without a file", second.Pool)
		if bad, good := strings.Count(log.String(), "level=ERROR"), strings.Count(log.String(), "level=INFO"); bad != 2 || good != 1 {
			t.Errorf("%d errors and %d messages, want 2 and 1:\n%s", bad, good, &log)
		}
		if _, err := follow(first.File, config.ReadAuthorities, slog.Default()); err == nil {
			t.Error("a missing file is accepted at the start")
		}
	})
}

// TestSecretOfAWebhookFollowsItsFile: a file that is being written, or too short, leaves the former.
func TestSecretOfAWebhookFollowsItsFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "secret")
		overwrite(t, file, "the first secret\n")
		hooks, err := hooksOf([]config.Webhook{{SecretFile: file}, {Secret: config.NewSecret("of the configuration")}}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct{ content, want string }{
			{"the first secret\n", "the first secret"}, {"", "the first secret"}, {"short", "the first secret"}, {"the second secret", "the second secret"},
		} {
			overwrite(t, file, step.content)
			time.Sleep(checkEvery)
			if got := string(hooks[0].Secret()); got != step.want {
				t.Errorf("after %q: %q", step.content, got)
			}
		}
		if got := string(hooks[1].Secret()); got != "of the configuration" {
			t.Errorf("without a file: %q", got)
		}
		if _, err := hooksOf([]config.Webhook{{SecretFile: file + ".missing"}}, slog.Default()); err == nil {
			t.Error("a missing file is accepted at the start")
		}
	})
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
