package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/config"
)

// good is a section that has no problem, to put behind sources that are about something else.
const good = "[[partition]]\nname = 'p'\nurl = 'sqlite:p.db'\n"

const (
	unknownHTTP = "unknown key; known here: listen, hosts, cors_origins, read_header_timeout, read_timeout, write_timeout, idle_timeout, " +
		"drain, shutdown_timeout, max_header_bytes, max_connections, max_idle_connections, request_memory, trusted_proxies, tls"
	unknownTop       = "unknown key; known here: http, store, sync, files, s3, terraform, admin, log, audit, limits, auth, partition, webhook, key, quota, certificate"
	unknownPartition = "unknown key; known here: name, url, password_file, max_connections"
	badSize          = `must be a whole number of bytes, or one with a unit, such as "16MiB" or "8MB" ` +
		`(B, KB, MB, GB are powers of 1000; KiB, MiB, GiB of 1024)`
	wantDuration = `must be a duration with its unit in quotes, such as "500ms", "30s" or "1m30s"`
	badSchedule  = `must be a cron line of five fields, such as "*/5 * * * *", or one of @every <duration>, ` +
		`@hourly, @daily, @weekly, @monthly, @yearly`
	badURL     = `must be "mysql://user:password@host:port/database" or "sqlite:path"`
	badMySQL   = `is not of the form "mysql://user:password@host:port/database" or "mysql://user:password@unix(/socket)/database"; a password with special characters is percent-encoded, or comes from ${ENV} or password_file`
	badName    = "must be 1..64 letters, digits, '_', '.' or '-', beginning with a letter or digit"
	badPrefix  = "must be at most 32 letters, digits or '_', and begin with no digit"
	badDB      = "must name a database of 1..64 letters, digits, '_', '-' or '$'"
	badParam   = "takes no parameter but tls=true, false, skip-verify or preferred, and with tls=true ca=FILE, cert=FILE and key=FILE"
	badHost    = "names no host, or one that is neither a host name nor an address"
	badListen  = `must be "host:port", such as "127.0.0.1:8080" or "[::1]:8080"`
	badNames   = "is neither a host name nor an address; write it without a port"
	badEnvText = `"${" must be followed by a variable's name and "}"; "$${" stands for a plain "${"`
)

// crowd is the content of n partitions that have no problem but their number.
func crowd(n int) string {
	sections := make([]string, n)
	for i := range sections {
		sections[i] = fmt.Sprintf("name = 'p%d'\nurl = 'mysql://u@h/d%d'\n", i, i)
	}
	return strings.Join(sections, "[[partition]]\n")
}

func TestEveryProblemIsToldWithItsLineAndKey(t *testing.T) {
	tests := map[string]struct {
		source string
		want   []string
	}{
		"empty file":            {"", []string{"f: partition: there must be at least one: a section [[partition]] with name and url"}},
		"no partition at all":   {"partition = []", []string{"f:1: partition: there must be at least one: a section [[partition]] with name and url"}},
		"syntax":                {"[http]\n\nlisten = \n", []string{"f:3: http.listen: expected value but found '\\n' instead"}},
		"not UTF-8":             {"# \uFFFD\n\n# \xff\n", []string{"f:3: is not UTF-8 text"}},
		"UTF-16":                {"\xff\xfea = 1\n", []string{"f:1: is not UTF-8 text"}},
		"key given twice":       {"[log]\nlevel = 'info'\nlevel = 'warn'\n", []string{"f:3: log.level: Key 'log.level' has already been defined."}},
		"unknown keys":          {"lissten = 1\n[http]\nListen = 'x'\n[nope]\na = 1\n[http.sub]\n" + good + "passwd = 'x'\n", []string{"f:1: lissten: " + unknownTop, "f:3: http.Listen: " + unknownHTTP, "f:4: nope: " + unknownTop, "f:6: http.sub: " + unknownHTTP, "f:10: partition[0].passwd: " + unknownPartition}},
		"unknown key in dots":   {"http.'a.b'.c = 1\n" + good, []string{"f:1: http.\"a.b\": " + unknownHTTP}},
		"wrong types":           {good + "[http]\nlisten = 8080\nread_timeout = 10\nmax_header_bytes = 1.5\n[store]\nmasters = 'p'\nread = ['random']\n[sync]\nbatch_entries = '2000'\nlease = true\n[log]\nlevel = 2020-01-01\nformat = {}\n", []string{"f:5: http.listen: must be a string, not an integer", "f:6: http.read_timeout: " + wantDuration + ", not an integer", `f:7: http.max_header_bytes: must be a size, such as "16MiB" or 4096, not a float`, "f:9: store.masters: must be a list of strings, not a string", "f:10: store.read: must be a string, not an array", "f:12: sync.batch_entries: must be an integer, not a string", "f:13: sync.lease: " + wantDuration + ", not a boolean", "f:15: log.level: must be a string, not a date or time", "f:16: log.format: must be a string, not a table"}},
		"wrong kinds of table":  {"http = 1\nlog = ['x']\n[partition]\nname = 'a'\n", []string{"f:1: http: must be a table, not an integer", "f:2: log: must be a table, not an array", "f:3: partition: must be an array of tables: write [[partition]], not a table"}},
		"array of no tables":    {"partition = [\n  1,\n  # comment ]\n  'x',\n]", []string{"f:2: partition[0]: must be a table, not an integer", "f:4: partition[1]: must be a table, not a string"}},
		"masters of wrong type": {"store.masters = [\n 1,\n 'q',\n 'p', 'p']\n" + good, []string{"f:2: store.masters[0]: must be a string, not an integer", "f:3: store.masters[1]: no partition is named \"q\"", "f:4: store.masters[3]: names \"p\" twice"}},
		"no masters":            {"store.masters = []\n" + good, []string{"f:1: store.masters: must name at least one partition"}},
		"missing keys":          {"[[partition]]\n[[partition]]\nname = ''\nurl = ''\n", []string{"f:1: partition[0].name: is missing", "f:1: partition[0].url: is missing", "f:3: partition[1].name: is missing", "f:4: partition[1].url: " + badURL}},
		"same name":             {good + "[[partition]]\nname = 'p'\nurl = 'sqlite:q.db'\n", []string{"f:5: partition[1].name: is the name of another partition too (line 2)"}},
		"same database":         {good + "[[partition]]\nname = 'q'\nurl = 'sqlite:./x/../p.db'\n[[partition]]\nname = 'r'\nurl = 'mysql://a:b@DB.example.:3306/x'\n[[partition]]\nname = 's'\nurl = 'mysql://c@db.Example/x?tls=true'\n", []string{"f:6: partition[1].url: is the database of another partition too (line 3)", "f:12: partition[3].url: is the database of another partition too (line 9)"}},
		"same address":          {"[[partition]]\nname = 'q'\nurl = 'mysql://u@[::1]/x'\n[[partition]]\nname = 'r'\nurl = 'mysql://u@[0:0::1]:3306/x'\n", []string{"f:6: partition[1].url: is the database of another partition too (line 3)"}},
		"same in inline tables": {"partition = [ # here\n  {name = 'a', url = 'sqlite:a'},\n\n  {name = 'a',\n   url = 'sqlite:a'} ]", []string{"f:4: partition[1].name: is the name of another partition too (line 2)", "f:5: partition[1].url: is the database of another partition too (line 2)"}},
		"names":                 {"[[partition]]\nname = '-a'\nurl = 'sqlite:a'\n[[partition]]\nname = 'a b'\nurl = 'sqlite:b'\n[[partition]]\nname = '" + strings.Repeat("x", 65) + "'\nurl = 'sqlite:c'\n[[partition]]\nname = 5\nurl = 'sqlite:d'\n[store]\nmasters = ['other']\n", []string{"f:2: partition[0].name: " + badName, "f:5: partition[1].name: " + badName, "f:8: partition[2].name: " + badName, "f:11: partition[3].name: must be a string, not an integer"}},
		"table prefix":          {"[store]\ntable_prefix = 'a-b'\n" + good, []string{"f:2: store.table_prefix: " + badPrefix}},
		"table prefix of SQL":   {"[store]\ntable_prefix = '2_'\n" + good, []string{"f:2: store.table_prefix: " + badPrefix}},
		"reads":                 {"[store]\nread = 'fastest'\n" + good, []string{`f:2: store.read: must be "random", "nearest" or "local"`}},
		"reads nowhere":         {"[store]\nread = 'local'\n" + good, []string{`f:1: store.local: must name a partition, with read = "local"`}},
		"reads elsewhere":       {"[store]\nread = 'local'\nlocal = 'gone'\n" + good, []string{`f:3: store.local: no partition is named "gone"`}},
		"local in vain":         {"[store]\nlocal = 'gone'\n" + good, []string{`f:2: store.local: has no effect without read = "local"`}},
		"session wait":          {"[store]\nsession_wait = '-1s'\n" + good, []string{`f:2: store.session_wait: is -1s, outside 0s..10s`}},
		"reads unknown":         {"[store]\nread = 'Random'\n" + good, []string{`f:2: store.read: must be "random", "nearest" or "local"`}},
		"sizes":                 {"[store]\nmax_key_bytes = '16mib'\nmax_value_bytes = '-1'\ncommit_batch_bytes = '9999999999GiB'\n[sync]\nbatch_bytes = '1.5MiB'\n[http]\nmax_header_bytes = ''\n" + good, []string{"f:2: store.max_key_bytes: " + badSize, "f:3: store.max_value_bytes: " + badSize, "f:4: store.commit_batch_bytes: " + badSize, "f:6: sync.batch_bytes: " + badSize, "f:8: http.max_header_bytes: " + badSize}},
		"sizes out of range":    {"[store]\nmax_key_bytes = 513\nmax_value_bytes = 0\ncommit_batch_bytes = '2GiB'\n[http]\nmax_header_bytes = '1KB'\n" + good, []string{"f:2: store.max_key_bytes: is 513B, outside 1B..512B", "f:3: store.max_value_bytes: is 0, outside 1B..1GiB", "f:4: store.commit_batch_bytes: is 2GiB, outside 64KiB..1GiB", "f:6: http.max_header_bytes: is 1KB, outside 4KiB..1MiB"}},
		"numbers out of range":  {"[sync]\nbatch_entries = 0\n[store]\ncommit_batch_entries = 9223372036854775807\n" + good + "max_connections = 1001\n", []string{"f:2: sync.batch_entries: is 0, outside 1..100000", "f:4: store.commit_batch_entries: is 9223372036854775807, outside 1..10000", "f:8: partition[0].max_connections: is 1001, outside 4..1000"}},
		"durations":             {"[http]\nread_timeout = '10'\nidle_timeout = '-5s'\nwrite_timeout = '25h'\n[sync]\nlease = '1 s'\nbackoff_max = '61m'\n" + good, []string{"f:2: http.read_timeout: " + wantDuration, "f:3: http.idle_timeout: is -5s, outside 10ms..24h", "f:4: http.write_timeout: is 25h, outside 10ms..24h", "f:6: sync.lease: " + wantDuration, "f:7: sync.backoff_max: is 1h1m, outside 1s..1h"}},
		"addresses":             {"[http]\nlisten = '8080'\n" + good, []string{"f:2: http.listen: " + badListen}},
		"address host":          {"[http]\nlisten = 'a b:1'\n" + good, []string{"f:2: http.listen: its host is neither a host name nor an address"}},
		"hosts":                 {"[http]\nhosts = ['runnel.example.org', 'a:80', '']\n" + good, []string{"f:2: http.hosts[1]: " + badNames, "f:2: http.hosts[2]: " + badNames}},
		"address port":          {"[http]\nlisten = ':http'\n" + good, []string{"f:2: http.listen: its port must be a number in 0..65535"}},
		"schedule":              {"[sync]\nschedule = 'now and then'\n" + good, []string{"f:2: sync.schedule: " + badSchedule}},
		"schedule of six":       {"[sync]\nschedule = '* * * * * *'\n" + good, []string{"f:2: sync.schedule: " + badSchedule}},
		"schedule never":        {"[sync]\nschedule = '0 0 30 2 *'\n" + good, []string{"f:2: sync.schedule: this day never comes"}},
		"schedule too fine":     {"[sync]\nschedule = '@every 100ms'\n" + good, []string{"f:2: sync.schedule: @every must be whole seconds, and at least one: cron keeps no finer time"}},
		"schedule bare zone":    {"[sync]\nschedule = 'CRON_TZ=UTC'\n" + good, []string{"f:2: sync.schedule: " + badSchedule}},
		"log":                   {"[log]\nlevel = 'INFO+1'\nformat = 'xml'\n" + good, []string{`f:2: log.level: must be "debug", "info", "warn" or "error"`, `f:3: log.format: must be "text" or "json"`}},
		"variables":             {"[log]\nlevel = '${UNSET_A}'\n[sync]\nschedule = '${un set}'\n[[partition]]\nname = 'p'\nurl = 'mysql://${UNSET_B}:${UNSET_C}@h/${'\n", []string{"f:2: log.level: the environment variable UNSET_A is not set", "f:4: sync.schedule: " + badEnvText, "f:7: partition[0].url: the environment variable UNSET_B is not set", "f:7: partition[0].url: the environment variable UNSET_C is not set", "f:7: partition[0].url: " + badEnvText}},
		"sqlite urls":           {"[[partition]]\nname='a'\nurl='sqlite:'\n[[partition]]\nname='b'\nurl='sqlite::memory:'\n[[partition]]\nname='c'\nurl='sqlite://host/x'\n[[partition]]\nname='d'\nurl='sqlite:x?mode=ro'\n[[partition]]\nname='e'\nurl='sqlite:x/'\n", []string{"f:3: partition[0].url: names no file", "f:6: partition[1].url: must name a file: a partition in memory would lose its data", `f:9: partition[2].url: names a host; write "sqlite:relative/path" or "sqlite:/absolute/path"`, "f:12: partition[3].url: takes no parameters for SQLite", "f:15: partition[4].url: names a directory, not a file"}},
		"mysql urls":            {"[[partition]]\nname='a'\nurl='mysql://u@h:0/'\n[[partition]]\nname='b'\nurl='mysql:///d?tls=maybe'\n[[partition]]\nname='c'\nurl='mysql://u:p@tcp(h:1)/d'\n[[partition]]\nname='d'\nurl='root:p@tcp(h)/d'\n[[partition]]\nname='e'\nurl='mysql://u@h/a/b?parseTime=true'\n", []string{"f:3: partition[0].url: names a port outside 1..65535", "f:3: partition[0].url: " + badDB, "f:6: partition[1].url: names no user", "f:6: partition[1].url: " + badHost, "f:6: partition[1].url: " + badParam, "f:9: partition[2].url: " + badMySQL, "f:12: partition[3].url: " + badURL, "f:15: partition[4].url: " + badDB, "f:15: partition[4].url: " + badParam}},
		"more urls":             {"[[partition]]\nname='a'\nurl='mysql://u@h/d?tls=true&tls=true'\n[[partition]]\nname='b'\nurl='mysql://u@h/d?%zz'\n[[partition]]\nname='c'\nurl=\"sqlite:a\\u0000b\"\n[[partition]]\nname='d'\nurl=5\n[[partition]]\nname='e'\nurl='mysql://u@h:99999999999999999999/d'\n", []string{"f:3: partition[0].url: gives one parameter twice", "f:6: partition[1].url: " + badMySQL, "f:9: partition[2].url: holds a NUL character", "f:12: partition[3].url: must be a string, not an integer", "f:15: partition[4].url: " + badMySQL}},
		"schedule not every":    {"[sync]\nschedule = '@every day'\n" + good, []string{"f:2: sync.schedule: " + badSchedule}},
		"too many partitions":   {"[[partition]]\n" + crowd(257), []string{"f:1: partition: there are 257, over the limit of 256"}},
		"password files":        {"[[partition]]\nname='a'\nurl='mysql://u:p@h/d'\npassword_file='/none'\n[[partition]]\nname='b'\nurl='sqlite:b'\npassword_file='/none'\n[[partition]]\nname='c'\nurl='mysql://u@h/e'\npassword_file='/none'\n[[partition]]\nname='d'\nurl='mysql://u@h/f'\npassword_file='/dev/null'\n", []string{"f:4: partition[0].password_file: the url already holds a password; keep one of the two", "f:8: partition[1].password_file: is of no use to SQLite, which has no passwords", "f:12: partition[2].password_file: stat /none: no such file or directory", "f:16: partition[3].password_file: /dev/null is not a regular file"}},
		"after multi-line text": {"[log]\nlevel = '''\na = [\n[http]'''\nformat = \"\"\"x\\\"\"\"\"\n[http]\nlisten = 1\n" + good, []string{`f:2: log.level: must be "debug", "info", "warn" or "error"`, `f:5: log.format: must be "text" or "json"`, "f:7: http.listen: must be a string, not an integer"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("f", []byte(test.source), nil)
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(test.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestOneFileByTwoWaysIsRefused(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(dir, "real"), 0o700))
	must(os.Symlink("real", filepath.Join(dir, "link")))
	must(os.Symlink("real/later.db", filepath.Join(dir, "dangling.db")))
	must(os.Symlink("loop", filepath.Join(dir, "loop")))
	must(os.WriteFile(filepath.Join(dir, "one.db"), nil, 0o600))
	must(os.Link(filepath.Join(dir, "one.db"), filepath.Join(dir, "hard.db")))
	tests := map[string]struct {
		first, second string
		same          bool
	}{
		"linked directory, no file yet": {"real/a.db", "link/a.db", true},
		"link to a file not there yet":  {"dangling.db", "link/later.db", true},
		"nothing there yet":             {"new/dir/a.db", "new/./dir/b/../a.db", true},
		"hard link":                     {"one.db", "hard.db", true},
		"two files":                     {"real/a.db", "real/b.db", false},
		"a loop of links":               {"loop", "real/a.db", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := config.Default("")
			c.Partitions = c.Partitions[:2]
			c.Partitions[0].URL.Path = filepath.Join(dir, test.first)
			c.Partitions[1].URL.Path = dir + "/" + test.second
			if err := c.Validate(); (err != nil) != test.same {
				t.Errorf("Validate: %v", err)
			}
		})
	}
}

func TestValidateJudgesAConfigMadeInGo(t *testing.T) {
	if err := config.Default(t.TempDir()).Validate(); err != nil {
		t.Errorf("Default: %v", err)
	}
	c := config.Default("data")
	c.Log.Level, c.Log.Format = 3, config.FormatJSON
	c.HTTP.Listen, c.Partitions[1].Name, c.Partitions[2].URL = "nowhere", "partition-0", config.URL{Scheme: "redis"}
	want := "http.listen: " + badListen + `
log.level: must be "debug", "info", "warn" or "error"` + "\npartition[2].url: " + badURL +
		"\npartition[1].name: is the name of another partition too (partition[0])"
	if err := c.Validate(); err == nil || err.Error() != want {
		t.Errorf("Validate:\n%v\nwant:\n%s", err, want)
	}
}
