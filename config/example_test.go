package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/test/certs"
)

// keyTypes returns every key of a file, such as "http.listen" or "partition.url", with its Go type.
func keyTypes() map[string]reflect.Type {
	keys := map[string]reflect.Type{}
	root := reflect.TypeFor[Config]()
	for i, section := range namesOf(root) {
		table := root.Field(i).Type
		if table.Kind() == reflect.Slice {
			table = table.Elem()
		}
		addKeys(keys, section, table)
	}
	return keys
}

func addKeys(keys map[string]reflect.Type, section string, table reflect.Type) {
	for i, name := range namesOf(table) {
		if kind := table.Field(i).Type; kind == reflect.TypeFor[TLS]() {
			addKeys(keys, section+"."+name, kind)
		} else {
			keys[section+"."+name] = kind
		}
	}
}

func sortedKeys() []string { return slices.Sorted(maps.Keys(keyTypes())) }

func TestExampleLoadsToTheDefault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "example.toml")
	if err := os.WriteFile(path, []byte(Example), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default("data"), got); diff != "" {
		t.Errorf("(-default +example):\n%s", diff)
	}
}

var commentedOut = regexp.MustCompile(`(?m)^# (\[\[|[a-z_]+ = )`)

// wholeExample is the example with the lines that are only shown put in force.
func wholeExample() string { return commentedOut.ReplaceAllString(Example, "$1") }

func TestExampleLoadsWithAllItShows(t *testing.T) {
	dir := t.TempDir()
	for name, secret := range map[string]string{"db": "from the file\n", "hook": "a secret of a webhook"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	source := strings.NewReplacer("/run/secrets", dir, "/etc/ssl/hook-ca.pem", certs.NewAuthority(t).File).Replace(wholeExample())
	c, err := Parse("example.toml", []byte(source), func(name string) (string, bool) {
		return "from " + name, name == "DB_PASSWORD" || name == "HOOK_SECRET"
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Partitions) != 5 {
		t.Fatalf("%d partitions, want 5", len(c.Partitions))
	}
	for i, want := range []string{"from DB_PASSWORD", "from the file"} {
		if got := c.Partitions[3+i].URL.Password.Reveal(); got != want {
			t.Errorf("password of partition-%d: %q, want %q", 3+i, got, want)
		}
	}
}

// shown returns each key of the example with the text of the first value.
func shown() map[string]string {
	texts, section := map[string]string{}, ""
	header := regexp.MustCompile(`^\[+([a-z0-9.]+)\]+$`)
	for line := range strings.Lines(wholeExample()) {
		line = strings.TrimSpace(line)
		if match := header.FindStringSubmatch(line); match != nil {
			section = match[1]
		}
		name, value, found := strings.Cut(line, " = ")
		if key := section + "." + name; found && !strings.HasPrefix(line, "#") && texts[key] == "" {
			texts[key] = value
		}
	}
	return texts
}

func TestExampleHoldsEveryKey(t *testing.T) {
	if diff := cmp.Diff(sortedKeys(), slices.Sorted(maps.Keys(shown()))); diff != "" {
		t.Errorf("(-struct +example):\n%s", diff)
	}
}

func TestDocumentationHoldsEveryKeyWithItsTypeDefaultAndRange(t *testing.T) {
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, " | "); strings.HasPrefix(line, "| `") && len(cells) == 5 {
			got = append(got, strings.Join(cells[:4], " | "))
			if len(strings.Trim(cells[4], " |\n")) < 20 {
				t.Errorf("no reason: %s", line)
			}
		}
	}
	ranges := limits()
	for key, kind := range keyTypes() {
		want = append(want, fmt.Sprintf("| `%s` | %s | %s | %s", key, docType(kind), docDefault(key), ranges[key]))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/configuration.md (-code +documentation):\n%s", diff)
	}
}

// limits returns the range column: from the rules where these are numbers, in words where they are not.
func limits() map[string]string {
	c := newChecker(&report{})
	c.config(Default("data"))
	ranges := map[string]string{
		"http.listen":             "host:port",
		"http.hosts":              "host names",
		"http.cors_origins":       "exact origins",
		"http.trusted_proxies":    "addresses and networks",
		"admin.listen":            "host:port",
		"s3.listen":               "host:port",
		"s3.domain":               "a host name",
		"http.tls.cert":           "path",
		"http.tls.key":            "path",
		"http.tls.client_ca":      "path",
		"http.tls.client_auth":    "`none` `request` `require`",
		"store.masters":           "names of partitions",
		"store.read":              "`random` `nearest` `local`",
		"store.local":             "name of a partition",
		"store.require_durable":   "`true` `false`",
		"store.table_prefix":      "0..32 of `A-Za-z0-9_`, no digit first",
		"sync.schedule":           "cron",
		"sync.verify":             "cron",
		"log.level":               "`debug` `info` `warn` `error`",
		"log.format":              "`text` `json`",
		"log.access":              "path",
		"log.access_format":       "`combined` `json`",
		"audit.file":              "path",
		"audit.reads":             "`true` `false`",
		"audit.required":          "`true` `false`",
		"partition.name":          "1..64 of `A-Za-z0-9_.-`",
		"partition.url":           "`mysql://` `sqlite:`",
		"partition.password_file": "path",
		"webhook.url":             "`http://` `https://`",
		"webhook.prefix":          "0..512 bytes",
		"webhook.secret":          "at least 16 bytes",
		"webhook.ca":              "path",
		"webhook.secret_file":     "path",
		"auth.anonymous":          "`\"none\"` or a table",
		"quota.prefix":            "0..512 bytes",
		"quota.max_keys":          "0..1000000000",
		"quota.max_bytes":         "0..1048576GiB",
		"auth.secret_file":        "path",
		"certificate.san":         "1..512 bytes",
		"certificate.key":         "10 of `a-z2-7`",
		"key.id":                  "10 of `a-z2-7`",
		"key.name":                "1..128 printable characters",
		"key.hash":                "64 hexadecimal digits",
		"key.roles":               "`read` `write` `admin` `monitor`",
		"key.rights":              "`mint` `force`",
		"key.prefixes":            "at most 64",
		"key.expires":             "with its offset from UTC",
	}
	for key, limits := range c.ranges {
		if section, name, _ := strings.Cut(key, "]."); strings.HasPrefix(section, "partition[") {
			key = "partition." + name
		}
		ranges[key] = limits
	}
	return ranges
}

func docType(kind reflect.Type) string {
	switch kind {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[Size]():
		return "size"
	case reflect.TypeFor[int]():
		return "integer"
	case reflect.TypeFor[bool]():
		return "boolean"
	case reflect.TypeFor[[]string]():
		return "list of strings"
	case reflect.TypeFor[[]PrefixAccess]():
		return "list of tables"
	case reflect.TypeFor[Grants]():
		return "string or table"
	case reflect.TypeFor[time.Time]():
		return "date and time"
	}
	return "string"
}

// docDefault returns the default that the example shows; some keys have none.
func docDefault(key string) string {
	switch key {
	case "partition.name", "partition.url", "webhook.url", "key.id", "key.name", "key.hash", "certificate.san", "certificate.key":
		return "required"
	case "quota.prefix", "quota.max_keys", "quota.max_bytes":
		return "none"
	case "partition.password_file", "webhook.prefix", "webhook.secret", "webhook.secret_file", "webhook.ca", "key.roles", "key.rights", "key.prefixes", "key.expires":
		return "none"
	case "store.masters":
		return "the first partition"
	}
	return "`" + shown()[key] + "`"
}
