package node

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/config"
)

func TestConnectionsThatCannotBeAcceptedAreLoggedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		e := &serverErrors{log: slog.New(slog.NewTextHandler(&text, nil))}
		for range 25 {
			e.Write([]byte("http: Accept error: accept tcp: too many open files; retrying in 1s\n"))
			e.Write([]byte("http: TLS handshake error\n"))
			time.Sleep(time.Second)
		}
		if n := strings.Count(text.String(), "too many open files"); n != 3 || strings.Contains(text.String(), "TLS") {
			t.Errorf("%d lines in 25 s, want 3:\n%s", n, text.String())
		}
	})
}

func TestServerThatOthersReachDemandsProtection(t *testing.T) {
	for name, test := range map[string]struct {
		listen   string
		insecure bool
		tls      config.TLS
		proxies  []string
		want     string // of the error
	}{
		"loopback":         {listen: "127.0.0.1:0"},
		"loopback by name": {listen: "localhost:0"},
		"loopback, IPv6":   {listen: "[::1]:0"},
		"all addresses":    {listen: ":0", want: "without TLS (http.tls"},
		"any IPv4":         {listen: "0.0.0.0:0", want: "without TLS (http.tls"},
		"behind a proxy":   {listen: "0.0.0.0:0", proxies: []string{"10.0.0.7"}},
		"with TLS":         {listen: "0.0.0.0:0", tls: config.TLS{Cert: "c"}},
		"insecure":         {listen: "0.0.0.0:0", insecure: true},
	} {
		t.Run(name, func(t *testing.T) {
			var text bytes.Buffer
			o := Options{Config: config.Default(""), Insecure: test.insecure, Logger: slog.New(slog.NewTextHandler(&text, nil))}
			o.Config.HTTP.Listen, o.Config.HTTP.TLS, o.Config.HTTP.TrustedProxies = test.listen, test.tls, test.proxies
			l, err := listen(t.Context(), o)
			if err == nil {
				l.Close()
			}
			if test.want == "" && err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if test.insecure != strings.Contains(text.String(), "WARN") {
				t.Errorf("logged: %s", text.String())
			}
		})
	}
}

// TestEveryListenerExposesTheServer: a server is open without keys only if no listener is reached by other machines.
func TestEveryListenerExposesTheServer(t *testing.T) {
	for _, c := range []struct{ http, s3, want string }{
		{"127.0.0.1:1", "", ""}, {"127.0.0.1:1", "localhost:2", ""}, {"0.0.0.0:1", "127.0.0.1:2", "0.0.0.0:1"},
		{"127.0.0.1:1", ":2", ":2"}, {"[::1]:1", "10.0.0.7:2", "10.0.0.7:2"},
	} {
		n := &node{config: config.Default("")}
		n.config.HTTP.Listen, n.config.S3.Listen = c.http, c.s3
		if got := exposed(n.config); got != c.want {
			t.Errorf("%+v: %q is exposed", c, got)
		}
		if open := n.staticAccess(n.config).OpenWithoutKeys; open != (c.want == "") {
			t.Errorf("%+v: open without keys: %t", c, open)
		}
		if c.want == "" {
			continue
		}
		n.keys, n.insecure = nil, true
		if err := n.checkAdmin(t.Context()); err != nil || !n.staticAccess(n.config).OpenWithoutKeys {
			t.Errorf("%+v with --insecure: %v", c, err)
		}
	}
}

// TestS3DemandsTheProtectionOfHTTP: TLS, and a secret for the keys that the server needs.
func TestS3DemandsTheProtectionOfHTTP(t *testing.T) {
	for _, c := range []struct {
		s3     string
		tls    config.TLS
		secret []byte
		want   string
	}{
		{"127.0.0.1:0", config.TLS{}, nil, ""},
		{"0.0.0.0:0", config.TLS{}, []byte("s"), "will not listen on 0.0.0.0:0 without TLS"},
		{"0.0.0.0:0", config.TLS{Cert: "c"}, nil, "s3.listen needs auth.secret_file"},
		{"0.0.0.0:0", config.TLS{Cert: "c"}, []byte("s"), ""},
	} {
		o := Options{Config: config.Default(""), Logger: slog.New(slog.DiscardHandler)}
		o.Config.S3.Listen, o.Config.HTTP.TLS = c.s3, c.tls
		l, err := (&node{config: o.Config, secret: c.secret}).listenS3(t.Context(), o)
		if err == nil {
			l.Close()
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestOperatorsOfOtherMachinesNeedACertificate(t *testing.T) {
	for listen, c := range map[string]struct {
		auth   config.ClientAuth
		refuse bool
	}{
		"": {config.ClientNone, false}, "127.0.0.1:0": {config.ClientNone, false}, "0.0.0.0:0": {config.ClientRequire, false},
		":0": {config.ClientNone, true}, "[::]:0": {config.ClientRequest, true},
	} {
		o := config.Default("")
		o.Admin.Listen, o.HTTP.TLS.ClientAuth = listen, c.auth
		l, err := listenAdmin(t.Context(), o)
		if (err != nil) != c.refuse || (l == nil) != (c.refuse || listen == "") {
			t.Errorf("%q with %q: %v, %v", listen, c.auth, l, err)
		}
		if l != nil {
			l.Close()
		}
	}
}
