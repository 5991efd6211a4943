package test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
)

// newKey runs a command that prints a key, and returns the header field of requests with the key.
func newKey(t testing.TB, args ...string) string {
	t.Helper()
	stdout, err := runnel.Run(t, append([]string{"key"}, args...)...)
	if err != nil || !strings.HasPrefix(stdout, "rnl_") || strings.Count(stdout, "\n") != 1 {
		t.Fatalf("%q printed %q: %v", args, stdout, err)
	}
	return "Authorization: Bearer " + strings.TrimSpace(stdout)
}

// awaitStatus waits until a GET is answered with a status, which must take less than five seconds. After ten answers 401
// the following are 429.
func awaitStatus(t testing.TB, status int, url string, headers ...string) {
	t.Helper()
	runnel.Eventually(t, 5*time.Second, fmt.Sprintf("a request is answered %d", status), func() error {
		if r := exchange(t, "GET", url, "", headers...); r.status != status && !(status == 401 && r.status == 429) {
			return fmt.Errorf("%d: %s", r.status, r.body)
		}
		return nil
	})
}

// TestTheFirstKeyClosesARunningServer: changes by 'runnel key' reach a running server within five seconds, and a
// restarted server at once.
func TestTheFirstKeyClosesARunningServer(t *testing.T) {
	data := t.TempDir()
	node := runnel.Serve(t, "--data", data)
	expect(t, exchange(t, "PUT", node.URL+"/v1/keys/a/1", "open"), 201)

	ops := newKey(t, "create", "ops", "--role", "admin", "--data", data)
	awaitStatus(t, 401, node.URL+"/v1/keys/a/1")
	expect(t, exchange(t, "PUT", node.URL+"/v1/keys/b/1", "by ops", ops), 201)

	app := newKey(t, "create", "app", "--read", "a/", "--data", data)
	awaitStatus(t, 200, node.URL+"/v1/keys/a/1", app)
	expect(t, exchange(t, "PUT", node.URL+"/v1/keys/a/1", "by app", app), 403)
	expect(t, exchange(t, "GET", node.URL+"/v1/keys/b/1", "", app), 403)

	rotated := newKey(t, "rotate", "app", "--overlap", "0", "--data", data)
	awaitStatus(t, 401, node.URL+"/v1/keys/a/1", app)
	awaitStatus(t, 200, node.URL+"/v1/keys/a/1", rotated)

	if _, err := runnel.Run(t, "key", "revoke", "app", "--data", data); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, 401, node.URL+"/v1/keys/a/1", rotated)
	if err := node.Stop(t); err != nil {
		t.Fatal(err)
	}

	again := runnel.Serve(t, "--data", data)
	expect(t, exchange(t, "GET", again.URL+"/v1/keys/b/1", ""), 401)
	expect(t, exchange(t, "GET", again.URL+"/v1/keys/b/1", "", rotated), 401)
	expect(t, exchange(t, "GET", again.URL+"/v1/keys/b/1", "", ops), 200)
}

// TestHangUpReadsTheKeysOfTheFile adds a key to the configuration of a running server, and removes it.
func TestHangUpReadsTheKeysOfTheFile(t *testing.T) {
	file := runnel.WriteConfig(t, "", runnel.ThreeFiles(t)...)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	node := runnel.Serve(t, "--config", file)
	expect(t, exchange(t, "PUT", node.URL+"/v1/keys/a", "open"), 201)
	ops := newKey(t, "create", "ops", "--role", "admin", "--toml", file)
	node.Signal(syscall.SIGHUP)
	awaitStatus(t, 401, node.URL+"/v1/keys/a")
	expect(t, exchange(t, "GET", node.URL+"/v1/keys/a", "", ops), 200)

	app := newKey(t, "create", "app", "--read", "a", "--config", file)
	awaitStatus(t, 200, node.URL+"/v1/keys/a", app)
	if err := os.WriteFile(file, before, 0o600); err != nil {
		t.Fatal(err)
	}
	node.Signal(syscall.SIGHUP)
	awaitStatus(t, 401, node.URL+"/v1/keys/a", ops)
	expect(t, exchange(t, "GET", node.URL+"/v1/keys/a", "", app), 200)
}
