package doctor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/test/certs"
	"github.com/runnelkv/runnel/test/servers"
)

// examine writes a configuration file and examines the configuration.
func examine(t *testing.T, text string) (file string, findings []Finding) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "runnel.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, examineFile(t, file, 0)
}

func examineFile(t *testing.T, file string, pid int) []Finding {
	t.Helper()
	c, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return Run(t.Context(), Options{Config: c, File: file, PID: pid})
}

// stateOf returns the worst state of a check, and its texts.
func stateOf(findings []Finding, name string) (worst State, texts string) {
	rank := map[State]int{Skip: 1, OK: 2, Warn: 3, Fail: 4}
	for _, f := range findings {
		if f.Check == name && rank[f.State] > rank[worst] {
			worst = f.State
		}
		if f.Check == name {
			texts += f.Subject + ": " + f.Text + "\n"
		}
	}
	return worst, texts
}

// want fails the test unless the check has the state, and names the subject.
func want(t *testing.T, findings []Finding, name string, state State, subject string) {
	t.Helper()
	if got, texts := stateOf(findings, name); got != state || !strings.Contains(texts, subject) {
		t.Errorf("%s is %q, want %q about %s:\n%s", name, got, state, subject, texts)
	}
}

func TestEveryCheckHasAFinding(t *testing.T) {
	findings := Run(t.Context(), Options{Config: config.Default(t.TempDir())})
	for _, name := range Checks() {
		if state, _ := stateOf(findings, name); state == "" {
			t.Errorf("%s has no finding", name)
		}
	}
	for _, name := range []string{"listen", "local-disk", "durability"} {
		want(t, findings, name, OK, "")
	}
	for _, name := range []string{"privileges", "config-file", "secret-files", "certificate-files", "data-files", "log-files", "trusted-proxies", "grants", "webhooks", "database-tls", "databases", "database-account"} {
		want(t, findings, name, Skip, "")
	}
	if Failed(findings) {
		t.Errorf("the embedded default fails: %+v", findings)
	}
}

// TestModesOfFiles changes the mode of each kind of file, and expects the check to notice each change.
func TestModesOfFiles(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	toml := fmt.Sprintf("[[partition]]\nname = \"a\"\nurl = \"sqlite:%s\"\n[[partition]]\nname = \"b\"\nurl = \"mysql://u@127.0.0.1:1/d?tls=true&ca=%s\"\npassword_file = %q\n"+
		"[[webhook]]\nurl = \"https://h\"\nsecret = \"0123456789abcdef\"\n[store]\ntimeout = \"100ms\"\n[log]\naccess = %q\n[audit]\nfile = %q\n",
		path("a.db"), path("ca"), path("password"), path("access.log"), path("audit.log"))
	for _, name := range []string{"a.db", "a.db-wal", "ca", "password", "access.log", "audit.log", "runnel.toml"} {
		if err := os.WriteFile(path(name), []byte(toml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		check, file string
		mode        os.FileMode
		state       State
	}{
		{"data-files", "a.db", 0o600, OK}, {"data-files", "a.db", 0o604, Fail}, {"data-files", "a.db", 0o640, Warn}, {"data-files", "a.db-wal", 0o644, Fail}, {"data-files", "a.db", 0o620, Fail},
		{"secret-files", "password", 0o400, OK}, {"secret-files", "password", 0o440, Warn}, {"secret-files", "password", 0o444, Fail}, {"secret-files", "password", 0o602, Fail},
		{"certificate-files", "ca", 0o644, OK}, {"certificate-files", "ca", 0o664, Fail}, {"certificate-files", "", 0o777, Fail},
		{"log-files", "access.log", 0o640, OK}, {"log-files", "access.log", 0o604, Warn}, {"log-files", "access.log", 0o602, Fail},
		{"log-files", "audit.log", 0o600, OK}, {"log-files", "audit.log", 0o644, Warn}, {"log-files", "audit.log", 0o660, Fail}, {"log-files", "", 0o702, Fail},
		{"config-file", "runnel.toml", 0o600, OK}, {"config-file", "runnel.toml", 0o640, Fail}, {"config-file", "runnel.toml", 0o604, Fail}, {"config-file", "", 0o703, Fail},
	} {
		if err := os.Chmod(path(c.file), c.mode); err != nil {
			t.Fatal(err)
		}
		want(t, examineFile(t, path("runnel.toml"), 0), c.check, c.state, path(""))
		if err := os.Chmod(path(c.file), 0o700); err != nil {
			t.Fatal(err)
		}
		if c.file != "" {
			os.Chmod(path(c.file), 0o600)
		}
	}
}

// TestLogFilesThatDoNotExistAreSkipped: the server creates them with a sound mode, which its own tests check.
func TestLogFilesThatDoNotExistAreSkipped(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	_, findings := examine(t, fmt.Sprintf("[audit]\nfile = %q\n[[partition]]\nname = \"a\"\nurl = \"sqlite:a\"\n", file))
	want(t, findings, "log-files", Skip, file+": does not exist")
}

// TestConfigurationWithoutSecretsMayBeRead: a secret in the environment is not in the file.
func TestConfigurationWithoutSecretsMayBeRead(t *testing.T) {
	t.Setenv("HOOK", "0123456789abcdef")
	file := filepath.Join(t.TempDir(), "runnel.toml")
	if err := os.WriteFile(file, []byte("[[partition]]\nname = \"a\"\nurl = \"sqlite:a\"\n[[webhook]]\nurl = \"https://h\"\nsecret = \"${HOOK}\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	want(t, Run(t.Context(), Options{Config: c, File: file}), "config-file", OK, file)
}

// TestTLSFilesAreExamined: everybody may read a certificate, but not the key.
func TestTLSFilesAreExamined(t *testing.T) {
	authority := certs.NewAuthority(t)
	pair := authority.Issue(t, certs.Names{})
	text := fmt.Sprintf("[http]\nlisten = \"0.0.0.0:80\"\n[http.tls]\ncert = %q\nkey = %q\nclient_ca = %q\nclient_auth = \"request\"\n[[partition]]\nname = \"a\"\nurl = \"sqlite:a\"\n", pair.Cert, pair.Key, authority.File)
	for file, mode := range map[string]os.FileMode{pair.Cert: 0o644, pair.Key: 0o600, authority.File: 0o644} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	_, findings := examine(t, text)
	want(t, findings, "secret-files", OK, pair.Key)
	want(t, findings, "certificate-files", OK, authority.File)
	want(t, findings, "listen", OK, "over TLS")
	if err := errors.Join(os.Chmod(pair.Key, 0o644), os.Chmod(authority.File, 0o666)); err != nil {
		t.Fatal(err)
	}
	_, findings = examine(t, text)
	want(t, findings, "secret-files", Fail, pair.Key)
	want(t, findings, "certificate-files", Fail, authority.File)
}

// TestGrantsAreExamined: doctor repeats the warnings of config check.
func TestGrantsAreExamined(t *testing.T) {
	const partitions = "[[partition]]\nname = \"a\"\nurl = \"sqlite:a\"\n"
	key := "[[key]]\nname = \"ops\"\nid = \"abcdefghi2\"\nroles = [\"admin\"]\nhash = \"" + strings.Repeat("0a", 32) + "\"\n"
	file, findings := examine(t, key+partitions)
	want(t, findings, "grants", OK, file)
	_, findings = examine(t, partitions)
	want(t, findings, "grants", Warn, "runnel.toml: http.listen")
	file, findings = examine(t, "[auth]\nanonymous = {roles = [\"read\"]}\n"+key+partitions)
	want(t, findings, "grants", Warn, file+":2: auth.anonymous")
}

// TestFilesOfClientsAreExamined uses the files of the server as a client of databases and webhooks.
func TestFilesOfClientsAreExamined(t *testing.T) {
	authority := certs.NewAuthority(t)
	pair := authority.Issue(t, certs.Names{})
	if err := errors.Join(os.Chmod(pair.Key, 0o604), os.Chmod(pair.Cert, 0o666), os.Chmod(authority.File, 0o620)); err != nil {
		t.Fatal(err)
	}
	c := config.Default(t.TempDir())
	c.Store.Timeout = 100 * time.Millisecond
	c.Partitions[1].URL = config.URL{Scheme: config.MySQL, User: "u", Host: "127.0.0.1", Port: 1, Database: "d", Params: map[string]string{"tls": "true", "cert": pair.Cert, "key": pair.Key}}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(os.WriteFile(secret, nil, 0o600), os.Chmod(secret, 0o604)); err != nil {
		t.Fatal(err)
	}
	c.Webhooks = []config.Webhook{{URL: "https://h", CA: authority.File, SecretFile: secret}}
	findings := Run(t.Context(), Options{Config: c})
	want(t, findings, "secret-files", Fail, pair.Key)
	want(t, findings, "secret-files", Fail, secret+": every user")
	want(t, findings, "certificate-files", Fail, pair.Cert+": users")
	want(t, findings, "certificate-files", Fail, authority.File+": users")
}

func TestConnectionsBeyondThisMachine(t *testing.T) {
	const partitions = "[[partition]]\nname = \"a\"\nurl = \"sqlite:a\"\n"
	for text, state := range map[string]State{
		"[http]\nlisten = \"127.0.0.1:80\"\n": OK, "[http]\nlisten = \"localhost:80\"\n": OK, "[http]\nlisten = \"[::1]:80\"\n": OK,
		"[http]\nlisten = \"0.0.0.0:80\"\n": Fail, "[http]\nlisten = \":80\"\n": Fail,
	} {
		_, findings := examine(t, text+partitions)
		want(t, findings, "listen", state, ":80")
	}
	for network, state := range map[string]State{"10.0.0.7": OK, "10.0.0.0/8": OK, "10.0.0.0/7": Warn, "0.0.0.0/0": Fail, "::/0": Fail, "2001:db8::/32": OK, "2000::/3": Warn} {
		_, findings := examine(t, "[http]\ntrusted_proxies = [\""+network+"\"]\n"+partitions)
		want(t, findings, "trusted-proxies", state, network)
	}
	_, findings := examine(t, "[admin]\nlisten = \"127.0.0.1:81\"\n"+partitions)
	want(t, findings, "listen", OK, "127.0.0.1:81: only this machine")
	c := config.Default(t.TempDir())
	c.Admin.Listen = "10.0.0.7:81" // which package config refuses, unless clients need certificates
	want(t, Run(t.Context(), Options{Config: c}), "listen", Fail, "10.0.0.7:81")
	for url, state := range map[string]State{"http://127.0.0.1/x": OK, "https://example.org/x": OK, "http://example.org/x": Warn} {
		_, findings := examine(t, partitions+"[[webhook]]\nsecret = \"0123456789abcdef\"\nurl = \""+url+"\"\n")
		want(t, findings, "webhooks", state, strings.TrimSuffix(strings.SplitN(url, "//", 2)[1], "/x"))
	}
	for url, state := range map[string]State{
		"mysql://u:p@127.0.0.1:1/d": OK, "mysql://u:p@unix(/none)/d": OK, "mysql://u:p@db.invalid/d?tls=true": OK,
		"mysql://u:p@db.invalid/d": Warn, "mysql://u:p@db.invalid/d?tls=preferred": Warn, "mysql://u:p@db.invalid/d?tls=skip-verify": Warn,
	} {
		_, findings := examine(t, "[store]\ntimeout = \"100ms\"\n[[partition]]\nname = \"b\"\nurl = \""+url+"\"\n")
		want(t, findings, "database-tls", state, "b")
		for _, f := range findings {
			if f.Check == "grants" && strings.Contains(f.Subject, ".url") {
				t.Errorf("%s: the warning is repeated: %v", url, f)
			}
		}
		want(t, findings, "databases", Fail, "b")
		want(t, findings, "database-account", Skip, "b")
		want(t, findings, "durability", Skip, "b")
	}
}

// TestProcessIsExamined examines a process with a limit of core files and GOTRACEBACK=crash, and a process without.
func TestProcessIsExamined(t *testing.T) {
	file, _ := examine(t, "[[partition]]\nname = \"a\"\nurl = \"sqlite:a\"\n")
	for limit, state := range map[string]State{"0": OK, "unlimited": Fail} {
		cmd := exec.Command("sh", "-c", "ulimit -S -c "+limit+" && exec cat")
		cmd.Env = append(os.Environ(), "GOTRACEBACK=crash")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err == nil {
			_, err = in.Write([]byte("started\n"))
		}
		if err == nil { // cat has answered: before, during exec, the process has no environment
			_, err = out.Read(make([]byte, 8))
		}
		if err != nil {
			t.Skipf("no process with the limit %s: %v", limit, err)
		}
		findings := examineFile(t, file, cmd.Process.Pid)
		want(t, findings, "core-dumps", state, strconv.Itoa(cmd.Process.Pid))
		want(t, findings, "privileges", Warn, "NoNewPrivileges")
		if os.Geteuid() == 0 {
			want(t, findings, "account", Warn, "root")
			want(t, findings, "privileges", Warn, "capabilities")
		}
		in.Close()
		cmd.Wait()
	}
	want(t, examineFile(t, file, 1<<30), "account", Fail, "cannot be read")
}

// TestPrivilegesAreExamined reads the status of a sound process, and with each setting missing.
func TestPrivilegesAreExamined(t *testing.T) {
	const sound = "Name:\trunnel\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"
	for _, c := range []struct {
		status string
		state  State
		text   string
	}{
		{sound, OK, "process 7: cannot gain privileges"},
		{strings.Replace(sound, "NoNewPrivs:\t1", "NoNewPrivs:\t0", 1), Warn, "NoNewPrivileges"},
		{strings.Replace(sound, "CapPrm:\t00", "CapPrm:\t02", 1), Warn, "capabilities 0200000000000000"},
		{strings.Replace(sound, "Seccomp:\t2", "Seccomp:\t0", 1), Warn, "SystemCallFilter"},
		{"", Fail, "cannot be read"},
	} {
		proc := t.TempDir()
		if err := errors.Join(os.Mkdir(filepath.Join(proc, "7"), 0o700), os.WriteFile(filepath.Join(proc, "7", "status"), []byte(c.status), 0o600)); err != nil {
			t.Fatal(err)
		}
		e := &examination{Options: Options{PID: 7}, check: "privileges", proc: proc}
		e.privileges()
		want(t, e.findings, "privileges", c.state, c.text)
		if len(e.findings) != 1 {
			t.Errorf("%d findings: %v", len(e.findings), e.findings)
		}
	}
}

// TestDatabasesAreExamined uses root, and a server whose settings are not durable.
func TestDatabasesAreExamined(t *testing.T) {
	server := servers.NewMariaDB(t, "--innodb-flush-log-at-trx-commit=2")
	address := server.Database(t)
	const text = "[store]\nrequire_durable = %v\n[[partition]]\nname = \"a\"\nurl = %q\n"
	_, findings := examine(t, fmt.Sprintf(text, false, address))
	want(t, findings, "databases", OK, "a")
	want(t, findings, "durability", Warn, "innodb_flush_log_at_trx_commit")
	want(t, findings, "database-account", Warn, "on *.*")
	_, findings = examine(t, fmt.Sprintf(text, true, server.User(t, address, "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "INDEX", "DROP")))
	want(t, findings, "durability", Fail, "innodb_flush_log_at_trx_commit")
	want(t, findings, "database-account", OK, "a")
	want(t, findings, "config-file", OK, "")
}
