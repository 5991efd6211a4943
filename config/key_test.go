package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store/access"
)

var hash = strings.Repeat("0123456789abcdef", 4)

// key returns a section with the lines, of which the first two are the header and the name.
func key(name string, lines ...string) string {
	return "[[key]]\nname = '" + name + "'\n" + strings.Join(lines, "\n") + "\n"
}

func TestEveryProblemOfKeysIsToldWithItsLine(t *testing.T) {
	id, h, role := "id = 'abcdefghi2'", "hash = '"+hash+"'", "roles = ['read']"
	const badTime = "must be a date and time with its offset from UTC, such as 2027-12-31T18:00:00Z"
	tests := map[string]struct {
		source string
		want   []string
	}{
		"nothing":     {"[[key]]", []string{"f:4: key[0].id: is missing", "f:4: key[0].name: is missing", "f:4: key[0].hash: is missing"}},
		"id":          {key("a", "id = 'ABC'", h, role), []string{"f:6: key[0].id: the id of a key must have 10 characters out of a-z and 2-7"}},
		"name":        {"[[key]]\nname = \"a\\n\"\n" + id + "\n" + h + "\n" + role, []string{"f:5: key[0].name: the name of a key must have 1..128 printable characters"}},
		"hash":        {key("a", id, "hash = '0'", role), []string{"f:7: key[0].hash: must be the 64 hexadecimal digits that 'runnel key create --toml' prints"}},
		"no grants":   {key("a", id, h), []string{"f:4: key[0]: nothing is granted: name a role, a right or a prefix"}},
		"role":        {key("a", id, h, "roles = [\n'read',\n'root']"), []string{`f:10: key[0].roles[1]: unknown role "root"; known are ["read" "write" "admin" "monitor"]`}},
		"right":       {key("a", id, h, "rights = ['fly']"), []string{`f:8: key[0].rights[0]: unknown right "fly"; known are ["mint" "force"]`}},
		"access":      {key("a", id, h, "prefixes = [{prefix = 'a/', access = 'all'}]"), []string{`f:8: key[0].prefixes[0].access: must be "deny", "read" or "write"`}},
		"prefix":      {key("a", id, h, "prefixes = [\n{prefix = 'a/', access = 'read'},\n{prefix = 'a/', access = 'deny'}]"), []string{`f:10: key[0].prefixes[1]: the prefix "a/" is given twice`}},
		"prefix list": {key("a", id, h, "prefixes = ['a/']"), []string{"f:8: key[0].prefixes[0]: must be a table, not a string"}},
		"prefix type": {key("a", id, h, "prefixes = 'a/'"), []string{"f:8: key[0].prefixes: must be an array of tables, not a string"}},
		"unknown":     {key("a", id, h, "role = 'read'"), []string{"f:8: key[0].role: unknown key; known here: id, name, hash, roles, rights, prefixes, expires"}},
		"expiry":      {key("a", id, h, role, "expires = 'soon'"), []string{"f:9: key[0].expires: " + badTime + ", not a string"}},
		"local time":  {key("a", id, h, role, "expires = 2027-01-01T00:00:00"), []string{"f:9: key[0].expires: " + badTime}},
		"local day":   {key("a", id, h, role, "expires = 2027-01-01"), []string{"f:9: key[0].expires: " + badTime}},
		"repetition":  {key("a", id, h, role) + key("a", id, h, role), []string{"f:10: key[1].name: is the name of another key too", "f:11: key[1].id: is the id of another key too"}},
		"anonymous":   {"[auth]\nanonymous = 'all'", []string{`f:5: auth.anonymous: must be "none", or a table with roles, rights and prefixes, not a string`}},
		"bad role":    {"auth.anonymous = {roles = ['root']}", []string{`f:1: auth.anonymous.roles[0]: unknown role "root"; known are ["read" "write" "admin" "monitor"]`}},
		"quota":       {"[[quota]]\nprefix = 'a/'", []string{"f:4: quota[0]: limits nothing: max_keys or max_bytes must be set"}},
		"quotas":      {"[[quota]]\nmax_keys = 1\n[[quota]]\nmax_bytes = '1KiB'", []string{"f:6: quota[1].prefix: has a quota already"}},
		"quota size":  {"[[quota]]\nprefix = \"\\u0007\"\nmax_bytes = -1", []string{"f:5: quota[0].prefix: must be at most 512 bytes of valid UTF-8 without control characters, like the keys", "f:6: quota[0].max_bytes: is -1, outside 0..1048576GiB"}},
		"stale":       {"[auth]\nmax_stale = '1s'", []string{"f:5: auth.max_stale: is 1s, outside 10s..24h"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			source := good + test.source
			if strings.HasPrefix(test.source, "auth.") {
				source = test.source + "\n" + good
			}
			_, err := config.Parse("f", []byte(source), nil)
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(test.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestKeysBecomeStaticAccess(t *testing.T) {
	c, err := config.Parse("f", []byte(good+key("app", "id = 'abcdefghi2'", "hash = '"+hash+"'", "rights = ['mint']", "expires = 2027-01-01T02:00:00+02:00",
		"prefixes = [{prefix = 'a/', access = 'write'}, {prefix = 'a/b/', access = 'deny'}]")+"[auth]\nanonymous = {roles = ['monitor']}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := access.Static{
		Keys: []access.Key{{
			ID: "abcdefghi2", Name: "app", ExpiresAt: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
			Grants: access.Spec{Rights: []access.Right{"mint"}, Prefixes: []access.Prefix{{Prefix: "a/", Access: access.Write}, {Prefix: "a/b/", Access: access.Deny}}},
		}},
		Anonymous: &access.Spec{Roles: []access.Role{"monitor"}},
	}
	if err := want.Keys[0].Hash.UnmarshalText([]byte(hash)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, c.Static()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s := config.Default("data").Static(); s.Keys != nil || s.Anonymous != nil {
		t.Errorf("the default grants %+v", s)
	}
}

func TestReviewNamesWhatIsExposed(t *testing.T) {
	admin := key("ops", "id = 'abcdefghi2'", "hash = '"+hash+"'", "roles = ['admin']")
	app := key("app", "id = 'abcdefghi3'", "hash = '"+hash+"'", "prefixes = [{prefix = '', access = 'read'}, {prefix = 'orders', access = 'read'}]")
	const open = "f:0: http.listen: until the store has a key, every program on this machine may do everything: see 'runnel key create'"
	const noAdmin = "http.listen: other machines reach this address, and no [[key]] has the role admin: while every database is away, no key is valid"
	const useTLS = "use tls=true, with ca=FILE for an authority of your own"
	const noTLS = "http.listen: other machines reach this address without TLS: keys and values travel in clear text"
	for name, test := range map[string]struct {
		source string
		want   []string
	}{
		"default":        {"", []string{strings.Replace(open, "f:0: ", "f: ", 1)}},
		"loopback":       {"[http]\nlisten = '[::1]:80'\n", []string{strings.Replace(open, "f:0", "f:5", 1)}},
		"key":            {admin, nil},
		"outside":        {"[http]\nlisten = ':80'\n", []string{"f:5: " + noTLS, "f:5: " + noAdmin}},
		"outside, key":   {"[http]\nlisten = '0.0.0.0:80'\n" + app, []string{"f:5: " + noTLS, "f:5: " + noAdmin, `f:10: key[0].prefixes[1].prefix: "orders" does not end in "/", so it matches "orders-x" too`}},
		"outside, admin": {"[http]\nlisten = 'db.example.org:80'\n" + admin, []string{"f:5: " + noTLS}},
		"outside by S3":  {"[s3]\nlisten = '0.0.0.0:80'\n", []string{"f:5: " + strings.Replace(noTLS, "http", "s3", 1), "f:5: " + strings.Replace(noAdmin, "http", "s3", 1)}},
		"origins": {"[http]\ncors_origins = ['https://app.example.org']\n" + admin, []string{
			"f:5: http.cors_origins[0]: pages of https://app.example.org may read and change everything that their requests are granted",
		}},
		"anonymous": {admin + "[auth]\nanonymous = {roles = ['read'], prefixes = [{prefix = 'public', access = 'read'}]}\n", []string{
			`f:10: auth.anonymous: requests without a key are answered: read, read "public"`,
			`f:10: auth.anonymous.prefixes[0].prefix: "public" does not end in "/", so it matches "public-x" too`,
		}},
		"connections": {admin + `[[partition]]
name = 'tunnel'
url = 'mysql://u:p@127.0.0.1/d?tls=preferred'
[[partition]]
name = 'socket'
url = 'mysql://u:p@unix(/s)/d'
[[partition]]
name = 'verified'
url = 'mysql://u:p@db1/d?tls=true'
[[partition]]
name = 'preferred'
url = 'mysql://u:p@db2/d?tls=preferred'
[[partition]]
name = 'skip-verify'
url = 'mysql://u:p@10.0.0.7/d?tls=skip-verify'
[[partition]]
name = 'false'
url = 'mysql://u:p@db4/d?tls=false'
[[partition]]
name = 'none'
url = 'mysql://u:p@db5/d'
[[webhook]]
url = 'http://localhost:80/'
secret = '0123456789abcdef'
[[webhook]]
url = 'http://hook.example.org/'
secret = '0123456789abcdef'
`, []string{
			"f:20: partition[4].url: tls=preferred verifies nothing, and falls back to plain text when no TLS is offered, so whoever sits in between can read and change everything: " + useTLS,
			"f:23: partition[5].url: tls=skip-verify encrypts, but verifies nothing, so whoever sits in between can read and change everything: " + useTLS,
			"f:26: partition[6].url: values travel unencrypted, so whoever sits in between can read and change everything: " + useTLS,
			"f:29: partition[7].url: values travel unencrypted, so whoever sits in between can read and change everything: " + useTLS,
			"f:34: webhook[1].url: changes travel unencrypted: use https",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.WriteFile("f", []byte(good+test.source), 0o600); err != nil {
				t.Fatal(err)
			}
			c, warnings, err := config.Review("f", nil)
			if err != nil || c == nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range warnings {
				got = append(got, w.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if _, _, err := config.Review(filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("a missing file has a review")
	}
}

func TestChangesOfAccessNeedNoRestart(t *testing.T) {
	old, changed := config.Default("data"), config.Default("data")
	changed.Keys = []config.Key{{Name: "a"}}
	if d := config.Changes(old, changed); !d.Access || len(d.Restart) > 0 {
		t.Errorf("a key: %+v", d)
	}
	changed = config.Default("data")
	changed.Auth.Anonymous.Roles = []string{"read"}
	if d := config.Changes(old, changed); !d.Access || len(d.Restart) > 0 {
		t.Errorf("anonymous: %+v", d)
	}
	changed = config.Default("data")
	changed.Auth.MaxStale = time.Hour
	if d := config.Changes(old, changed); d.Access || len(d.Restart) != 1 {
		t.Errorf("max_stale: %+v", d)
	}
}
