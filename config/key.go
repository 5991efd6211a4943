package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/runnelkv/runnel/store/access"
)

// Auth configures which requests are answered.
type Auth struct {
	Anonymous Grants        `toml:"anonymous" json:"anonymous"` // of requests without a key; zero: none
	MaxStale  time.Duration `toml:"max_stale" json:"max_stale"` // how long stored keys stay valid when they cannot be read
	// SecretFile holds the secret of the sign-in cookies of browsers; "": a random secret for each process.
	SecretFile string `toml:"secret_file" json:"secret_file"`
}

// Key is an API key, which is valid in this process even if no database can be reached.
type Key struct {
	ID       string         `toml:"id" json:"id"`
	Name     string         `toml:"name" json:"name"`
	Hash     string         `toml:"hash" json:"hash"` // SHA-256 of the secret, in hexadecimal digits
	Roles    []string       `toml:"roles" json:"roles"`
	Rights   []string       `toml:"rights" json:"rights"`
	Prefixes []PrefixAccess `toml:"prefixes" json:"prefixes"`
	Expires  time.Time      `toml:"expires" json:"expires,omitzero"` // zero: never
}

// Grants are permissions without a key. The zero value grants nothing.
type Grants struct {
	Roles    []string       `toml:"roles" json:"roles"`
	Rights   []string       `toml:"rights" json:"rights"`
	Prefixes []PrefixAccess `toml:"prefixes" json:"prefixes"`
}

// PrefixAccess is the access to the keys that begin with a prefix: deny, read or write.
type PrefixAccess struct {
	Prefix string `toml:"prefix" json:"prefix"`
	Access string `toml:"access" json:"access"`
}

// isZero reports whether nothing is granted.
func (g Grants) isZero() bool { return len(g.Roles)+len(g.Rights)+len(g.Prefixes) == 0 }

// Static returns the access that a valid configuration grants.
func (c *Config) Static() (s access.Static) {
	for _, k := range c.Keys {
		record, _ := k.accessKey() // valid
		s.Keys = append(s.Keys, record)
	}
	if !c.Auth.Anonymous.isZero() {
		spec, _ := c.Auth.Anonymous.spec() // valid
		s.Anonymous = &spec
	}
	return s
}

// accessKey returns the key as package access has it. The error is an *access.FieldError.
func (k Key) accessKey() (access.Key, error) {
	spec, err := Grants{Roles: k.Roles, Rights: k.Rights, Prefixes: k.Prefixes}.spec()
	if err != nil {
		return access.Key{}, err
	}
	record := access.Key{ID: k.ID, Name: k.Name, Grants: spec, ExpiresAt: k.Expires}
	if err := record.Hash.UnmarshalText([]byte(k.Hash)); err != nil {
		return access.Key{}, &access.FieldError{Field: "hash", Reason: "must be the 64 hexadecimal digits that 'runnel key create --toml' prints"}
	}
	return record, record.Validate()
}

// spec returns the grants as package access has them. The error is an *access.FieldError.
func (g Grants) spec() (s access.Spec, err error) {
	for _, r := range g.Roles {
		s.Roles = append(s.Roles, access.Role(r))
	}
	for _, r := range g.Rights {
		s.Rights = append(s.Rights, access.Right(r))
	}
	for i, p := range g.Prefixes {
		prefix := access.Prefix{Prefix: p.Prefix}
		if prefix.Access.UnmarshalText([]byte(p.Access)) != nil {
			return access.Spec{}, &access.FieldError{Field: element("prefixes", i) + ".access", Reason: `must be "deny", "read" or "write"`}
		}
		s.Prefixes = append(s.Prefixes, prefix)
	}
	_, err = s.Compile()
	return s, err
}

const maxStaticKeys = 1000

func (c *checker) auth(a Auth) {
	c.duration("auth.max_stale", a.MaxStale, 10*time.Second, 24*time.Hour)
	if !a.Anonymous.isZero() {
		_, err := a.Anonymous.spec()
		c.field("auth.anonymous", err)
	}
}

func (c *checker) keys(keys []Key) {
	if !c.atMost("key", len(keys), maxStaticKeys) {
		return
	}
	for i, k := range keys {
		key := element("key", i)
		for _, missing := range [...]struct{ name, text string }{{"id", k.ID}, {"name", k.Name}, {"hash", k.Hash}} {
			if missing.text == "" {
				c.rule(key+"."+missing.name, "is missing")
			}
		}
		if _, err := k.accessKey(); !c.faultyBelow(key) {
			c.field(key, err)
		}
		if slices.ContainsFunc(keys[:i], func(other Key) bool { return other.ID == k.ID && k.ID != "" }) {
			c.rule(key+".id", "is the id of another key too")
		}
		if slices.ContainsFunc(keys[:i], func(other Key) bool { return other.Name == k.Name && k.Name != "" }) {
			c.rule(key+".name", "is the name of another key too")
		}
	}
}

// field reports the part of a key or of grants that is not valid.
func (c *checker) field(key string, err error) {
	fault, ok := errors.AsType[*access.FieldError](err)
	switch {
	case !ok:
	case fault.Field == "":
		c.rule(key, fault.Reason)
	default:
		c.rule(key+"."+fault.Field, fault.Reason)
	}
}

// KeySection returns a valid key as a section [[key]] of a configuration file.
func KeySection(k access.Key) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n[[key]]\nid = %s\nname = %s\nhash = %s\n", quote(k.ID), quote(k.Name), quote(k.Hash.String()))
	if len(k.Grants.Roles) > 0 {
		fmt.Fprintf(&b, "roles = [%s]\n", quoteAll(k.Grants.Roles))
	}
	if len(k.Grants.Rights) > 0 {
		fmt.Fprintf(&b, "rights = [%s]\n", quoteAll(k.Grants.Rights))
	}
	if len(k.Grants.Prefixes) > 0 {
		b.WriteString("prefixes = [\n")
		for _, p := range k.Grants.Prefixes {
			fmt.Fprintf(&b, "  {prefix = %s, access = %s},\n", quote(p.Prefix), quote(p.Access.String()))
		}
		b.WriteString("]\n")
	}
	if !k.ExpiresAt.IsZero() {
		fmt.Fprintf(&b, "expires = %s\n", k.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return b.String()
}

// quote returns valid UTF-8 without control characters as a string of TOML that expands no variable. The escapes of Go
// for other characters are those of TOML.
func quote(text string) string { return strconv.Quote(strings.ReplaceAll(text, "${", "$${")) }

func quoteAll[T ~string](texts []T) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = quote(string(text))
	}
	return strings.Join(quoted, ", ")
}
