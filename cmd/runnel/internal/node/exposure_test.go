package node

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store/access"
	"github.com/runnelkv/runnel/test/certs"
)

// TestCertificateIsDescribedInVisibleText: the names of a certificate are many, and control a terminal.
func TestCertificateIsDescribedInVisibleText(t *testing.T) {
	hosts := []string{"h\x1b]0;owned\x07.example", "127.0.0.1"}
	for i := range 20 {
		hosts = append(hosts, fmt.Sprintf("n%d.example", i))
	}
	for _, format := range []config.Format{config.FormatText, config.FormatJSON} {
		ca := certs.NewAuthority(t)
		pair := ca.Issue(t, certs.Names{Hosts: hosts, Expires: 49 * time.Hour})
		files := config.TLS{Cert: pair.Cert, Key: pair.Key, ClientCA: ca.File, ClientAuth: config.ClientRequest}
		var text bytes.Buffer
		c, err := newCertificate(files, NewLogger(&text, config.Log{Format: format}))
		if err != nil {
			t.Fatal(err)
		}
		ca.Renew(t, pair, certs.Names{Hosts: []string{"renewed.example"}, Expires: 73 * time.Hour})
		c.readNow()
		plain := strings.NewReplacer(`"`, "", ":", "=").Replace(text.String())
		for _, want := range []string{"subject=CN=Certificate of a test", "issuer=CN=Authority of a test", "days_left=2", "more_names=17", "n3.example",
			"client_auth=request", "authorities=[CN=Authority of a test]", "renewed.example", "days_left=3"} {
			if !strings.Contains(plain, want) {
				t.Errorf("%s: no %q in\n%s", format, want, &text)
			}
		}
		if strings.ContainsAny(text.String(), "\x1b\x07") || strings.Contains(plain, "n4.example") || strings.Count(text.String(), "\n") != 2 {
			t.Errorf("%s: hidden characters, too many names, or not two lines:\n%s", format, &text)
		}
	}
}

func TestServerTellsWhetherRequestsNeedAKey(t *testing.T) {
	for want, test := range map[string]struct {
		summary  access.Summary
		insecure bool
	}{
		"every request needs an API key":                   {summary: access.Summary{Stored: 1, Names: []string{"n"}}},
		"grants of auth.anonymous":                         {summary: access.Summary{Anonymous: true}},
		"other machines cannot reach the server":           {summary: access.Summary{Open: true}},
		"no API key, and --insecure is set":                {summary: access.Summary{Open: true}, insecure: true},
		"stored_keys=7 names=\"[a b c d e]\" more_names=2": {summary: access.Summary{Stored: 7, Names: strings.Split("abcdefg", "")}},
	} {
		var text bytes.Buffer
		n := &node{config: config.Default(""), insecure: test.insecure, log: slog.New(slog.NewTextHandler(&text, nil))}
		n.logKeys(test.summary)
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in %s", want, &text)
		}
	}
}
