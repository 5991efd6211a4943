package https

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/certs"
	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// rotation is a server over MariaDB with everything that expires, under load.
type rotation struct {
	server
	config       string // the configuration file
	dir          string // of the password file and the logs
	root         *sql.DB
	account      string
	key          atomic.Pointer[string] // of the clients
	clients      int
	load         sync.WaitGroup
	stop         chan struct{}
	reads, wrote atomic.Int64 // answered requests
}

// TestRotationUnderLoadFailsNoRequest replaces the certificate of the server, the API key of the clients, the password of
// the database and the log files in the order of docs/operations.md, while clients read and write.
func TestRotationUnderLoadFailsNoRequest(t *testing.T) {
	r := startRotation(t)
	r.addClients(t)
	r.rotateCertificate(t)
	r.rotateKey(t)
	r.rotatePassword(t)
	for range 3 {
		r.rotateLogs(t)
	}
	close(r.stop)
	r.load.Wait()
	if err := r.Stop(t); err != nil {
		t.Error(err)
	}
	r.checkLogs(t)
}

func startRotation(t *testing.T) *rotation {
	t.Helper()
	database := servers.MariaDB(t)
	address := database.Database(t)
	account, err := url.Parse(database.User(t, address, "ALL"))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := account.User.Password()
	ca := certs.NewAuthority(t)
	r := &rotation{server: server{ca: ca, pair: ca.Issue(t, certs.Names{})}, dir: t.TempDir(), root: servers.Open(t, address),
		account: account.User.Username(), stop: make(chan struct{})}
	r.replace(t, "password", password)
	account.User = url.User(r.account)
	r.config = runnel.WriteConfig(t, fmt.Sprintf("[log]\naccess = '%[1]s/access'\n[audit]\nfile = '%[1]s/audit'\n[limits]\nfailures_per_address = 0\n[http.tls]\ncert = %[2]q\nkey = %[3]q\n"+
		"[[partition]]\nname = 'master'\nurl = %[4]q\npassword_file = '%[1]s/password'\nmax_connections = 100\n", r.dir, r.pair.Cert, r.pair.Key, account))
	r.useKey(t, "create", "app", "--role", "write")
	r.Process = runnel.ServeUnready(t, "--config", r.config)
	r.URL = strings.Replace(r.URL, "http:", "https:", 1)
	r.await(t, client(t, r.ca.Pool, certs.Pair{}, true))
	r.awaitStatus(t, *r.key.Load(), http.StatusNotFound)
	return r
}

// replace replaces a file as a whole.
func (r *rotation) replace(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(r.dir, name)
	if err := errors.Join(os.WriteFile(path+".new", []byte(text+"\n"), 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// useKey lets the clients use the key that a command prints, once the server knows the key.
func (r *rotation) useKey(t *testing.T, command ...string) {
	t.Helper()
	out, err := runnel.Run(t, append([]string{"key", "--config", r.config}, command...)...)
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(out)
	if r.Process != nil {
		r.awaitStatus(t, key, http.StatusNotFound)
	}
	r.key.Store(&key)
}

// awaitStatus waits until a read of a missing entry with a key has a status.
func (r *rotation) awaitStatus(t *testing.T, key string, want int) {
	t.Helper()
	c := client(t, r.ca.Pool, certs.Pair{}, true)
	runnel.Eventually(t, time.Minute, fmt.Sprintf("status %d with the key %.14s…", want, key), func() error {
		if got, err := send(c, "GET", r.URL+"/v1/keys/missing", key); got != want {
			return fmt.Errorf("status %d, %v", got, err)
		}
		return nil
	})
}

// send sends a request with a key and returns the status of the answer.
func send(c *http.Client, method, url, key string) (int, error) {
	request, err := http.NewRequest(method, url, strings.NewReader("value"))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+key)
	answer, err := c.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

// addClients adds four clients, half of them with a new connection for each request.
func (r *rotation) addClients(t *testing.T) {
	t.Helper()
	for range 4 {
		r.clients++
		c := client(t, r.ca.Pool, certs.Pair{}, r.clients%4 == 1)
		c.Timeout = time.Minute
		c.Transport.(*http.Transport).DisableKeepAlives = r.clients%2 == 0
		name := fmt.Sprintf("load-%d", r.clients)
		r.load.Go(func() {
			for {
				select {
				case <-r.stop:
					return
				default:
				}
				if err := r.requestAll(c, name); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
}

// requestAll writes, reads and lists a name.
func (r *rotation) requestAll(c *http.Client, name string) error {
	for _, request := range []struct {
		method, path string
		answered     *atomic.Int64
	}{
		{"PUT", "/v1/keys/" + name, &r.wrote},
		{"GET", "/v1/keys/" + name + runnel.MasterRead, &r.reads},
		{"GET", "/v1/keys" + runnel.MasterRead + "&prefix=" + name, &r.reads},
	} {
		if status, err := send(c, request.method, r.URL+request.path, *r.key.Load()); err != nil || status/100 != 2 {
			return fmt.Errorf("%s %s: %d, %v", request.method, request.path, status, err)
		}
		request.answered.Add(1)
	}
	return nil
}

// awaitRequests waits until every client has sent requests since the call.
func (r *rotation) awaitRequests(t *testing.T) {
	t.Helper()
	want := r.reads.Load() + int64(10*r.clients)
	runnel.Eventually(t, time.Minute, "more requests", func() error {
		if n := r.reads.Load(); n < want && !t.Failed() {
			return fmt.Errorf("%d of %d", n, want)
		}
		return nil
	})
}

func (r *rotation) rotateCertificate(t *testing.T) {
	t.Helper()
	former, err := r.serial()
	if err != nil {
		t.Fatal(err)
	}
	r.ca.Renew(t, r.pair, certs.Names{})
	runnel.Eventually(t, time.Minute, "the new certificate", func() error {
		if now, err := r.serial(); err != nil || now.Cmp(former) == 0 {
			return fmt.Errorf("the former, %v", err)
		}
		return nil
	})
	r.awaitRequests(t)
}

// rotateKey lets the clients switch while both secrets are valid. The second rotation ends the first secret.
func (r *rotation) rotateKey(t *testing.T) {
	t.Helper()
	former := *r.key.Load()
	r.useKey(t, "rotate", "app", "--overlap", "1h")
	r.awaitRequests(t)
	r.useKey(t, "rotate", "app", "--overlap", "1h")
	r.awaitRequests(t)
	if status, err := send(client(t, r.ca.Pool, certs.Pair{}, true), "GET", r.URL+"/v1/keys/missing", former); status != http.StatusUnauthorized {
		t.Errorf("with the former key: %d, %v", status, err)
	}
}

// rotatePassword changes the file, then the account, and awaits new connections to the database after each change.
func (r *rotation) rotatePassword(t *testing.T) {
	t.Helper()
	const password = "second-password"
	r.replace(t, "password", password)
	r.awaitConnection(t, "a database denies the new password: the former stays in use")
	r.awaitRequests(t)
	if _, err := r.root.Exec("ALTER USER " + r.account + "@'%' IDENTIFIED BY '" + password + "'"); err != nil {
		t.Fatal(err)
	}
	r.awaitConnection(t, "the new password of a database is in use")
	r.awaitRequests(t)
}

// awaitConnection adds clients, for which the server opens connections to the database, and waits until the log shows such
// a connection. No connection is older than a minute.
func (r *rotation) awaitConnection(t *testing.T, logged string) {
	t.Helper()
	r.addClients(t)
	runnel.Eventually(t, 2*time.Minute, "a line of the log: "+logged, func() error {
		if !strings.Contains(r.Log.String(), logged) && !t.Failed() {
			return errors.New("none")
		}
		return nil
	})
}

// rotateLogs renames the log files, as logrotate does, and sends SIGHUP.
func (r *rotation) rotateLogs(t *testing.T) {
	t.Helper()
	r.awaitRequests(t)
	former, err := filepath.Glob(r.dir + "/access.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"access", "audit"} {
		path := filepath.Join(r.dir, name)
		if err := os.Rename(path, fmt.Sprintf("%s.%d", path, len(former))); err != nil {
			t.Fatal(err)
		}
	}
	r.awaitRequests(t) // whose lines are in the renamed files
	r.Signal(syscall.SIGHUP)
	runnel.Eventually(t, time.Minute, "lines in new log files", func() error {
		for _, name := range []string{"access", "audit"} {
			if info, err := os.Stat(filepath.Join(r.dir, name)); err != nil || info.Size() == 0 {
				return fmt.Errorf("%s: %v", name, err)
			}
		}
		return nil
	})
}

// checkLogs counts the lines of all log files: one for each request of the clients, and whole.
func (r *rotation) checkLogs(t *testing.T) {
	t.Helper()
	requests, writes := r.reads.Load()+r.wrote.Load(), r.wrote.Load()
	t.Logf("%d clients, %d requests, %d of them writes", r.clients, requests, writes)
	for name, want := range map[string]int64{"access": requests, "audit": writes} {
		files, err := filepath.Glob(r.dir + "/" + name + "*")
		if err != nil || len(files) != 4 {
			t.Errorf("%d files, %v", len(files), err)
		}
		var lines int64
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				if strings.Contains(line, "load-") && strings.HasSuffix(line, "\n") {
					lines++
				}
			}
		}
		if lines != want {
			t.Errorf("the %s log has %d lines about %d requests", name, lines, want)
		}
	}
}
