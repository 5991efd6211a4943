package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFaultyWebhooksAreNamed(t *testing.T) {
	const partition = "[[partition]]\nname = \"a\"\nurl = \"sqlite:a.db\"\n"
	const secret = "0123456789abcdef"
	for _, c := range []struct{ section, names string }{
		{`secret = "` + secret + `"`, "webhook[0].url"},
		{`url = "ftp://x/"` + "\n" + `secret = "` + secret + `"`, "webhook[0].url"},
		{`url = "http:///x"` + "\n" + `secret = "` + secret + `"`, "webhook[0].url"},
		{`url = "http://u:p@x/"` + "\n" + `secret = "` + secret + `"`, "webhook[0].url"},
		{`url = "http://x/#f"` + "\n" + `secret = "` + secret + `"`, "webhook[0].url"},
		{`url = "http://x/"`, "webhook[0].secret"},
		{`url = "http://x/"` + "\n" + `ca = "ca.pem"` + "\n" + `secret = "` + secret + `"`, "webhook[0].ca"},
		{`url = "https://x/"` + "\n" + `ca = "/nothing/ca.pem"` + "\n" + `secret = "` + secret + `"`, "webhook[0].ca"},
		{`url = "http://x/"` + "\n" + `secret = "short"`, "webhook[0].secret"},
		{`url = "http://x/"` + "\n" + `secret = 7`, "webhook[0].secret"},
		{`url = "http://x/"` + "\n" + `prefix = "` + strings.Repeat("a", 513) + `"` + "\n" + `secret = "` + secret + `"`, "webhook[0].prefix"},
		{`url = "http://x/"` + "\n" + `retries = 3` + "\n" + `secret = "` + secret + `"`, "webhook[0].retries"},
		{`url = "http://x/"` + "\n" + `secret = "` + secret + `"` + "\n[[webhook]]\n" + `url = "http://x/"` + "\n" + `secret = "` + secret + `"`, "webhook[1].url"},
	} {
		_, err := Parse("x.toml", []byte(partition+"[[webhook]]\n"+c.section), nil)
		if err == nil || !strings.Contains(err.Error(), c.names+":") {
			t.Errorf("%s: %v, want %s named", c.section, err, c.names)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the secret is told: %v", err)
		}
	}
	c, err := Parse("x.toml", []byte(partition+"[[webhook]]\nurl = \"https://x/?a=b\"\nsecret = \""+secret+"\""), nil)
	if err != nil || len(c.Webhooks) != 1 || c.Webhooks[0].Secret.Reveal() != secret {
		t.Errorf("%+v, %v", c, err)
	}
	changed := *c
	changed.Webhooks = nil
	if d := Changes(c, &changed); len(d.Restart) != 1 || d.Restart[0] != "webhook" {
		t.Errorf("%+v", d)
	}
}

// TestWebhookSecretOfAFile: a changed content needs no restart, and a changed path does.
func TestWebhookSecretOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	load := func(content, more string) (*Config, error) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return Parse("x.toml", []byte("[[partition]]\nname = 'a'\nurl = 'sqlite:a.db'\n[[webhook]]\nurl = 'http://x/'\n"+more), nil)
	}
	section := "secret_file = '" + path + "'\n"
	for _, c := range []struct{ content, more string }{
		{"0123456789abcde\n", section}, {"\n0123456789abcdef", section}, {"0123456789abcdef", "secret = '0123456789abcdef'\n" + section}, {"", "secret_file = '/nothing/secret'\n"},
	} {
		if _, err := load(c.content, c.more); err == nil || !strings.Contains(err.Error(), "webhook[0].secret_file: ") || strings.Count(err.Error(), "\n") > 0 || strings.Contains(err.Error(), "abcde") {
			t.Errorf("%q, %s: %v", c.content, c.more, err)
		}
	}
	first, err := load("0123456789abcdef\nmore", section)
	if err != nil || first.Webhooks[0].Secret.Reveal() != "0123456789abcdef" {
		t.Fatalf("%+v, %v", first, err)
	}
	second, err := load("fedcba9876543210", section)
	if err != nil {
		t.Fatal(err)
	}
	if d := Changes(first, second); len(d.Restart) != 0 {
		t.Errorf("the content: %v", d.Restart)
	}
	second.Webhooks[0].SecretFile = "other"
	if d := Changes(first, second); len(d.Restart) != 1 {
		t.Errorf("the path: %v", d.Restart)
	}
}
