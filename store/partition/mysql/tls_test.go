package mysql

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/certs"
	"github.com/runnelkv/runnel/test/servers"
)

// TestTLSVerifiesTheServerByItsName: the name comes from the address, the authorities from the
// parameter ca, and the certificate of the client from cert and key.
func TestTLSVerifiesTheServerByItsName(t *testing.T) {
	ca := certs.NewAuthority(t)
	pair := ca.Issue(t, certs.Names{})
	params := map[string]string{"tls": "true", "ca": ca.File, "cert": pair.Cert, "key": pair.Key}
	for addr, name := range map[string]string{"db.example:3306": "db.example", "[::1]:3306": "::1", "/run/x.sock": "localhost"} {
		config, err := Config{Addr: addr, Params: params}.config()
		if err != nil {
			t.Fatal(err)
		}
		if config.TLS.ServerName != name || config.TLS.RootCAs == nil || config.TLS.InsecureSkipVerify || len(config.TLS.Certificates) != 1 {
			t.Errorf("%s is verified as %q", addr, config.TLS.ServerName)
		}
	}
	for _, file := range []string{"ca", "cert", "key"} {
		wrong := maps.Clone(params)
		wrong[file] = t.TempDir()
		if _, err := (Config{Addr: "h:1", Params: wrong}).config(); err == nil {
			t.Errorf("a folder is taken for the file %s", file)
		}
		wrong[file] = map[string]string{"ca": pair.Key, "cert": ca.File, "key": ca.File}[file]
		if _, err := (Config{Addr: "h:1", Params: wrong}).config(); err == nil {
			t.Errorf("a different file is taken for %s", file)
		}
	}
}

// newTestLogin returns the login of a configuration, and its log.
func newTestLogin(t *testing.T, c Config) (*login, *strings.Builder) {
	t.Helper()
	var log strings.Builder
	c.Addr, c.Database = "h:1", "d"
	d, err := newDatabase(c, sqlengine.Options{Name: "p", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return d.login, &log
}

// TestUnusableCertificatesLeaveTheFormer: each connection takes the files of its time, if they can be used.
func TestUnusableCertificatesLeaveTheFormer(t *testing.T) {
	for name, spoil := range map[string]func(ca *certs.Authority, pair certs.Pair) error{
		"foreign key": func(ca *certs.Authority, pair certs.Pair) error {
			return os.Rename(ca.Issue(t, certs.Names{}).Key, pair.Key)
		},
		"missing key":    func(_ *certs.Authority, pair certs.Pair) error { return os.Remove(pair.Key) },
		"no certificate": func(_ *certs.Authority, pair certs.Pair) error { return os.Truncate(pair.Cert, 0) },
		"no authorities": func(ca *certs.Authority, _ certs.Pair) error { return os.Truncate(ca.File, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			ca, other := certs.NewAuthority(t), certs.NewAuthority(t)
			pair := ca.Issue(t, certs.Names{})
			l, log := newTestLogin(t, Config{Params: map[string]string{"tls": "true", "ca": ca.File, "cert": pair.Cert, "key": pair.Key}})
			former := l.currentTLS()
			if err := spoil(ca, pair); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if now := l.currentTLS(); now != former {
					t.Error("the former certificates are gone")
				}
			}
			if n := strings.Count(log.String(), unusableCertificates); n != 1 {
				t.Errorf("%d log lines, want 1:\n%s", n, log)
			}
			if err := os.Rename(other.File, ca.File); err != nil {
				t.Fatal(err)
			}
			ca.Renew(t, pair, certs.Names{})
			if now := l.currentTLS(); now.RootCAs.Equal(former.RootCAs) || now.Certificates[0].Leaf.Equal(former.Certificates[0].Leaf) || !other.Pool.Equal(now.RootCAs) {
				t.Error("a connection uses the former certificates")
			}
		})
	}
}

// TestPasswordsAreTriedInOrder: the server sees a new password once before the account has changed.
func TestPasswordsAreTriedInOrder(t *testing.T) {
	file, fault := "old", error(nil)
	l, log := newTestLogin(t, Config{User: "u", Password: "old", NewPassword: func() (string, error) { return file, fault }})
	denied := errors.New("access denied")
	connect := func(account string) (tried string) {
		for _, p := range l.passwords() {
			tried += p + " "
			if p == account {
				l.accept(p)
				return tried
			}
			l.deny(p, denied)
		}
		return tried + "denied"
	}
	for i, step := range []struct{ file, account, want string }{
		{"old", "old", "old "},
		{"new", "old", "new old "}, // the file changes first
		{"new", "old", "old "},
		{"new", "new", "old new "},
		{"new", "new", "new "},
		{"", "new", "new "}, // the file cannot be read
		{"wrong", "new", "wrong new "},
		{"wrong", "new", "new "},
		{"new", "new", "new "}, // the file is put right
		{"wrong", "new", "wrong new "},
		{"wrong", "third", "new wrong denied"},
		{"third", "third", "third "},
		{"fourth", "", "fourth third fourth denied"}, // the account changes between two attempts
	} {
		if file, fault = step.file, nil; file == "" {
			fault = errors.New("no file")
		}
		if got := connect(step.account); got != step.want {
			t.Errorf("step %d: %q were tried, want %q", i, got, step.want)
		}
	}
	for text, want := range map[string]int{newPasswordDenied: 4, unusablePasswordFile: 1, "is in use": 2} {
		if n := strings.Count(log.String(), text); n != want {
			t.Errorf("%q is logged %d times, want %d:\n%s", text, n, want, log)
		}
	}
}

// TestCertificatesOfARealServer: the server proves its name by an authority of its own, demands a
// certificate of the account.
func TestCertificatesOfARealServer(t *testing.T) {
	ca, foreign := certs.NewAuthority(t), certs.NewAuthority(t)
	own := ca.Issue(t, certs.Names{})
	s := servers.NewMySQL(t, "--secure-file-priv=")
	address := s.User(t, s.Database(t), "ALL")
	db := servers.Open(t, s.Database(t))
	var settings []string
	for variable, file := range map[string]string{"ssl_ca": ca.File, "ssl_cert": own.Cert, "ssl_key": own.Key} {
		text, err := os.ReadFile(file)
		if err == nil {
			_, err = db.Exec(fmt.Sprintf("SELECT 0x%x INTO DUMPFILE '/tmp/%s'", text, variable)) // on the server's machine
		}
		if err != nil {
			t.Fatal(err)
		}
		settings = append(settings, fmt.Sprintf("%s = '/tmp/%s'", variable, variable))
	}
	for _, statement := range []string{"SET GLOBAL " + strings.Join(settings, ", GLOBAL "), "ALTER INSTANCE RELOAD TLS"} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	u, err := url.Parse(address)
	if err == nil {
		_, err = db.Exec("ALTER USER '" + u.User.Username() + "'@'%' REQUIRE X509")
	}
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	mine := ca.Issue(t, certs.Names{})
	params := map[string]string{"tls": "true", "ca": ca.File, "cert": mine.Cert, "key": mine.Key}
	prepare := func(p map[string]string) error {
		c := Config{Addr: u.Host, User: u.User.Username(), Password: password, Database: strings.TrimPrefix(u.Path, "/"), Params: p}
		e, err := Open(c, sqlengine.Options{Name: "p", Timeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		defer e.Close()
		return e.Prepare(t.Context())
	}
	if err := prepare(params); err != nil {
		t.Errorf("with the right files: %v", err)
	}
	for name, change := range map[string]string{"ca": foreign.File, "cert": "", "tls": "false"} {
		wrong := maps.Clone(params)
		if wrong[name] = change; change == "" {
			delete(wrong, "cert")
			delete(wrong, "key")
		}
		if err := prepare(wrong); err == nil {
			t.Errorf("%s %q is accepted", name, change)
		}
	}
}

func TestExcessiveRightsAreReadFromGrants(t *testing.T) {
	for grant, want := range map[string]string{
		"GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*ABC'":                              "",
		"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER ON `s\\_1`.* TO `u`@`%`": "",
		"GRANT ALL PRIVILEGES ON `s_1`.* TO `u`@`%`":                                               "",
		"GRANT SELECT ON `s_1`.* TO `u`@`%` WITH GRANT OPTION":                                     "GRANT OPTION on `s_1`.*",
		"GRANT SELECT, FILE ON *.* TO 'u'@'%' IDENTIFIED BY PASSWORD '*ABC'":                       "SELECT on *.*, FILE on *.*",
		"GRANT ALL PRIVILEGES ON *.* TO `u`@`%` WITH GRANT OPTION":                                 "ALL PRIVILEGES on *.*, GRANT OPTION on *.*",
		"GRANT BACKUP_ADMIN,SUPER ON *.* TO `u`@`%`":                                               "BACKUP_ADMIN on *.*, SUPER on *.*",
		"GRANT SELECT ON `other`.`t` TO `u`@`%`":                                                   "SELECT on `other`.`t`",
		"GRANT `admin`@`%` TO `u`@`%`":                                                             "the role `admin`@`%`",
		"SET DEFAULT ROLE `admin` FOR `u`@`%`":                                                     "",
	} {
		if got := strings.Join(excessIn(grant, "s_1"), ", "); got != want {
			t.Errorf("%s: %q, want %q", grant, got, want)
		}
	}
}
