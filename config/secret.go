package config

import "log/slog"

const redacted = "REDACTED"

// The least lengths, in bytes, of the secrets of the sign-in cookies and of a webhook.
const (
	minSignInSecret  = 32
	minWebhookSecret = 16
)

// Secret is a string that no formatting shows. The zero Secret is unset. The text is behind a pointer, because fmt
// prints unexported fields of an enclosing struct without calling their methods.
type Secret struct{ text *string }

// NewSecret returns a Secret of text; an empty text is an unset Secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the text; "" if unset.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsSet reports whether the Secret has a text.
func (s Secret) IsSet() bool { return s.text != nil }

// Equal reports whether the texts are equal.
func (s Secret) Equal(t Secret) bool { return s.Reveal() == t.Reveal() }

// String returns "REDACTED", or nothing when unset.
func (s Secret) String() string {
	if s.IsSet() {
		return redacted
	}
	return ""
}

// GoString is String, so that %#v shows no more than %v.
func (s Secret) GoString() string { return s.String() }

// MarshalText is String, for JSON, TOML and similar formats.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is String, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
