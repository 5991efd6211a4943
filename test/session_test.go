package test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/test/runnel"
)

// TestSessionsSpanProcesses writes on one process and reads on another in the same session, by HTTP and by the
// command line's session file.
func TestSessionsSpanProcesses(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	a := runnel.Serve(t, "--data", data)
	b := runnel.Serve(t, "--data", data)
	token := ""
	do := func(method, url, body string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Runnel-Session", token)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode/100 != 2 && resp.StatusCode != 404 {
			t.Fatalf("%s %s: %d %s, %v", method, url, resp.StatusCode, answer, err)
		}
		if token = resp.Header.Get("Runnel-Session"); token == "" {
			t.Fatalf("%s %s: %d without a session", method, url, resp.StatusCode)
		}
		return string(answer)
	}
	from := map[bool]*runnel.Process{true: a, false: b}
	for i := range 150 {
		write, read := from[i%2 == 0], from[i%2 == 1]
		value := fmt.Sprint("value ", i)
		do("PUT", write.URL+"/v1/keys/k", value)
		for range 3 {
			if got := do("GET", read.URL+"/v1/keys/k", ""); got != value {
				t.Fatalf("after %q was written the other process answered %q", value, got)
			}
		}
		if i%10 == 0 {
			do("DELETE", write.URL+"/v1/keys/k", "")
			if got := do("GET", read.URL+"/v1/keys/k", ""); strings.HasPrefix(got, "value") {
				t.Fatalf("after a deletion the other process answered %q", got)
			}
			if got := do("GET", read.URL+"/v1/keys", ""); strings.Contains(got, `"k"`) {
				t.Fatalf("after a deletion the other process listed %s", got)
			}
		}
	}
	session := filepath.Join(dir, "session")
	for i := range 5 {
		value := fmt.Sprint("by hand ", i)
		if _, err := runnel.Run(t, "put", "cli", value, "--session", session, "--server", a.URL); err != nil {
			t.Fatal(err)
		}
		if got, err := runnel.Run(t, "get", "cli", "--session", session, "--server", b.URL); err != nil || got != value {
			t.Fatalf("get printed %q, %v; want %q", got, err, value)
		}
	}
}
