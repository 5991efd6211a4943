package config

import (
	"log/slog"
	"strings"

	"github.com/BurntSushi/toml"
)

// String returns the configuration as TOML, with passwords as "REDACTED".
func (c Config) String() string { return encode(c) }

// GoString is String, so that %#v shows no more than %v.
func (c Config) GoString() string { return c.String() }

// LogValue is String, for slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String returns the partition as TOML, with the password as "REDACTED".
func (p Partition) String() string { return encode(p) }

// GoString is String, so that %#v shows no more than %v.
func (p Partition) GoString() string { return p.String() }

// LogValue returns the name and the url, without the password.
func (p Partition) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", p.Name), slog.String("url", p.URL.String()))
}

func encode(v any) string {
	var b strings.Builder
	e := toml.NewEncoder(&b)
	e.Indent = ""
	if err := e.Encode(v); err != nil {
		return "config: " + err.Error() // does not happen: TOML has all kinds of the fields, as a test checks
	}
	return b.String()
}
