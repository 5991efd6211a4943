package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// maxFileBytes bounds a configuration file and a password file.
const maxFileBytes = 1 << 20

// Load reads the file at path; env is usually [os.LookupEnv]. The error is [Problems] if the content is faulty, and
// wraps the operating system's error if the file cannot be read. A file of more than 1 MiB is refused.
func Load(path string, env Lookup) (*Config, error) {
	_, c, err := load(path, env)
	return c, err
}

// load is Load, and returns the report with the lines of the keys.
func load(path string, env Lookup) (*report, *Config, error) {
	source, err := readFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read config: %w", err)
	}
	r := &report{file: path}
	c, err := r.readSource(source, env)
	return r, c, err
}

// Parse is Load for a source in memory; file is the name that problems give. Parse reads the files of
// passwords and certificates that the source names.
func Parse(file string, source []byte, env Lookup) (*Config, error) {
	return (&report{file: file}).readSource(source, env)
}

func (r *report) readSource(source []byte, env Lookup) (*Config, error) {
	document := r.parse(string(source))
	if err := r.err(); err != nil {
		return nil, err
	}
	c := base()
	(&decoder{report: r, env: env}).table("", document, reflect.ValueOf(c).Elem())
	r.readPasswords(c.Partitions)
	r.readCertificates(c.HTTP.TLS)
	r.readAuthorities(c.Webhooks)
	r.readWebhookSecrets(c.Webhooks)
	if file := c.Auth.SecretFile; file != "" {
		if _, err := ReadSecret(file); err != nil {
			r.addf("auth.secret_file", "%v", err)
		}
	}
	if c.Store.Masters == nil && len(c.Partitions) > 0 {
		c.Store.Masters = []string{c.Partitions[0].Name}
	}
	newChecker(r).config(c)
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// parse parses the source as TOML, or reports why the source is not TOML.
func (r *report) parse(source string) (document map[string]any) {
	number := 0
	for line := range strings.Lines(source) {
		if number++; !utf8.ValidString(line) { // the library accepts a mark of UTF-16, and reads UTF-8 nevertheless
			return r.reject(number, "", "is not UTF-8 text")
		}
	}
	lines, beyond, line := indexLines(source)
	if beyond != "" {
		return r.reject(line, "", beyond)
	}
	_, err := toml.Decode(source, &document)
	if err == nil {
		r.lines = lines
		return document
	}
	if syntax, ok := errors.AsType[toml.ParseError](err); ok {
		return r.reject(syntax.Position.Line, syntax.LastKey, withoutText(syntax.Message, source, syntax.Position.Line))
	}
	return r.reject(0, "", "is not TOML")
}

// reject reports a problem of the whole document, and returns no document.
func (r *report) reject(line int, key, message string) map[string]any {
	r.problems = append(r.problems, Problem{File: r.file, Line: line, Key: key, Message: message})
	return nil
}

// withoutText returns the message about a syntax error on a line, unless the message repeats a word of the line's
// value, which may be a secret without quotes.
func withoutText(message, source string, line int) string {
	text := strings.Split(source, "\n")[max(0, line-1)]
	if _, value, found := strings.Cut(text, "="); found {
		text = value
	}
	for word := range strings.FieldsSeq(message) {
		if word = strings.Trim(word, `"'.,:;()`); len(word) > 1 && strings.Contains(text, word) {
			return "is not TOML: text stands in quotes, and a number, date or boolean in TOML's form"
		}
	}
	return message
}

// readPasswords puts the content of each password_file into the partition's URL.
func (r *report) readPasswords(partitions []Partition) {
	for i := range partitions {
		p, key := &partitions[i], partitionKey(i)+".password_file"
		switch {
		case p.PasswordFile == "" || r.faulty(partitionKey(i)+".url"):
		case p.URL.Scheme == SQLite:
			r.addf(key, "is of no use to SQLite, which has no passwords")
		case p.URL.Password.IsSet():
			r.addf(key, "the url already holds a password; keep one of the two")
		default:
			password, err := ReadPassword(p.PasswordFile)
			if err != nil {
				r.addf(key, "%v", err)
			}
			p.URL.Password = password
		}
	}
}

// readCertificates reports files of certificates that cannot be used.
func (r *report) readCertificates(t TLS) {
	if t.Cert != "" && t.Key != "" {
		if _, err := t.ReadCert(); err != nil {
			r.addf("http.tls.cert", "%v", err)
		}
	}
	if t.ClientCA != "" {
		if _, err := ReadAuthorities(t.ClientCA); err != nil {
			r.addf("http.tls.client_ca", "%v", err)
		}
	}
}

// readAuthorities reports files of authorities that cannot be used.
func (r *report) readAuthorities(hooks []Webhook) {
	for i, h := range hooks {
		if h.CA == "" {
			continue
		}
		if _, err := ReadAuthorities(h.CA); err != nil {
			r.addf(element("webhook", i)+".ca", "%v", err)
		}
	}
}

// readWebhookSecrets puts the secret of each secret_file into its webhook.
func (r *report) readWebhookSecrets(hooks []Webhook) {
	for i := range hooks {
		h, key := &hooks[i], element("webhook", i)+".secret_file"
		switch {
		case h.SecretFile == "":
		case h.Secret.IsSet():
			r.addf(key, "the section already holds a secret; keep one of the two")
		default:
			secret, err := ReadWebhookSecret(h.SecretFile)
			if err != nil {
				r.addf(key, "%v", err)
			}
			h.Secret = secret
		}
	}
}

// ReadPassword returns the first line of a regular file of at most 1 MiB, without the line end; an empty line is an error.
func ReadPassword(path string) (Secret, error) {
	content, err := readFile(path)
	if err != nil {
		return Secret{}, err
	}
	line, _, _ := strings.Cut(string(content), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return Secret{}, fmt.Errorf("the first line of %s is empty", path)
	}
	return NewSecret(line), nil
}

// ReadSecret is ReadPassword for the secret of the sign-in cookies, of at least 32 bytes.
func ReadSecret(path string) (Secret, error) { return readSecret(path, minSignInSecret) }

// ReadWebhookSecret is ReadPassword for the secret of a webhook, of at least 16 bytes.
func ReadWebhookSecret(path string) (Secret, error) { return readSecret(path, minWebhookSecret) }

func readSecret(path string, least int) (Secret, error) {
	secret, err := ReadPassword(path)
	if n := len(secret.Reveal()); err == nil && n < least {
		return Secret{}, fmt.Errorf("the first line of %s has %d bytes, a secret has at least %d: make one with 'openssl rand -hex 32'", path, n, least)
	}
	return secret, err
}

// readFile reads a regular file of at most maxFileBytes: a pipe or device could block the caller for ever.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(content) > maxFileBytes {
		err = fmt.Errorf("%s is larger than %v", path, Size(maxFileBytes))
	}
	return content, err
}
