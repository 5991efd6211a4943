package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/config"
)

// env makes a Lookup of name, value, name, value…
func env(pairs ...string) config.Lookup {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func parse(t *testing.T, source string, lookup config.Lookup) *config.Config {
	t.Helper()
	c, err := config.Parse("test.toml", []byte(source), lookup)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return c
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadFillsInDefaults(t *testing.T) {
	path := write(t, "runnel.toml", "[[partition]]\nname = \"a\"\nurl = \"sqlite:a.db\"\n")
	got, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default("")
	want.Partitions = want.Partitions[:1]
	want.Partitions[0].Name, want.Partitions[0].URL.Path = "a", "a.db"
	want.Store.Masters = []string{"a"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
}

func TestLoadTellsWhyAFileCannotBeRead(t *testing.T) {
	if _, err := config.Load(filepath.Join(t.TempDir(), "none.toml"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v, want fs.ErrNotExist", err)
	}
	if _, err := config.Load(t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("directory: %v", err)
	}
	big := write(t, "big.toml", strings.Repeat("#", 1<<20+1))
	if _, err := config.Load(big, nil); err == nil || !strings.Contains(err.Error(), "larger than 1MiB") {
		t.Errorf("over-long file: %v", err)
	}
}

func TestEveryWayOfWritingTOMLGivesTheSame(t *testing.T) {
	for name, source := range map[string]string{
		"dotted":        "http.listen = 'h:1'\nstore.masters = ['b']\npartition = [{name = 'a', url = 'sqlite:a'}, {name = 'b', url = 'sqlite:b'}]",
		"inline":        "http = {listen = 'h:1'}\nstore = {masters = ['b']}\npartition = [\n {name = 'a', url = 'sqlite:a'},\n {name = 'b', url = 'sqlite:b'},\n]",
		"quoted, CRLF":  "[\"http\"]\r\n\"lis\\u0074en\" = \"h:1\"\r\n[store]\r\nmasters = [\"b\"]\r\n[[partition]]\r\nname = 'a'\r\nurl = 'sqlite:a'\r\n[[partition]]\r\nname = 'b'\r\nurl = 'sqlite:b'\r\n",
		"byte order":    "\uFEFF[http]\nlisten = 'h:1'\n[store]\nmasters = ['b']\n[[partition]]\nname = 'a'\nurl = 'sqlite:a'\n[[partition]]\nname = 'b'\nurl = 'sqlite:b'\n",
		"from variable": "http.listen = '${HOST}:1'\nstore.masters = ['${MASTER}']\npartition = [{name = 'a', url = '${URL}'}, {name = 'b', url = 'sqlite:${MASTER}'}]",
	} {
		t.Run(name, func(t *testing.T) {
			want := config.Default("")
			want.HTTP.Listen, want.Store.Masters = "h:1", []string{"b"}
			want.Partitions = want.Partitions[:2]
			want.Partitions[0].Name, want.Partitions[0].URL.Path = "a", "a"
			want.Partitions[1].Name, want.Partitions[1].URL.Path = "b", "b"
			got := parse(t, source, env("HOST", "h", "MASTER", "b", "URL", "sqlite:a"))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTestEnvironmentPrefixesMySQLDatabases(t *testing.T) {
	source := "[[partition]]\nname='a'\nurl='mysql://u@h/store'\n[[partition]]\nname='b'\nurl='mysql://u@h/test_b'\n" +
		"[[partition]]\nname='c'\nurl='sqlite:c.db'\n"
	c := parse(t, source, env("RUNNEL_ENV", "test"))
	got := []string{c.Partitions[0].URL.Database, c.Partitions[1].URL.Database, c.Partitions[2].URL.Path}
	if diff := cmp.Diff([]string{"test_store", "test_b", "c.db"}, got); diff != "" {
		t.Error(diff)
	}
	if got := parse(t, source, env("RUNNEL_ENV", "production")).Partitions[0].URL.Database; got != "store" {
		t.Errorf("in production: database %q", got)
	}
	both := strings.Replace(source, "/test_b", "/test_store", 1)
	if _, err := config.Parse("", []byte(both), env("RUNNEL_ENV", "test")); err == nil {
		t.Error("store and test_store are one database under RUNNEL_ENV=test, but were accepted")
	}
}

func TestPasswordFileIsReadToItsFirstLine(t *testing.T) {
	for content, want := range map[string]string{
		"secret": "secret", "secret\n": "secret", "secret\r\nmore\n": "secret", " pa ss \n": " pa ss ", "p@s/s:w#?%\n": "p@s/s:w#?%",
	} {
		path := write(t, "password", content)
		c := parse(t, "[[partition]]\nname='a'\nurl='mysql://u@h/d'\npassword_file='${FILE}'\n", env("FILE", path))
		if got := c.Partitions[0].URL.Password.Reveal(); got != want {
			t.Errorf("file %q: password %q, want %q", content, got, want)
		}
		if err := c.Validate(); err != nil {
			t.Errorf("a loaded config is not valid: %v", err)
		}
	}
}

func TestPasswordFileMustHoldAPassword(t *testing.T) {
	for _, content := range []string{"", "\n", "\r\nsecret\n"} {
		path := write(t, "password", content)
		_, err := config.Parse("f", []byte("[[partition]]\nname='a'\nurl='mysql://u@h/d'\npassword_file='"+path+"'\n"), nil)
		if want := "f:4: partition[0].password_file: the first line of " + path + " is empty"; err == nil || err.Error() != want {
			t.Errorf("file %q: %v, want %s", content, err, want)
		}
	}
}

func TestSecretFileMustHoldALongSecret(t *testing.T) {
	short, long := write(t, "short", strings.Repeat("a", 31)+"\nmore than enough in the second line\n"), write(t, "long", strings.Repeat("a", 32)+"\n")
	for path, want := range map[string]string{
		long:      "",
		short:     "f:1: auth.secret_file: the first line of " + short + " has 31 bytes",
		"/none/x": "f:1: auth.secret_file: ",
	} {
		_, err := config.Parse("f", []byte("auth.secret_file = '"+path+"'\n"+good), nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("file %s: %v, want %s", path, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("[http]\nmax_header_bytes = '64KiB'\nread_timeout = '1m'\n[log]\nlevel = 'info'\n" + good)
	f.Add("http.listen = 'h:1'\npartition = [{name = 'a', url = 'sqlite:a'},\n{name = 'b', url = 'mysql://u:p@h/d?tls=true'}]")
	f.Add("[sync]\nschedule = 'TZ=UTC'\n[store]\nmax_value_bytes = '${X}'\n[[partition]]\nurl = '''\nx'''\n")
	f.Fuzz(func(t *testing.T, source string) {
		c, err := config.Parse("f", []byte(source), env("X", "x", "P", "p@ss"))
		var problems config.Problems
		switch {
		case err == nil:
			checkAccepted(t, c)
		case !errors.As(err, &problems) || len(problems) == 0:
			t.Fatalf("error without problems: %v", err)
		}
		for _, p := range problems {
			if p.Line < 0 || p.Line > strings.Count(source, "\n")+1 || p.Message == "" {
				t.Fatalf("bad problem: %#v", p)
			}
		}
	})
}

// checkAccepted checks that c is valid, and equal after encoding and parsing, unless a secret was left out or
// a part of the text looks like a variable.
func checkAccepted(t *testing.T, c *config.Config) {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatalf("accepted, yet not valid: %v", err)
	}
	var b strings.Builder
	if err := toml.NewEncoder(&b).Encode(c); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if strings.Contains(text, "REDACTED") || strings.Contains(text, "$") || strings.Contains(text, "password_file") {
		return
	}
	again, err := config.Parse("again", []byte(text), nil)
	if err != nil {
		t.Fatalf("encoded, yet not accepted: %v\n%s", err, text)
	}
	if diff := cmp.Diff(c, again); diff != "" {
		t.Fatalf("encoded and parsed again:\n%s", diff)
	}
}
