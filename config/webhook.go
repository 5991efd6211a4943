package config

import (
	"fmt"
	"net/url"
	"strings"
)

const maxWebhooks = 64

func (c *checker) webhooks(hooks []Webhook) {
	c.atMost("webhook", len(hooks), maxWebhooks)
	type place struct{ url, prefix string }
	seen := map[place]bool{}
	for i, h := range hooks {
		key := element("webhook", i)
		if fault := webhookFault(h.URL); fault != "" {
			c.rule(key+".url", fault)
		}
		c.keyPrefix(key+".prefix", h.Prefix)
		switch n := len(h.Secret.Reveal()); {
		case h.SecretFile != "": // was checked when the file was read
		case n == 0:
			c.rule(key+".secret", "is missing, and so is secret_file")
		case n < minWebhookSecret:
			c.rule(key+".secret", fmt.Sprintf("must be at least %d bytes long", minWebhookSecret))
		}
		if h.CA != "" && !strings.HasPrefix(h.URL, "https:") {
			c.rule(key+".ca", "has no effect without https")
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
