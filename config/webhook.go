package config

import (
	"fmt"
	"net/url"
	"unicode/utf8"
)

const (
	maxWebhooks    = 64
	minSecretBytes = 16
	maxPrefixBytes = 512
)

func (c *checker) webhooks(hooks []Webhook) {
	if len(hooks) > maxWebhooks {
		c.rule("webhook", fmt.Sprintf("there are %d, over the limit of %d", len(hooks), maxWebhooks))
	}
	type place struct{ url, prefix string }
	seen := map[place]bool{}
	for i, h := range hooks {
		key := element("webhook", i)
		if fault := webhookFault(h.URL); fault != "" {
			c.rule(key+".url", fault)
		}
		if len(h.Prefix) > maxPrefixBytes || !utf8.ValidString(h.Prefix) {
			c.rule(key+".prefix", fmt.Sprintf("must be at most %d bytes of valid UTF-8", maxPrefixBytes))
		}
		switch n := len(h.Secret.Reveal()); {
		case n == 0:
			c.rule(key+".secret", "is missing")
		case n < minSecretBytes:
			c.rule(key+".secret", fmt.Sprintf("must be at least %d bytes long", minSecretBytes))
		}
		if at := (place{h.URL, h.Prefix}); h.URL != "" && seen[at] {
			c.rule(key+".url", "receives this prefix by another webhook too")
		} else {
			seen[at] = true
		}
	}
}

// webhookFault returns the fault of a webhook's address; "" if there is none.
func webhookFault(text string) string {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return "is missing"
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return `must be a URL like "https://example.org/hook"`
	case u.User != nil:
		return "must not hold a user or a password: requests are signed with the secret"
	case u.Fragment != "":
		return "must not have a fragment"
	}
	return ""
}
