package test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
)

// behind starts a proxy before a server with the settings of docs/proxy.md, and returns the proxy's URL.
func behind(t *testing.T, language, upstream string) string {
	t.Helper()
	program, err := exec.LookPath(language)
	if err != nil {
		t.Skipf("SKIPPED, NOTHING IS KNOWN OF %s: it cannot be had: %v", strings.ToUpper(language), err)
	}
	text, err := os.ReadFile("../docs/proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindStringSubmatch(string(text))
	if block == nil {
		t.Fatalf("docs/proxy.md has no block of %s", language)
	}
	address, dir := runnel.FreeAddress(t), t.TempDir()
	settings := strings.NewReplacer("127.0.0.1:8000", address, "127.0.0.1:8080", strings.TrimPrefix(upstream, "http://")).Replace(block[1])
	file := filepath.Join(dir, "settings")
	cmd := exec.Command(program, "-db", "-f", file)
	if language == "nginx" {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		settings = fmt.Sprintf("daemon off; pid %[1]s/pid; error_log stderr; events {}\nhttp { access_log off; gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;\n"+
			"client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;\n%s}\n", dir, settings)
		cmd = exec.Command(program, "-c", file, "-p", dir, "-e", "stderr")
	}
	if err := os.WriteFile(file, []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	log := &runnel.Output{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s logged:\n%s", language, log.String())
		}
	})
	url := "http://" + address
	runnel.AwaitOK(t, url+"/readyz?write")
	return url
}

// TestBehindAProxy covers the features that proxies often break, with the documented settings.
func TestBehindAProxy(t *testing.T) {
	node := runnel.Serve(t, "--data", t.TempDir())
	for _, proxy := range []string{"nginx", "haproxy"} {
		t.Run(proxy, func(t *testing.T) {
			url := behind(t, proxy, node.URL)
			t.Run("values", func(t *testing.T) { valuesBehind(t, url, proxy) })
			t.Run("refusals", func(t *testing.T) { refusalsBehind(t, url) })
			t.Run("events", func(t *testing.T) { eventsBehind(t, url) })
			t.Run("batch", func(t *testing.T) { batchBehind(t, url) })
		})
	}
}

func valuesBehind(t *testing.T, url, proxy string) {
	large := strings.Repeat("value ", 2<<20)
	expect(t, exchange(t, "PUT", url+"/v1/keys/"+proxy+"/large", large), 201)
	if r := exchange(t, "GET", url+"/v1/keys/"+proxy+"/large?consistency=master", ""); r.body != large {
		t.Errorf("%d bytes came back", len(r.body))
	}
	odd := proxy + "/a%2F%2F..%2Fb%2520"
	r := exchange(t, "PUT", url+"/v1/keys/"+odd, "odd")
	expect(t, r, 201)
	if got := exchange(t, "GET", url+r.header.Get("Location")+"?consistency=master", ""); got.body != "odd" {
		t.Errorf("Location %s: %d %s", r.header.Get("Location"), got.status, got.body)
	}
	// Compare-and-set, by a client that would take the value compressed.
	key := url + "/v1/keys/" + proxy + "/large"
	ask, _ := http.NewRequest("GET", key+"?consistency=master", nil)
	ask.Header.Set("Accept-Encoding", "gzip")
	answer, err := http.DefaultTransport.RoundTrip(ask)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	set, _ := http.NewRequest("PUT", key, strings.NewReader("new"))
	set.Header.Set("If-Match", answer.Header.Get("Etag"))
	if answer, err = http.DefaultClient.Do(set); err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 204 {
		t.Errorf("compare-and-set: %d", answer.StatusCode)
	}
}

// refusalsBehind has clients send large bodies that are refused before they are read.
func refusalsBehind(t *testing.T, url string) {
	body := bytes.Repeat([]byte("x"), 20<<20)
	for target, want := range map[string]int{"/v1/keys/k?x=1": 400, "/v1/keys/k": 413, "/nothing": 404} {
		for range 5 {
			r, _ := http.NewRequest("PUT", url+target, bytes.NewReader(body))
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Errorf("PUT %s: %v", target, err)
				continue
			}
			answer.Body.Close()
			if answer.StatusCode != want {
				t.Errorf("PUT %s: %d, want %d", target, answer.StatusCode, want)
			}
		}
	}
}

func eventsBehind(t *testing.T, url string) {
	r, _ := http.NewRequest("GET", url+"/v1/changes?since=now", nil)
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Accept-Encoding", "gzip")
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	timer := time.AfterFunc(30*time.Second, func() { answer.Body.Close() })
	defer timer.Stop()
	expect(t, exchange(t, "POST", url+"/v1/keys", "event"), 201)
	lines := bufio.NewReader(answer.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("no event came: %v", err)
		}
		if strings.HasPrefix(line, "data:") {
			return
		}
	}
}

// batchBehind sends each line after the answer to the previous line.
func batchBehind(t *testing.T, url string) {
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	send := func(line string) { fmt.Fprintf(c, "%x\r\n%s\r\n", len(line), line) }
	fmt.Fprintf(c, "POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
	send(`{"op":"put","key":"first","value":"1"}` + "\n")
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(answer.Body)
	for i := range 3 {
		line, err := lines.ReadString('\n')
		if err != nil || !strings.Contains(line, fmt.Sprintf(`"index":%d`, i)) {
			t.Fatalf("answer %d: %q, %v", i, line, err)
		}
		if i < 2 {
			send(`{"op":"get","key":"first"}` + "\n")
		}
	}
	fmt.Fprint(c, "0\r\n\r\n")
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("behind it: %q, %v", rest, err)
	}
}
