package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/config"
)

const running = `
[http]
listen = "127.0.0.1:1"
[[partition]]
name = "a"
url = "sqlite:a.db"
[[partition]]
name = "b"
url = "mysql://u:${P}@h/b"
`

const added = "[[partition]]\nname = 'c'\nurl = 'sqlite:c.db'\n"

func TestChangesTellsWhatJoinsAndWhatNeedsARestart(t *testing.T) {
	c := config.Partition{Name: "c", URL: config.URL{Scheme: config.SQLite, Path: "c.db"}, MaxConnections: 16}
	tests := map[string]struct {
		source, password string
		want             config.Difference
	}{
		"nothing":         {running, "p", config.Difference{}},
		"only its layout": {"# comment\n" + strings.ReplaceAll(running, `"`, `'`), "p", config.Difference{}},
		"one more":        {running + added, "p", config.Difference{Added: []config.Partition{c}}},
		"one before": {
			added + running, "p",
			config.Difference{Added: []config.Partition{c}, Restart: []string{"store.masters"}},
		},
		"one before, masters named": {
			"store.masters = ['a']\n" + added + running, "p",
			config.Difference{Added: []config.Partition{c}},
		},
		"a quota":    {running + "[[quota]]\nmax_keys = 1\n", "p", config.Difference{Quotas: true}},
		"a password": {running, "q", config.Difference{Restart: []string{"partition b: url"}}},
		"much": {
			"log.level = 'debug'\n[sync]\nlease = '16s'\n" + strings.NewReplacer(":1", ":2", `"a"`, `"c"`, "a.db", "c.db").Replace(running), "p",
			config.Difference{
				Added:   []config.Partition{c},
				Restart: []string{"http.listen", "store.masters", "sync.lease", "log.level", "partition a: removed"},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := config.Changes(parse(t, running, env("P", "p")), parse(t, test.source, env("P", test.password)))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestChangesLeavesOutThePasswordOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	read := func(password string) *config.Config {
		if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
			t.Fatal(err)
		}
		return parse(t, "[[partition]]\nname = 'b'\nurl = 'mysql://u@h/b'\npassword_file = '"+file+"'\n", env())
	}
	if got := config.Changes(read("p"), read("q")); got.Restart != nil {
		t.Errorf("a new password waits for a restart: %q", got.Restart)
	}
}
