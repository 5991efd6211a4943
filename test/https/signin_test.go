package https

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/certs"
	"github.com/runnelkv/runnel/test/runnel"
)

// newBrowser returns a client that keeps cookies, and sends requests as a page of the server would.
func newBrowser(t *testing.T, ca *certs.Authority, http2 bool) func(method, url, key string) (int, error) {
	t.Helper()
	c := client(t, ca.Pool, certs.Pair{}, http2)
	c.Jar, _ = cookiejar.New(nil) // never fails
	return func(method, url, key string) (int, error) {
		request, err := http.NewRequest(method, url, nil)
		if err != nil {
			return 0, err
		}
		request.Header.Set("Sec-Fetch-Site", "same-origin")
		if key != "" {
			request.Header.Set("Authorization", "Bearer "+key)
		}
		answer, err := c.Do(request)
		if err != nil {
			return 0, err
		}
		answer.Body.Close()
		if answer.ProtoMajor == 2 != http2 {
			err = fmt.Errorf("%s", answer.Proto)
		}
		return answer.StatusCode, err
	}
}

// TestSignInOutlivesARestart: a sign-in is valid after a restart with the same auth.secret_file, and not without; and ends
// after its key was revoked.
func TestSignInOutlivesARestart(t *testing.T) {
	urls := runnel.ThreeFiles(t)
	runnel.Serve(t, "--config", runnel.WriteConfig(t, "", urls...)).Stop(t) // founds the cluster
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ca, address := certs.NewAuthority(t), runnel.FreeAddress(t)
	pair := ca.Issue(t, certs.Names{})
	tls := fmt.Sprintf("[http]\nlisten = %q\n[http.tls]\ncert = %q\nkey = %q\n", address, pair.Cert, pair.Key)
	file := runnel.WriteConfig(t, fmt.Sprintf("[auth]\nsecret_file = %q\n%s", secret, tls), urls...)
	create := func(name string) string {
		out, err := runnel.Run(t, "key", "create", name, "--role", "admin", "--config", file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	create("other") // without any key the server would be open
	key, base := create("ops"), "https://"+address
	browsers := []func(method, url, key string) (int, error){newBrowser(t, ca, false), newBrowser(t, ca, true)}
	await := func(what, method, path, key string, want int) {
		t.Helper()
		for i, send := range browsers {
			runnel.Eventually(t, time.Minute, what, func() error {
				if status, err := send(method, base+path, key); err != nil || status != want {
					return fmt.Errorf("browser %d: %d, %v; want %d", i, status, err, want)
				}
				return nil
			})
		}
	}
	p := runnel.Start(t, "serve", "--config", file)
	await("the sign-in", "POST", "/v1/session", key, 204)
	await("a write", "DELETE", "/v1/keys/none", "", 404)
	p.Stop(t)
	p = runnel.Start(t, "serve", "--config", file)
	await("the sign-in of before", "GET", "/v1/keys?prefix=", "", 200)
	if _, err := runnel.Run(t, "key", "revoke", "ops", "--config", file); err != nil {
		t.Fatal(err)
	}
	await("the end of a revoked key", "GET", "/v1/keys?prefix=", "", 401)
	key = create("next")
	await("the next sign-in", "POST", "/v1/session", key, 204)
	p.Stop(t)
	runnel.Start(t, "serve", "--config", runnel.WriteConfig(t, tls, urls...))
	await("the end without the secret", "GET", "/v1/keys?prefix=", "", 401)
}
