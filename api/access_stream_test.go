package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
)

// endTime is how long a stream may go on after its key was revoked.
const endTime = 5 * time.Second

// newStreams returns a served node with the keys "reader", which the test revokes, and "admin".
func newStreams(t *testing.T) (*apitest.Node, *apitest.Keys, *httptest.Server) {
	keys := apitest.NewKeys(t, map[string]access.Spec{"admin": senders["admin"], "reader": senders["write"]})
	n := apitest.New(t, func(o *api.Options) { o.Keys, o.Proxies, o.SignInSecret = keys, proxy, signInSecret })
	for i := range 4 {
		n.Do(t, "PUT", fmt.Sprintf("/v1/keys/%d", i), strings.Repeat("v", apitest.MaxTestValue), "Authorization", "Bearer admin")
	}
	return n, keys, n.Serve(t, api.Limits{})
}

// open sends a request as the reader and returns the connection with the answer.
func open(t *testing.T, server *httptest.Server, request string) (net.Conn, *http.Response) {
	t.Helper()
	conn := apitest.Dial(t, server)
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	line, rest, _ := strings.Cut(request, "\r\n")
	if !strings.Contains(rest, "Cookie: ") {
		rest = "Authorization: Bearer reader\r\n" + rest
	}
	fmt.Fprintf(conn, "%s\r\nHost: x\r\n%s", line, rest)
	if strings.Contains(line, "wait=") {
		return conn, nil // the answer comes later
	}
	answer, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil)
	if err != nil {
		t.Fatal(err)
	}
	return conn, answer
}

// TestStreamsEndWithTheirKey: after the key was revoked or has expired, each long answer ends in time, and the last line
// is the problem.
func TestStreamsEndWithTheirKey(t *testing.T) {
	requests := longRequests()
	requests["cookie"] = "GET /v1/changes?since=now HTTP/1.1\r\nX-Forwarded-Proto: https\r\nCookie: " + cookie("reader")[1] + "\r\nAccept: application/x-ndjson\r\n\r\n"
	for name, request := range requests {
		for _, expires := range []bool{false, true} {
			t.Run(fmt.Sprint(name, expires), func(t *testing.T) {
				t.Parallel()
				_, keys, server := newStreams(t)
				if expires {
					keys.Expire("reader", 500*time.Millisecond)
				}
				conn, answer := open(t, server, request)
				began := time.Now()
				if !expires {
					keys.Revoke("reader")
				}
				if answer == nil {
					var err error
					if answer, err = http.ReadResponse(bufio.NewReader(conn), nil); err != nil || answer.StatusCode != 401 {
						t.Fatalf("%+v, %v", answer, err)
					}
				}
				body, _ := io.ReadAll(answer.Body)
				if took := time.Since(began); took > endTime || !strings.Contains(string(body), "/problems/unauthenticated") {
					t.Errorf("after %v: %s", took, body)
				}
			})
		}
	}
}

// longRequests are requests whose answers go on, by their form. A test adds the fields of its sender.
func longRequests() map[string]string {
	const op = `{"op":"get","key":"none"}` + "\n"
	return map[string]string{
		"events": "GET /v1/changes?since=now HTTP/1.1\r\nAccept: text/event-stream\r\n\r\n",
		"lines":  "GET /v1/changes?since=now HTTP/1.1\r\nAccept: application/x-ndjson\r\n\r\n",
		"poll":   "GET /v1/changes?since=now&wait=60s HTTP/1.1\r\n\r\n",
		"batch": "POST /v1/batch HTTP/1.1\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n" +
			fmt.Sprintf("%x\r\n%s\r\n", len(op), op),
	}
}

// TestStreamsOfAKeyAreLimited opens as many streams as a key may have, of each form, and cuts them off.
func TestStreamsOfAKeyAreLimited(t *testing.T) {
	keys := apitest.NewKeys(t, map[string]access.Spec{"admin": senders["admin"], "reader": senders["write"]})
	n := apitest.New(t, func(o *api.Options) { o.Keys, o.Rates = keys, api.Rates{StreamsOfKey: 2, Streams: 1} })
	server := n.Serve(t, api.Limits{})
	inProgress := func(want int) {
		t.Helper()
		apitest.Eventually(t, fmt.Sprint(want, " streams"), func() bool {
			metrics := n.Do(t, "GET", "/metrics", "", "Authorization", "Bearer admin").Body.String()
			return strings.Contains(metrics, fmt.Sprintf("\nrunnel_http_streams %d\n", want))
		})
	}
	refuse := func(key string, want int) {
		t.Helper()
		w := n.Do(t, "GET", "/v1/keys", "", "Authorization", "Bearer "+key, "Accept", "application/x-ndjson")
		if w.Code != want || want == 429 && (w.Header().Get("Retry-After") != "5" || !strings.Contains(w.Body.String(), "limits.streams_per_key")) {
			t.Errorf("a list of %s: %d %v %s", key, w.Code, w.Header(), w.Body)
		}
	}
	for name, request := range longRequests() {
		first, _ := open(t, server, request)
		second, _ := open(t, server, request)
		inProgress(2)
		refuse("reader", 429)
		refuse("admin", 200)
		if line, _, _ := strings.Cut(request, "\r\n"); !strings.Contains(line, "wait=") {
			if _, answer := open(t, server, request); answer.StatusCode != 429 || answer.Header.Get("Retry-After") != "5" {
				t.Errorf("%s: a third is %s", name, answer.Status)
			}
		}
		first.Close()
		inProgress(1)
		refuse("reader", 200)
		second.Close()
		inProgress(0)
	}
	if metrics := n.Do(t, "GET", "/metrics", "", "Authorization", "Bearer admin").Body.String(); !strings.Contains(metrics, "\nrunnel_http_streams_refused_total 7\n") {
		t.Errorf("the refusals are not counted: %s", metrics)
	}
}

// panicking is a store whose lists panic.
type panicking struct{ api.Store }

func (panicking) List(context.Context, store.ListOptions) (store.Page, error) { panic("a mistake") }

// TestStreamsAreFreedAfterAPanic sends more requests that panic than an address may have streams.
func TestStreamsAreFreedAfterAPanic(t *testing.T) {
	n := apitest.New(t, func(o *api.Options) { o.Store, o.Rates = panicking{o.Store}, api.Rates{Streams: 1} })
	for range 3 {
		r := httptest.NewRequest("GET", "/v1/keys", nil)
		r.Header.Set("Accept", "application/x-ndjson")
		w := httptest.NewRecorder()
		if n.ServeHTTP(w, r); w.Code != 500 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
}

// TestListEndsWithItsKey: a client that stops reading in the middle of a list gets no more after its key was revoked.
func TestListEndsWithItsKey(t *testing.T) {
	n, keys, server := newStreams(t)
	_, answer := open(t, server, "GET /v1/keys?values=true&limit=1000&consistency=master HTTP/1.1\r\nAccept: application/x-ndjson\r\n\r\n")
	keys.Revoke("reader")
	for deadline := time.Now().Add(endTime); !ended(t, n); {
		if time.Now().After(deadline) {
			t.Fatal("the list goes on")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if rest, err := io.ReadAll(answer.Body); err == nil || len(rest) >= 4*apitest.MaxTestValue {
		t.Errorf("%d bytes were read, %v", len(rest), err)
	}
}

// ended reports whether a list has been answered.
func ended(t *testing.T, n *apitest.Node) bool {
	metrics := n.Do(t, "GET", "/metrics", "", "Authorization", "Bearer admin").Body.String()
	return strings.Contains(metrics, `runnel_http_requests_total{method="GET",route="/v1/keys",`)
}

// revoking is a store that revokes the key of the reader before the second page of a list.
type revoking struct {
	api.Store
	keys  *apitest.Keys
	pages int
}

func (r *revoking) List(ctx context.Context, o store.ListOptions) (store.Page, error) {
	if r.pages++; r.pages == 2 {
		r.keys.Revoke("reader")
		<-ctx.Done()
	}
	return r.Store.List(context.WithoutCancel(ctx), o)
}

// TestListStopsBetweenPages: a list of several pages ends with the problem as its last line.
func TestListStopsBetweenPages(t *testing.T) {
	keys := apitest.NewKeys(t, map[string]access.Spec{"": senders["admin"], "reader": senders["read"]})
	n := apitest.New(t, func(o *api.Options) {
		o.Keys, o.Store = keys, &revoking{Store: o.Store, keys: keys}
	})
	var ops strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&ops, `{"op":"put","key":"%04d","value":"v"}`+"\n", i)
	}
	n.Do(t, "POST", "/v1/batch", ops.String(), "Content-Type", "application/x-ndjson")
	_, answer := open(t, n.Serve(t, api.Limits{}), "GET /v1/keys?consistency=master HTTP/1.1\r\nAccept: application/x-ndjson\r\n\r\n")
	body, err := io.ReadAll(answer.Body)
	lines := strings.Split(strings.TrimSpace(string(body)), "\n")
	if last := lines[len(lines)-1]; err == nil || len(lines) != 1001 || !strings.Contains(last, "/problems/unauthenticated") {
		t.Errorf("%d lines, %v, the last %s", len(lines), err, last)
	}
}
