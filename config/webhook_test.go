package config

import (
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
