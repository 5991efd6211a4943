package config

import (
	"log/slog"
	"strings"

	"github.com/BurntSushi/toml"
)

// String gives the whole configuration as TOML, passwords as "REDACTED".
func (c Config) String() string { return encode(c) }

// GoString is String: %#v shows no more than %v.
func (c Config) GoString() string { return c.String() }

// LogValue is String, for slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String gives the partition as TOML, its password as "REDACTED".
func (p Partition) String() string { return encode(p) }

// GoString is String: %#v shows no more than %v.
func (p Partition) GoString() string { return p.String() }

// LogValue names the partition and its url, without the password.
func (p Partition) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", p.Name), slog.String("url", p.URL.String()))
}

func encode(v any) string {
	var b strings.Builder
	e := toml.NewEncoder(&b)
	e.Indent = ""
	if err := e.Encode(v); err != nil {
		return "config: " + err.Error() // the fields are of kinds that TOML has; their types are checked by a test
	}
	return b.String()
}
