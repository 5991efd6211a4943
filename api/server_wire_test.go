package api_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/wire"
)

func TestBodiesOnTheWire(t *testing.T) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{Body: 500 * time.Millisecond})
	const put = "PUT /v1/keys/k HTTP/1.1\r\nHost: x\r\n"
	for _, c := range []struct {
		name, sent string
		halfClose  bool
		status     int
		slug       string // "": answered by net/http
	}{
		{"cut short", put + "Content-Length: 10\r\n\r\nabc", true, 400, "incomplete-body"},
		{"nothing of it", put + "Content-Length: 10\r\n\r\n", true, 400, "incomplete-body"},
		{"large and cut short", put + "Content-Length: 2000000\r\n\r\nabc", true, 400, "incomplete-body"},
		{"never arrives", put + "Content-Length: 10\r\n\r\nabc", false, 408, "request-timeout"},
		{"chunks cut short", put + "Transfer-Encoding: chunked\r\n\r\n5\r\nab", true, 400, "incomplete-body"},
		{"chunks without an end", put + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", true, 400, "incomplete-body"},
		{"chunk size is no number", put + "Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n", false, 400, "incomplete-body"},
		{"announced too large", put + fmt.Sprintf("Content-Length: %d\r\n\r\n", apitest.MaxTestValue+1), false, 413, "too-large"},
		{"absurdly large", put + "Content-Length: 9000000000000000000\r\n\r\n", false, 413, "too-large"},
		{"too large, but expects a 100", put + fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n", apitest.MaxTestValue+1), false, 413, "too-large"},
		{"bad key, expects a 100", "PUT /v1/keys/%00 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", false, 400, "invalid-key"},
		{"two lengths", put + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", false, 400, ""},
		{"length is no number", put + "Content-Length: x\r\n\r\nabc", false, 400, ""},
		{"negative length", put + "Content-Length: -1\r\n\r\nabc", false, 400, ""},
		{"unknown transfer coding", put + "Transfer-Encoding: rot13\r\n\r\nabc", false, 501, ""},
		{"bad escape", "PUT /v1/keys/%zz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv", false, 400, ""},
		{"cut escape", "PUT /v1/keys/%2 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv", false, 400, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, body := apitest.Exchange(t, server, c.sent, c.halfClose)
			if answer.StatusCode != c.status || c.slug != "" && !strings.Contains(body, `"/problems/`+c.slug+`"`) {
				t.Errorf("%d %s, want %d %s", answer.StatusCode, body, c.status, c.slug)
			}
		})
	}
	if c := apitest.Count(t, n); c != 0 {
		t.Errorf("%d keys were stored", c)
	}
}

func TestChunkedBodies(t *testing.T) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	answer, body := apitest.Exchange(t, server, "PUT /v1/keys/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", false)
	if answer.StatusCode != 201 || n.Do(t, "GET", "/v1/keys/k", "").Body.String() != "abcde" {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	r, _ := http.NewRequest("PUT", server.URL+"/v1/keys/large", io.LimitReader(zeros{}, apitest.MaxTestValue+1))
	refused, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	refused.Body.Close()
	if refused.StatusCode != 413 || refused.Close != (refused.ProtoMajor == 1) || apitest.Count(t, n) != 1 {
		t.Errorf("large: %d, %d keys", refused.StatusCode, apitest.Count(t, n))
	}
	r, _ = http.NewRequest("PUT", server.URL+"/v1/keys/largest", io.LimitReader(zeros{}, apitest.MaxTestValue))
	taken, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	taken.Body.Close()
	if taken.StatusCode != 201 {
		t.Errorf("largest: %d", taken.StatusCode)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestKeysOnTheWireAreNotCleaned(t *testing.T) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	for target, key := range map[string]string{
		"/v1/keys/a//b": "a//b", "/v1/keys/../x": "../x", "/v1/keys/a%2Fb": "a/b", "/v1/keys/.": ".",
		"http://x/v1/keys/absolute": "absolute", "/v1/keys//v1/keys/": "/v1/keys/", "/v1/keys/*": "*",
	} {
		answer, body := apitest.Exchange(t, server, "PUT "+target+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv", false)
		if answer.StatusCode != 201 {
			t.Errorf("PUT %s: %d %s", target, answer.StatusCode, body)
		}
		if g := n.Do(t, "GET", wire.Path(exchange.KeysPath, key), ""); g.Body.String() != "v" {
			t.Errorf("%s did not store %q: %d", target, key, g.Code)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	n := apitest.New(t)
	one := n.Do(t, "GET", "/", "").Header().Get("X-Request-Id")
	two := n.Do(t, "GET", "/", "").Header().Get("X-Request-Id")
	if one == two {
		t.Errorf("two requests are %s", one)
	}
	for given, kept := range map[string]bool{"abc-1.2:x/=+@_": true, "": false, "a b": false, "<x>": false, strings.Repeat("x", 129): false, "é": false} {
		got := n.Do(t, "GET", "/nothing", "", "X-Request-Id", given).Header().Get("X-Request-Id")
		if (got == given) != kept {
			t.Errorf("%q became %q", given, got)
		}
	}
}
