package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// TestRefusalsReachClientsThatSendFirst: a client that sends the whole body first gets the answer of every early
// refusal.
func TestRefusalsReachClientsThatSendFirst(t *testing.T) {
	n := apitest.New(t, func(o *api.Options) { o.Hosts = []string{"x"} })
	server := n.Serve(t, api.Limits{})
	for _, c := range []struct {
		request string // with header fields; Host is added if missing
		status  int
		slug    string
	}{
		{"PUT /v1/keys/%00", 400, "invalid-key"},
		{"PUT /v1/keys/k?x=1", 400, "invalid-parameter"},
		{"PUT /v1/keys/k", 413, "too-large"},
		{"PUT /v1/keys/k Content-Encoding: gzip", 415, "unsupported-encoding"},
		{"PUT /v1/keys/k Origin: http://other.example", 403, "cross-origin"},
		{"PUT /v1/keys/k Host: other.example", 421, "unknown-host"},
		{"PATCH /v1/keys/k", 405, "method-not-allowed"},
		{"PUT /nothing", 404, "unknown-route"},
		{"POST /v1/keys Accept: image/png", 406, "not-acceptable"},
		{"POST /v1/batch", 413, "too-large"},
		{"POST /v1/batch Content-Type: text/plain", 415, "unsupported-media-type"},
		{"POST /v1/batch Content-Type: application/x-ndjson Accept: image/png", 406, "not-acceptable"},
		{"POST /v1/txn", 413, "too-large"},
		{"POST /v1/sync", 503, "sync-elsewhere"},
		{"POST /v1/move", 413, "too-large"},
		{"POST /v1/promote", 413, "too-large"},
		{"GET /v1/keys/none?consistency=master", 404, "not-found"},
		{"DELETE /v1/keys/none", 404, "not-found"},
		{"OPTIONS /v1/keys/k", 204, ""},
		{"GET /healthz", 200, ""},
	} {
		for _, framing := range []string{fmt.Sprintf("Content-Length: %d", apitest.LargeBody), "Transfer-Encoding: chunked"} {
			t.Run(c.request+" "+framing, func(t *testing.T) {
				t.Parallel()
				parts := strings.Fields(c.request)
				header := parts[0] + " " + parts[1] + " HTTP/1.1\r\n" + framing + "\r\n"
				for i := 2; i < len(parts); i += 2 {
					header += parts[i] + " " + parts[i+1] + "\r\n"
				}
				if !strings.Contains(header, "Host:") {
					header += "Host: x\r\n"
				}
				answer, body := apitest.SendAllThenRead(t, server, header+"\r\n")
				if answer.StatusCode != c.status || !answer.Close || c.slug != "" && !strings.Contains(body, `"/problems/`+c.slug+`"`) {
					t.Errorf("%d %s, close %v; want %d %s", answer.StatusCode, body, answer.Close, c.status, c.slug)
				}
			})
		}
	}
}

// TestPanicReachesClientsThatSendFirst is the same of a mistake of the program.
func TestPanicReachesClientsThatSendFirst(t *testing.T) {
	n := apitest.NewBroken(nil)
	server := n.Serve(t, api.Limits{})
	answer, body := apitest.SendAllThenRead(t, server, fmt.Sprintf("GET /v1/keys/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", apitest.LargeBody))
	if answer.StatusCode != 500 || !strings.Contains(body, "internal") {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
}

// TestLingerIsBounded: a client that stops in the middle of a refused body has the answer, and the connection ends.
func TestLingerIsBounded(t *testing.T) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	began := time.Now()
	answer, body := apitest.Exchange(t, server, fmt.Sprintf("PUT /v1/keys/%%00 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nabc", apitest.LargeBody), false)
	if took := time.Since(began); answer.StatusCode != 400 || took > exchange.LingerTime/2 {
		t.Errorf("%d %s after %v", answer.StatusCode, body, took)
	}
}

// TestLingerLastsWhileTheBodyArrives: a slow client that reads nothing before everything is sent has the answer, also
// where the body takes longer than the server waits for a silent client.
func TestLingerLastsWhileTheBodyArrives(t *testing.T) {
	t.Parallel()
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	c := apitest.Dial(t, server)
	const steps, pause = 4, exchange.LingerTime * 2 / 5
	c.SetDeadline(time.Now().Add(2 * steps * pause))
	fmt.Fprintf(c, "PUT /v1/keys/%%00 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", steps<<20)
	for range steps {
		time.Sleep(pause)
		if _, err := io.WriteString(c, strings.Repeat("x", 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if answer, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || answer.StatusCode != 400 {
		t.Errorf("%v, %v", answer, err)
	}
}

// TestDrainEndsLingering: a stopping server does not wait for the rest of a refused body.
func TestDrainEndsLingering(t *testing.T) {
	t.Run("that has begun", func(t *testing.T) { endLingering(t, false) })
	t.Run("that begins later", func(t *testing.T) { endLingering(t, true) })
}

func endLingering(t *testing.T, drainFirst bool) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	c := apitest.Dial(t, server)
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if drainFirst {
		n.Drain()
	}
	fmt.Fprintf(c, "PUT /v1/keys/%%00 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nabc", apitest.LargeBody)
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || answer.StatusCode != 400 {
		t.Fatalf("%v, %v", answer, err)
	}
	n.Drain()
	ctx, cancel := context.WithTimeout(t.Context(), exchange.LingerTime*2/3)
	defer cancel()
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Errorf("the connection still lingers: %v", err)
	}
}

// TestConnectionsAreKept: a refusal costs the connection only where a large
// body was left unread.
func TestConnectionsAreKept(t *testing.T) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	const put = "PUT /v1/keys/k HTTP/1.1\r\nHost: x\r\n"
	large := strings.Repeat("v", apitest.MaxTestValue)
	for name, c := range map[string]struct {
		request string
		close   bool
	}{
		"a write":                        {put + "Content-Length: 1\r\n\r\nv", false},
		"a large write":                  {put + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(large)) + large, false},
		"a write in chunks":              {put + "Transfer-Encoding: chunked\r\n\r\n1\r\nv\r\n0\r\n\r\n", false},
		"a condition":                    {put + "If-Match: \"1\"\r\nContent-Length: 1\r\n\r\nv", false},
		"a condition, large":             {put + fmt.Sprintf("If-Match: \"1\"\r\nContent-Length: %d\r\n\r\n", len(large)) + large, false},
		"a condition, in chunks":         {put + "If-Match: \"1\"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nv\r\n0\r\n\r\n", false},
		"a small body refused":           {"PUT /v1/keys/%00 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", false},
		"no length":                      {put + "\r\n", false},
		"a body in chunks refused":       {"PUT /v1/keys/%00 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nv\r\n0\r\n\r\n", true},
		"a length and chunks":            {put + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nv\r\n0\r\n\r\n", true},
		"a length and chunks, odd cases": {put + "tRANSFER-eNCODING: CHUNKED\r\ncONTENT-lENGTH: 1\r\n\r\n1\r\nv\r\n0\r\n\r\n", true},
	} {
		if answer, body := apitest.Exchange(t, server, c.request, false); answer.Close != (c.close || apitest.Secure && strings.Contains(c.request, "chunked")) {
			t.Errorf("%s: %d %s, close: %v", name, answer.StatusCode, body, answer.Close)
		}
	}
}

// TestLengthAndChunksInPieces: the two fields are seen however the header is cut.
func TestLengthAndChunksInPieces(t *testing.T) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	whole := "PUT /v1/keys/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
	for cut := 1; cut < len(whole); cut += 7 {
		c := apitest.Dial(t, server)
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, whole[:cut])
		time.Sleep(2 * time.Millisecond) // so that they arrive apart; together the answer is the same
		io.WriteString(c, whole[cut:]+"1\r\nv\r\n0\r\n\r\n")
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode/100 != 2 || !answer.Close {
			t.Errorf("cut at %d: %d, close: %v", cut, answer.StatusCode, answer.Close)
		}
		c.Close()
	}
}

// TestLengthIsRequired: a request without a length of its body stores nothing. An explicit length of 0 stores the empty
// value.
func TestLengthIsRequired(t *testing.T) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	for _, line := range []string{"PUT /v1/keys/k", "POST /v1/keys", "POST /v1/batch", "POST /v1/txn", "PUT /bucket/k", "POST /bucket/k", "PUT /canonicalbucket/k"} {
		for _, version := range []string{"HTTP/1.1", "HTTP/1.0"} {
			answer, body := apitest.Exchange(t, server, line+" "+version+"\r\nHost: x\r\nAccept: application/json\r\n\r\n", false)
			if answer.StatusCode != 411 || !strings.Contains(body, `"/problems/length-required"`) {
				t.Errorf("%s %s: %d %s", line, version, answer.StatusCode, body)
			}
		}
	}
	if c := apitest.Count(t, n); c != 0 {
		t.Errorf("%d keys were stored", c)
	}
	if answer, body := apitest.Exchange(t, server, "PUT /v1/keys/empty HTTP/1.0\r\nContent-Length: 0\r\n\r\n", false); answer.StatusCode != 201 {
		t.Errorf("an empty value: %d %s", answer.StatusCode, body)
	}
	if answer, body := apitest.Exchange(t, server, "POST /v1/sync HTTP/1.1\r\nHost: x\r\n\r\n", false); answer.StatusCode != 503 {
		t.Errorf("a POST without a body: %d %s", answer.StatusCode, body)
	}
}

// TestForeignHostsAreRefused: pages of a site whose name resolves to this server neither read nor write.
func TestForeignHostsAreRefused(t *testing.T) {
	n := apitest.New(t, func(o *api.Options) { o.Hosts = []string{"store.example.org"} })
	n.Put(t, "k")
	var commits atomic.Int32
	n.Partitions[0].Fail(func(op string) error {
		if op == memory.OpCommit {
			commits.Add(1)
		}
		return nil
	})
	for _, host := range []string{"evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "xstore.example.org", "127.0.0.1@evil", "[evil]", "::1.evil", "0x7f.1", "store.example.org.evil"} {
		for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"} {
			for _, target := range []string{"/", "/v1/keys/k", "/v1/keys", "/v1/batch", "/v1/status", "/bucket/k", "/healthz", "/nothing"} {
				w := n.DoAt(t, host, method, target, "v")
				if w.Code != 421 || method != "HEAD" && !strings.Contains(w.Body.String(), "unknown-host") {
					t.Fatalf("%s %s at %s: %d %s", method, target, host, w.Code, w.Body)
				}
			}
		}
	}
	if n := commits.Load(); n > 0 {
		t.Errorf("%d commits", n)
	}
	for _, host := range []string{"", "localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "[::1]", "10.0.0.7:1", "store.example.org", "Store.Example.ORG.:443", "localhost."} {
		if w := n.DoAt(t, host, "GET", "/v1/keys/k?consistency=master", ""); w.Code != 200 {
			t.Errorf("%q: %d %s", host, w.Code, w.Body)
		}
	}
}
