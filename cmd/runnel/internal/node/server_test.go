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
