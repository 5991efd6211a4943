package api_test

import (
	"bufio"
	stdcmp "cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/transport"
	"github.com/runnelkv/runnel/store"
)

// answersBy sends each request over a connection of its own and returns comparable answers.
func answersBy(t *testing.T, n *apitest.Node, wrapped bool, requests []string) (answers []map[string]any) {
	n.CountRequestsFrom(36 * 36 * 36 * 36) // all request ids have the same length
	server := httptest.NewUnstartedServer(n)
	api.Limits{}.Apply(server.Config)
	if wrapped {
		transport.Prepare(server.Config)
		server.Listener = transport.NewListener(server.Listener, transport.Accepting{})
	}
	server.Start()
	defer server.Close()
	for _, request := range requests {
		conn := apitest.Dial(t, server)
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		go io.WriteString(conn, request)
		reader, method := bufio.NewReader(conn), request[:strings.Index(request, " ")]
		for {
			answer, err := http.ReadResponse(reader, &http.Request{Method: method})
			if err != nil {
				break
			}
			text, err := io.ReadAll(answer.Body)
			body := strings.ReplaceAll(string(text), stdcmp.Or(answer.Header.Get("X-Request-Id"), "-"), "ID")
			if _, boundary, ok := strings.Cut(answer.Header.Get("Content-Type"), "boundary="); ok {
				body = strings.ReplaceAll(body, boundary, "BOUNDARY")
				answer.Header.Set("Content-Type", "multipart/byteranges")
			}
			for _, varies := range []string{"Date", "Runnel-Partition", "Runnel-Staleness", "X-Request-Id"} {
				if answer.Header[varies] != nil {
					answer.Header[varies] = []string{"given"}
				}
			}
			answers = append(answers, map[string]any{"request": request, "status": answer.StatusCode, "proto": answer.Proto, "header": answer.Header,
				"length": answer.ContentLength, "te": answer.TransferEncoding, "close": answer.Close, "body": body, "err": err})
			if answer.StatusCode >= 200 && !strings.Contains(request, "PIPELINED") {
				break
			}
		}
		conn.Close()
	}
	return answers
}

// TestHeadersAreTheSameOnEveryConnection: fields that bypass net/http arrive unchanged.
func TestHeadersAreTheSameOnEveryConnection(t *testing.T) {
	n := apitest.New(t)
	n.Do(t, "PUT", "/v1/keys/a", "value", "Content-Type", "text/plain", "Runnel-Meta-Odd", "  tab\tand \"é\" ", "Runnel-Meta-Two", "2")
	n.Do(t, "PUT", "/v1/keys/large", strings.Repeat("large", 100_000))
	n.Do(t, "PUT", "/v1/keys/empty", "")
	n.Do(t, "PUT", "/v1/keys/binary", "\xff\x00")
	etag := n.Do(t, "GET", "/v1/keys/a", "").Header().Get("Etag")
	apitest.Eventually(t, "spread", func() bool { return n.Do(t, "GET", "/v1/keys/a", "").Code == 200 })
	master := "?consistency=master"
	line := func(method, target string, headers ...string) string {
		return method + " " + target + " HTTP/1.1\r\nHost: x\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
	}
	var requests []string
	for _, method := range []string{"GET", "HEAD"} {
		for _, key := range []string{"a", "large", "empty", "binary", "unknown", "%00", "a?x=y"} {
			requests = append(requests, line(method, "/v1/keys/"+key+master))
		}
		for _, header := range []string{"Range: bytes=1-2", "Range: bytes=0-0,2-3", "Range: bytes=9-", "If-None-Match: " + etag, "If-None-Match: *", `If-Match: "1"`,
			"Accept: application/json", "Accept: application/xml", "Accept: text/html", "Accept: text/plain", "Accept: image/png", "Connection: close",
			"X-Request-Id: mine", "X-Request-Id: not for logs", "Expect: 100-continue", "Expect: nothing"} {
			requests = append(requests, line(method, "/v1/keys/a"+master, header))
		}
		requests = append(requests, line(method, "/")) // for browsers the page has figures that change
		for _, target := range []string{"/v1/keys" + master, "/v1/status2", "/healthz", "/readyz?write", "/openapi.yaml", "/problems", "/problems/not-found", "/bucket/", "/canonicalbucket/a", "*"} {
			requests = append(requests, line(method, target), line(method, target, "Accept: text/html"))
		}
		requests = append(requests, line(method, "/console/signin"), line(method, "/console/none"))
		requests = append(requests, line(method, "/v1/keys"+master, "Accept: application/x-ndjson"))
		requests = append(requests, method+" /v1/keys/a HTTP/1.0\r\n\r\n", method+" /v1/keys/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", method+" /v1/keys/a HTTP/1.1\r\n\r\n")
	}
	requests = append(requests, line("OPTIONS", "/v1/keys/a"), line("PATCH", "/v1/keys/a"), line("OPTIONS", "*"), "GET nonsense\r\n\r\n",
		line("PUT", "/v1/keys/a", `If-Match: "1"`, "Content-Length: 3")+"abc",
		line("PUT", "/v1/keys/a", `If-Match: "1"`, "Content-Length: 3", "Expect: 100-continue")+"abc",
		line("PUT", "/v1/keys/a", "Content-Length: 99999999")+"abc",
		line("PUT", "/v1/keys/a", `If-Match: "1"`, "Transfer-Encoding: chunked")+"3\r\nabc\r\n0\r\n\r\n",
		line("PUT", "/v1/keys/a", "Transfer-Encoding: chunked")+"nonsense\r\n",
		line("GET", "/v1/keys/a"+master, "X: PIPELINED")+line("GET", "/v1/keys/large"+master)+line("GET", "/v1/keys/unknown"+master, "Connection: close"))
	plain, ours := answersBy(t, n, false, requests), answersBy(t, n, true, requests)
	if len(plain) < len(requests) {
		t.Errorf("%d requests, %d answers", len(requests), len(plain))
	}
	for i := range plain {
		if diff := cmp.Diff(plain[i], ours[i], cmp.Comparer(func(a, b error) bool { return fmt.Sprint(a) == fmt.Sprint(b) })); diff != "" {
			t.Errorf("%.200s\na plain connection (-) against ours (+):\n%s", plain[i]["request"], diff)
		}
	}
	if diff := cmp.Diff(len(plain), len(ours)); diff != "" {
		t.Error(diff)
	}
}

// TestWrittenHeadersAreTheSame is the same test for writes.
func TestWrittenHeadersAreTheSame(t *testing.T) {
	put := "PUT /v1/keys/new HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
	requests := []string{put, put, strings.Replace(put, "keys/new", "keys/a%2F%2Fb", 1), strings.Replace(put, "PUT /v1/keys/new", "POST /v1/keys?ttl=1h", 1),
		"DELETE /v1/keys/new HTTP/1.1\r\nHost: x\r\n\r\n", "DELETE /v1/keys/new HTTP/1.1\r\nHost: x\r\n\r\n", strings.Replace(put, "v1/keys", "bucket", 1)}
	plain, ours := answersBy(t, apitest.New(t), false, requests), answersBy(t, apitest.New(t), true, requests)
	if len(plain) != len(requests) || len(ours) != len(requests) {
		t.Fatalf("%d requests, %d and %d answers", len(requests), len(plain), len(ours))
	}
	for i := range plain {
		a, b := plain[i]["header"].(http.Header), ours[i]["header"].(http.Header)
		for _, h := range []http.Header{a, b} {
			for _, varies := range []string{"Last-Modified", "Location", "Content-Length", "Runnel-Expires-At"} {
				if h[varies] != nil {
					h[varies] = []string{"given"}
				}
			}
			if h[exchange.SessionHeader] != nil { // of two clusters
				v, _, err := store.ParseToken(store.SessionToken, h.Get(exchange.SessionHeader))
				if err != nil {
					t.Error(err)
				}
				h.Set(exchange.SessionHeader, v.Token(store.SessionToken, 0))
			}
		}
		if diff := cmp.Diff(a, b); diff != "" || plain[i]["status"] != ours[i]["status"] {
			t.Errorf("%.200s\n%v, %v; a plain connection (-) against ours (+):\n%s", requests[i], plain[i]["status"], ours[i]["status"], diff)
		}
	}
}

// TestSilentConnectionsMakeRoom: when all connections are in use, a connection without a request ends in favour of a
// new connection. Connections with requests and streams are kept.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	n := apitest.New(t)
	server := httptest.NewUnstartedServer(n)
	api.Limits{}.Apply(server.Config)
	transport.Prepare(server.Config)
	const limit = 8
	l := transport.NewListener(server.Listener, transport.Accepting{Max: limit})
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	connect := func(sent string) (net.Conn, *bufio.Reader) {
		c := apitest.Dial(t, server)
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, sent)
		return c, bufio.NewReader(c)
	}
	_, stream := connect("GET /v1/changes?since=now HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
	if _, err := http.ReadResponse(stream, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 5 * limit {
		switch i % 3 {
		case 0:
			connect("")
		case 1:
			connect("GET /healthz HTTP/1.1\r\nHost: x\r\nHalf-a-header")
		case 2:
			_, r := connect("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
			if answer, err := http.ReadResponse(r, nil); err != nil || answer.StatusCode != 200 {
				t.Fatalf("request %d: %v", i, err)
			}
		}
	}
	if open := l.Open(); open > limit {
		t.Errorf("%d connections are open", open)
	}
	n.Put(t, "k")
	for {
		line, err := stream.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream ended: %v", err)
		}
		if strings.Contains(line, `"key":"k"`) {
			break
		}
	}
}

// TestIdleConnectionsAreBounded: of many clients that keep their connections, few stay; the others are told with their
// answers. A connection with a request is kept.
func TestIdleConnectionsAreBounded(t *testing.T) {
	for _, protocol := range []string{"plain", "tls", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			n := apitest.New(t)
			server := httptest.NewUnstartedServer(n)
			api.Limits{}.Apply(server.Config)
			transport.Prepare(server.Config)
			const limit = 4
			l := transport.NewListener(server.Listener, transport.Accepting{MaxIdle: limit})
			server.Listener, server.EnableHTTP2 = l, protocol == "h2"
			if protocol == "plain" {
				server.Start()
			} else {
				server.StartTLS()
			}
			t.Cleanup(server.Close)
			send := func(path, accept string) io.ReadCloser {
				client := &http.Transport{ForceAttemptHTTP2: protocol == "h2", TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
				t.Cleanup(client.CloseIdleConnections)
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("Accept", accept)
				answer, err := client.RoundTrip(request)
				if err != nil || answer.StatusCode != http.StatusOK || answer.ProtoMajor == 2 != (protocol == "h2") {
					t.Fatalf("%v, %v", answer, err)
				}
				return answer.Body
			}
			n.Put(t, "k")
			stream := send("/v1/changes", "text/event-stream")
			defer stream.Close()
			get := func() {
				if _, err := io.Copy(io.Discard, send("/v1/keys/k", "*/*")); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 * limit {
				get()
			}
			apitest.Eventually(t, "the others have left", func() bool {
				if l.Open() <= limit+1 {
					return true
				}
				get() // requests at the same time may exceed the bound until the next request
				return false
			})
			n.Put(t, "later")
			for lines := bufio.NewScanner(stream); ; {
				if !lines.Scan() {
					t.Fatalf("the stream has ended: %v", lines.Err())
				}
				if strings.Contains(lines.Text(), `"key":"later"`) {
					break
				}
			}
		})
	}
}
