package test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// valueLimit is max_value_bytes of these tests' servers.
const valueLimit = 64 << 10

// serveStrict starts a server without a sync process over one database of each kind. The limits are small, and the
// key "present" exists.
func serveStrict(t *testing.T) *classicNode {
	t.Helper()
	n := serveClassic(t, "[http]\nread_timeout = \"2s\"\n[store]\nmax_value_bytes = \"64KiB\"")
	expect(t, exchange(t, "PUT", n.URL+"/canonicalbucket/present", "as it was", "Content-Type: text/plain"), 201)
	return n
}

// badRequest is a request that must be refused, and the expected problem.
type badRequest struct {
	method string
	target string // of the request line, byte for byte
	header string // additional header lines, each with its CRLF
	body   string // sent with a Content-Length, unless header has a length or a transfer encoding
	status int
	slug   string // of the problem
	names  string // must appear in the problem's detail, parameter or header
}

// checkRefused sends each request over a new connection and checks that the answer is the expected problem and
// that no partition's position has moved.
func (n *classicNode) checkRefused(t *testing.T, requests []badRequest) {
	t.Helper()
	before, held := positionsOf(t, n.parts), allFacts(t, n.parts)
	for _, w := range requests {
		what := fmt.Sprintf("%s %.80q %q", w.method, w.target, w.header)
		send := n.sendRaw
		if w.slug == "incomplete-body" {
			send = n.sendRawAndClose
		}
		r := send(t, w.text(), w.method)
		if err := isProblem(r, w); err != nil {
			t.Errorf("%s: %v\n%d %v\n%s", what, err, r.status, r.header, r.body)
		}
		if after := positionsOf(t, n.parts); !maps.Equal(before, after) {
			t.Errorf("%s moved the positions from %v to %v", what, before, after)
			before = after
		}
	}
	if after := allFacts(t, n.parts); !slices.Equal(held, after) {
		t.Errorf("something was stored: %d entries before, %d after", len(held), len(after))
	}
}

// allFacts returns the facts of all entries in all partitions.
func allFacts(t testing.TB, parts []partition.Partition) (facts []fact) {
	t.Helper()
	for _, p := range parts {
		facts = append(facts, contentOf(t, p, "partition-0")...)
	}
	return facts
}

// text returns the request as bytes.
func (w badRequest) text() string {
	header := "Host: localhost\r\n" + w.header
	if !strings.Contains(header, "Accept:") {
		header += "Accept: application/json\r\n"
	}
	if !strings.Contains(header, "Content-Length:") && !strings.Contains(header, "Transfer-Encoding:") && w.method != "GET" {
		header += fmt.Sprintf("Content-Length: %d\r\n", len(w.body))
	}
	return fmt.Sprintf("%s %s HTTP/1.1\r\n%s\r\n%s", w.method, w.target, header, w.body)
}

// sendRaw sends the bytes unchanged and reads an answer.
func (n *classicNode) sendRaw(t testing.TB, text, method string) reply {
	t.Helper()
	c := n.connect(t)
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		t.Logf("the server stopped reading: %v", err) // after a refusal
	}
	return readReply(t, bufio.NewReader(c), method)
}

// sendRawAndClose is sendRaw, but closes the sending side, so that the body ends early.
func (n *classicNode) sendRawAndClose(t testing.TB, text, method string) reply {
	t.Helper()
	c := n.connect(t)
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	c.CloseWrite()
	return readReply(t, bufio.NewReader(c), method)
}

func (n *classicNode) connect(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(n.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	return c.(*net.TCPConn)
}

// readReply reads the answer to a method. The status is 0 if the connection ends without an answer.
func readReply(t testing.TB, b *bufio.Reader, method string) reply {
	t.Helper()
	resp, err := http.ReadResponse(b, &http.Request{Method: method})
	if err != nil {
		return reply{body: err.Error()}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("read the answer: %v", err)
	}
	return reply{resp.StatusCode, resp.Header, string(body)}
}

// isProblem checks an answer against RFC 9457 and the expected problem.
func isProblem(r reply, w badRequest) error {
	if r.status != w.status {
		return fmt.Errorf("status %d, want %d", r.status, w.status)
	}
	if w.method == "HEAD" {
		return nil
	}
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		return fmt.Errorf("Content-Type %q", got)
	}
	var p struct {
		Type, Title, Detail, Parameter, Header string
		Status                                 int
	}
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		return err
	}
	switch {
	case p.Type != "/problems/"+w.slug:
		return fmt.Errorf("type %q, want %q", p.Type, w.slug)
	case p.Status != w.status || p.Title == "" || p.Detail == "":
		return errors.New("status, title or detail is missing")
	case !strings.Contains(p.Detail+p.Parameter+p.Header, w.names):
		return fmt.Errorf("%q is not named", w.names)
	case w.status == http.StatusServiceUnavailable && r.header.Get("Retry-After") == "":
		return errors.New("no Retry-After")
	}
	return nil
}

// TestBadKeysAreRefused: empty, over-long, non-UTF-8 and control-character
// keys, on every path and with every method.
func TestBadKeysAreRefused(t *testing.T) {
	n := serveStrict(t)
	keys := map[string]string{
		"":                               "empty",
		strings.Repeat("x", 513):         "longer than 512 bytes",
		strings.Repeat("%E2%82%AC", 171): "longer than 512 bytes",
		strings.Repeat("/", 513):         "longer than 512 bytes",
		"%FF":                            "UTF-8",
		"\xff":                           "UTF-8",
		"a%C3":                           "UTF-8",
		"%C0%80":                         "UTF-8", // NUL, over-long
		"%ED%A0%80":                      "UTF-8", // a surrogate
		"%F4%90%80%80":                   "UTF-8", // beyond U+10FFFF
		"%00":                            "U+0000",
		"a%00b":                          "U+0000",
		"a%0Ab":                          "U+000A",
		"a%0D%0AX-Injected:%20yes":       "U+000D",
		"%09":                            "U+0009",
		"%1F":                            "U+001F",
		"%7F":                            "U+007F",
		"%C2%80":                         "U+0080",
		"%C2%9F":                         "U+009F",
	}
	var requests []badRequest
	for key, why := range keys {
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
			requests = append(requests, badRequest{method, "/v1/keys/" + key, "", body(method), 400, "invalid-key", why})
		}
		if key == "" {
			continue // is the list there
		}
		for _, path := range []string{"/bucket/", "/canonicalbucket/"} {
			requests = append(requests,
				badRequest{"GET", path + key, "", "", 404, "not-found", why},
				badRequest{"PUT", path + key, "", "x", 400, "invalid-key", why},
				badRequest{"POST", path + key, "", "x", 400, "invalid-key", why},
				badRequest{"DELETE", path + key, "", "", 400, "invalid-key", why})
		}
	}
	n.checkRefused(t, requests)
}

func body(method string) string {
	if method == "PUT" {
		return "x"
	}
	return ""
}

// TestAwkwardKeysArriveByteExact: keys that proxies and routers like to clean or to decode twice are ordinary keys
// and cause no redirects.
func TestAwkwardKeysArriveByteExact(t *testing.T) {
	n := serveStrict(t)
	for path, name := range map[string]string{
		"a%2Fb":                       "a/b",
		"%2F":                         "/",
		"/":                           "/",
		"//":                          "//",
		"a//b":                        "a//b",
		"///a///":                     "///a///",
		".":                           ".",
		"..":                          "..",
		"../..":                       "../..",
		"../status":                   "../status",
		"a/../b":                      "a/../b",
		"a/./b":                       "a/./b",
		"%2E%2E/%2e%2e%2F":            "../../",
		"%252F":                       "%2F",
		"%252e%252E":                  "%2e%2E",
		"%2500":                       "%00",
		"a%20b":                       "a b",
		"a+b":                         "a+b",
		"a%2Bb":                       "a+b",
		"a%3Fb%23c%25":                "a?b#c%",
		"a;b=c&d":                     "a;b=c&d",
		"a:b@c":                       "a:b@c",
		"dir/":                        "dir/",
		"%E2%82%AC":                   "€",
		"€":                           "€",
		"%EF%BB%BFbom":                "\ufeffbom",
		"%C2%A0":                      "\u00a0",
		"%22%5C%5E%60%7B%7C%7D":       "\"\\^`{|}",
		"'OR'1'='1":                   "'OR'1'='1",
		"%25%5F":                      "%_",
		strings.Repeat("%2F", 512):    strings.Repeat("/", 512),
		strings.Repeat("\u00e9", 256): strings.Repeat("\u00e9", 256),
	} {
		for _, prefix := range []string{"/v1/keys/", "/bucket/", "/canonicalbucket/"} {
			n.checkKeyOf(t, prefix, path, name)
		}
	}
}

// checkKeyOf writes, reads and deletes a key by a raw path.
func (n *classicNode) checkKeyOf(t *testing.T, prefix, path, name string) {
	t.Helper()
	value := prefix + name
	r := n.sendRaw(t, badRequest{method: "PUT", target: prefix + path, body: value}.text(), "PUT")
	if r.status != 201 {
		t.Errorf("PUT %s%.60q: %d %s", prefix, path, r.status, r.body)
		return
	}
	if got, _ := liveValue(t, n.parts[0], name); got != value {
		t.Errorf("PUT %s%.60q: the master holds %q under %q", prefix, path, got, name)
	}
	location, err := url.PathUnescape(r.header.Get("Location"))
	if err != nil || location != prefix+name {
		t.Errorf("PUT %s%.60q: Location %q", prefix, path, r.header.Get("Location"))
	}
	for _, target := range []string{prefix + path, r.header.Get("Location")} {
		if prefix != "/v1/keys/" {
			target = strings.Replace(target, "/bucket/", "/canonicalbucket/", 1)
		} else {
			target += "?consistency=master"
		}
		got := n.sendRaw(t, badRequest{method: "GET", target: target, header: "Accept: */*\r\n"}.text(), "GET")
		if got.status != 200 || prefix == "/v1/keys/" && got.body != value {
			t.Errorf("GET %.80q: %d %q", target, got.status, got.body)
		}
	}
	done := n.sendRaw(t, badRequest{method: "DELETE", target: prefix + path}.text(), "DELETE")
	if _, live := liveValue(t, n.parts[0], name); live || done.status/100 != 2 {
		t.Errorf("DELETE %s%.60q: %d, still there: %t", prefix, path, done.status, live)
	}
}

// TestStrangePathsAreNotRedirected: paths outside the keys are not cleaned either, and the server refuses
// malformed requests.
func TestStrangePathsAreNotRedirected(t *testing.T) {
	n := serveStrict(t)
	var requests []badRequest
	for _, target := range []string{"//v1/keys/x", "/v1//keys/x", "/v1/./keys/x", "/x/../v1/keys/x", "/v1/keys%2Fx", "/v1", "/bucket", "/canonicalbucket", "/v2/keys/x", "/V1/keys/x"} {
		requests = append(requests, badRequest{"GET", target, "", "", 404, "unknown-route", ""}, badRequest{"PUT", target, "", "x", 404, "unknown-route", ""})
	}
	requests = append(requests,
		badRequest{"PATCH", "/v1/keys/present", "", "x", 405, "method-not-allowed", "PATCH"},
		badRequest{"POST", "/v1/keys/present", "", "x", 400, "invalid-parameter", "needs ttl"}, // which renews an expiry
		badRequest{"POST", "/v1/changes", "", "x", 405, "method-not-allowed", "POST"},
		badRequest{"PUT", "/v1/keys", "", "x", 405, "method-not-allowed", "PUT"},
		badRequest{"PUT", "/bucket/", "", "x", 405, "method-not-allowed", "PUT"},
		badRequest{"DELETE", "/canonicalbucket/", "", "", 405, "method-not-allowed", "DELETE"},
		badRequest{"BREW", "/v1/keys/present", "", "", 405, "method-not-allowed", "BREW"},
	)
	n.checkRefused(t, requests)

	before := positionsOf(t, n.parts)
	for _, text := range []string{
		"PUT /v1/keys/%zz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx",
		"PUT /v1/keys/% HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx",
		"PUT /v1/keys/a\x00b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx",
		"PUT /v1/keys/a b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx",
		"PUT /v1/keys/x HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", // no Host
		"PUT /v1/keys/x HTTP/1.1\r\nHost: localhost\r\nBad Header: 1\r\nContent-Length: 1\r\n\r\nx",
		"PUT /v1/keys/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\nx",
		"PUT /v1/keys/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: one\r\n\r\nx",
		"PUT /v1/keys/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		"PUT /v1/keys/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\nx",
		"PUT /v1/keys/x HTTP/1.1\r\nHost: localhost\r\nX-Long: " + strings.Repeat("x", 128<<10) + "\r\nContent-Length: 1\r\n\r\nx",
		"not HTTP at all\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // a TLS greeting
	} {
		if r := n.sendRawAndClose(t, text, "PUT"); r.status != 0 && r.status/100 != 4 && r.status != 501 {
			t.Errorf("%.60q: %d %s", text, r.status, r.body)
		}
	}
	if after := positionsOf(t, n.parts); !maps.Equal(before, after) {
		t.Errorf("positions moved from %v to %v", before, after)
	}
}

// TestBadBodiesStoreNothing: over the limit, declared or chunked; cut short;
// with a broken encoding.
func TestBadBodiesStoreNothing(t *testing.T) {
	n := serveStrict(t)
	large := strings.Repeat("x", valueLimit+1)
	const chunked = "Transfer-Encoding: chunked\r\n"
	var requests []badRequest
	for _, to := range []struct{ method, target string }{
		{"PUT", "/v1/keys/present"}, {"PUT", "/v1/keys/new"}, {"POST", "/v1/keys"},
		{"PUT", "/bucket/present"}, {"POST", "/canonicalbucket/new"},
	} {
		add := func(header, body string, status int, slug, names string) {
			requests = append(requests, badRequest{to.method, to.target, header, body, status, slug, names})
		}
		add("", large, 413, "too-large", "65536 bytes")
		add(chunked, chunk(large)+"0\r\n\r\n", 413, "too-large", "65536 bytes")
		add(chunked, strings.Repeat(chunk(large[:1000]), 70)+"0\r\n\r\n", 413, "too-large", "65536 bytes")
		add("Content-Length: 9223372036854775807\r\n", "x", 413, "too-large", "65536 bytes")
		add("Content-Length: 10\r\n", "four", 400, "incomplete-body", "announced end")
		add("Content-Length: 60000\r\n", large[:59999], 400, "incomplete-body", "announced end")
		add(chunked, "a\r\nfour", 400, "incomplete-body", "announced end")
		add(chunked, chunk("whole"), 400, "incomplete-body", "announced end") // the last chunk is missing
		add(chunked, "zz\r\nfour\r\n0\r\n\r\n", 400, "incomplete-body", "encoding is broken")
		add(chunked, "2\r\nfour\r\n0\r\n\r\n", 400, "incomplete-body", "encoding is broken")
		add("Content-Encoding: gzip\r\n", "x", 415, "unsupported-encoding", "gzip")
		add("Content-Range: bytes 0-0/2\r\n", "x", 400, "invalid-header", "Content-Range")
		add("Content-Type: nonsense\r\n", "x", 400, "invalid-header", "Content-Type")
		add("Runnel-Meta-Note: "+strings.Repeat("x", 10<<10)+"\r\n", "x", 400, "invalid-header", "metadata")
	}
	n.checkRefused(t, requests)
}

func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

// TestSlowBodyTimesOut: a body that does not go on is given up after
// http.read_timeout.
func TestSlowBodyTimesOut(t *testing.T) {
	n := serveStrict(t)
	before := positionsOf(t, n.parts)
	for _, header := range []string{"Content-Length: 10\r\n", "Content-Length: 60000\r\n", "Transfer-Encoding: chunked\r\n"} {
		w := badRequest{method: "PUT", target: "/v1/keys/slow", header: header, status: 408, slug: "request-timeout", names: "in time"}
		c := n.connect(t)
		defer c.Close()
		if _, err := io.WriteString(c, w.text()); err != nil {
			t.Fatal(err)
		}
		r := readReply(t, bufio.NewReader(c), "PUT")
		if err := isProblem(r, w); err != nil {
			t.Errorf("%q: %v: %d %s", header, err, r.status, r.body)
		}
	}
	if after := positionsOf(t, n.parts); !maps.Equal(before, after) {
		t.Errorf("positions moved from %v to %v", before, after)
	}
}

// TestBodyIsWhatItsLengthSays: bytes after the announced length belong to the next request, which is malformed. A
// client that sends Expect: 100-continue is refused before the body.
func TestBodyIsWhatItsLengthSays(t *testing.T) {
	n := serveStrict(t)
	c := n.connect(t)
	defer c.Close()
	io.WriteString(c, "PUT /v1/keys/exact HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nfour, and more\r\n\r\n")
	b := bufio.NewReader(c)
	if r := readReply(t, b, "PUT"); r.status != 201 {
		t.Errorf("the write: %d %s", r.status, r.body)
	}
	if r := readReply(t, b, "PUT"); r.status != 400 {
		t.Errorf("what came behind it: %d %s", r.status, r.body)
	}
	if value, _ := liveValue(t, n.parts[0], "exact"); value != "four" {
		t.Errorf("stored %q", value)
	}

	asking := n.connect(t)
	defer asking.Close()
	fmt.Fprintf(asking, "PUT /v1/keys/huge HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", 1<<40)
	if r := readReply(t, bufio.NewReader(asking), "PUT"); r.status != 413 {
		t.Errorf("asked before sending: %d %s", r.status, r.body)
	}
	for _, size := range []int{0, 1, valueLimit} {
		value := strings.Repeat("\xfe", size)
		expect(t, exchange(t, "PUT", n.URL+"/bucket/edge", value), 201)
		if got, _ := liveValue(t, n.parts[0], "edge"); got != value {
			t.Errorf("of %d bytes %d are stored", size, len(got))
		}
	}
}

// TestHalfClosedClientReadsNothingWrong: a client that closes its sending side after the request gets the complete
// answer or none, never an empty answer that looks valid.
func TestHalfClosedClientReadsNothingWrong(t *testing.T) {
	n := serveStrict(t)
	for range 20 {
		for _, target := range []string{"/v1/keys/present?consistency=master", "/v1/keys?consistency=master&values=true"} {
			r := n.sendRawAndClose(t, badRequest{method: "GET", target: target, header: "Accept: */*\r\n"}.text(), "GET")
			if r.status != 0 && (r.status != 200 || !strings.Contains(r.body, "as it was")) {
				t.Fatalf("GET %s: %d %q", target, r.status, r.body)
			}
		}
	}
}

// TestBadConditionsAreRefused: entity tags that are none, and conditions that
// do not hold.
func TestBadConditionsAreRefused(t *testing.T) {
	n := serveStrict(t)
	etag := exchange(t, "HEAD", n.URL+"/v1/keys/present?consistency=master", "").header.Get("ETag")
	var requests []badRequest
	for _, name := range []string{"If-Match", "If-None-Match"} {
		for _, value := range []string{"abc", "1099511627777", `"open`, `"a" "b"`, `W/`, `w/"a"`, `"a",b`, `'a'`, `*, "a"`, "\"a b\"", "\"\x01\""} {
			for _, method := range []string{"PUT", "DELETE", "GET"} {
				w := badRequest{method, "/v1/keys/present?consistency=master", name + ": " + value + "\r\n", body(method), 400, "invalid-header", name}
				if method != "GET" {
					w.target = "/v1/keys/present"
				}
				if strings.Contains(value, "\x01") {
					continue // refused by net/http already
				}
				requests = append(requests, w)
			}
		}
	}
	hold := func(method, header string) {
		requests = append(requests, badRequest{method, "/v1/keys/present", header + "\r\n", body(method), 412, "precondition-failed", ""})
	}
	for _, method := range []string{"PUT", "DELETE"} {
		hold(method, `If-Match: "1"`)
		hold(method, "If-Match: W/"+etag) // a weak tag never matches strongly
		hold(method, "If-None-Match: "+etag)
		hold(method, "If-None-Match: *")
		hold(method, "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT")
	}
	// Without the condition the deletion would be 404 too, so the condition is ignored.
	requests = append(requests, badRequest{"PUT", "/v1/keys/absent", "If-Match: *\r\n", "x", 412, "precondition-failed", ""},
		badRequest{"DELETE", "/v1/keys/absent", "If-Match: *\r\n", "", 404, "not-found", ""})
	for _, path := range []string{"/bucket/", "/canonicalbucket/"} {
		requests = append(requests,
			badRequest{"PUT", path + "present", "If-Match: \"1\"\r\n", "x", 412, "precondition-failed", ""},
			badRequest{"DELETE", path + "present", "If-Match: nonsense\r\n", "", 400, "invalid-header", "If-Match"})
	}
	n.checkRefused(t, requests)
	if value, _ := liveValue(t, n.parts[0], "present"); value != "as it was" {
		t.Errorf("the entry has become %q", value)
	}
}

// TestUnservedAcceptIsRefused: before anything is stored, and with the forms
// that there are.
func TestUnservedAcceptIsRefused(t *testing.T) {
	n := serveStrict(t)
	var requests []badRequest
	for _, accept := range []string{"image/png", "image/*, video/mp4;q=0.5", "application/json;q=0, image/png", "nonsense"} {
		header := "Accept: " + accept + "\r\n"
		for _, target := range []string{"/v1/keys/present?consistency=master", "/v1/keys", "/v1/status", "/"} {
			requests = append(requests, badRequest{"GET", target, header, "", 406, "not-acceptable", ""})
		}
		requests = append(requests, badRequest{"POST", "/v1/keys", header, "x", 406, "not-acceptable", ""})
	}
	n.checkRefused(t, requests)
	r := exchange(t, "GET", n.URL+"/v1/keys", "", "Accept: image/png")
	var p struct{ Available []string }
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || !slices.Contains(p.Available, "application/json") {
		t.Errorf("the forms that there are: %v %v", p.Available, err)
	}
}

// TestBadParametersAreRefused: bad values of known parameters, unknown parameters, and parameters of a different
// method.
func TestBadParametersAreRefused(t *testing.T) {
	n := serveStrict(t)
	bad := func(method, target, parameter string) badRequest {
		return badRequest{method, target, "", body(method), 400, "invalid-parameter", parameter}
	}
	var requests []badRequest
	for _, ttl := range []string{"", "abc", "5", "-1s", "0", "0s", "1ns", "999999999h", "1e9s", "30%20s", "1s%00", "%FF"} {
		requests = append(requests, bad("PUT", "/v1/keys/present?ttl="+ttl, "ttl"), bad("POST", "/v1/keys?ttl="+ttl, "ttl"))
	}
	for _, limit := range []string{"", "0", "-1", "1001", "abc", "1.5", "99999999999999999999", "0x10", "%31%00"} {
		requests = append(requests, bad("GET", "/v1/keys?limit="+limit, "limit"), bad("GET", "/bucket/?limit="+limit, "limit"))
	}
	for _, q := range []struct{ query, parameter string }{
		{"values=maybe", "values"}, {"values=", "values"}, {"prefix=%FF", "prefix"}, {"prefix=" + strings.Repeat("x", 513), "prefix"},
		{"delimiter=%C3", "delimiter"}, {"consistency=quorum", "consistency"}, {"consistency=", "consistency"},
		{"pre=x", "pre"}, {"limit=1&limit=2", "limit"}, {"%3Cscript%3E=1", "<script>"}, {"a;b", ""}, {"%zz", ""},
	} {
		requests = append(requests, bad("GET", "/v1/keys?"+q.query, q.parameter))
	}
	for _, cursor := range []string{"", "nonsense", "AAAA", "%FF", strings.Repeat("A", 4000), n.cursor(t, "a") + "A", n.cursor(t, "a") + "&prefix=b"} {
		requests = append(requests,
			badRequest{"GET", "/v1/keys?after=" + cursor, "", "", 400, "invalid-cursor", "cursor"},
			badRequest{"GET", "/canonicalbucket/?after=" + cursor, "", "", 400, "invalid-cursor", "cursor"})
	}
	for _, unknown := range []string{"ttll=30s", "buffered=true", "TTL=30s", "consistency=master"} {
		name, _, _ := strings.Cut(unknown, "=")
		requests = append(requests, bad("PUT", "/v1/keys/present?"+unknown, name), bad("PUT", "/bucket/present?"+unknown, name),
			bad("DELETE", "/v1/keys/present?"+unknown, name), bad("DELETE", "/canonicalbucket/present?"+unknown, name))
	}
	for _, elsewhere := range []string{"PUT /bucket/present", "PUT /canonicalbucket/present", "DELETE /v1/keys/present", "DELETE /canonicalbucket/present"} {
		method, target, _ := strings.Cut(elsewhere, " ")
		requests = append(requests, bad(method, target+"?copies=2", "copies"))
	}
	for _, copies := range []string{"0", "-1", "1.5", "all2", "99999999999999999999", ""} {
		requests = append(requests, bad("PUT", "/v1/keys/present?copies="+copies, "copies"))
	}
	for _, target := range []string{"/v1/keys/present?max_staleness=-5s", "/v1/keys/present?max_staleness=5", "/v1/keys/present?consistency=bounded",
		"/v1/keys/present?consistency=Master", "/v1/keys/present?r=0", "/v1/keys/present?consistency=quorum&r=-1", "/v1/keys/present?consistency=quorum&r=99999999999",
		"/v1/status?x=1", "/healthz?x=1", "/readyz?x=1", "/metrics?x=1", "/bucket/present?x=1"} {
		requests = append(requests, bad("GET", target, ""))
	}
	n.checkRefused(t, requests)
}

// cursor is a real cursor of the list below a prefix.
func (n *classicNode) cursor(t *testing.T, prefix string) string {
	t.Helper()
	for i := range 2 {
		expect(t, exchange(t, "PUT", fmt.Sprintf("%s/canonicalbucket/%s%d", n.URL, prefix, i), "x"), 201)
	}
	var page struct{ Next string }
	r := expect(t, exchange(t, "GET", n.URL+"/v1/keys?consistency=master&limit=1&prefix="+prefix, ""), 200)
	if err := json.Unmarshal([]byte(r.body), &page); err != nil || page.Next == "" {
		t.Fatalf("no cursor in %s", r.body)
	}
	return page.Next
}

// TestEveryProblemHasItsPage: the type of each problem here has a page with an explanation, and pages escape
// hostile text of requests.
func TestEveryProblemHasItsPage(t *testing.T) {
	n := serveStrict(t)
	for _, slug := range []string{"invalid-key", "invalid-parameter", "invalid-cursor", "invalid-header", "incomplete-body", "not-found",
		"unknown-route", "method-not-allowed", "not-acceptable", "request-timeout", "precondition-failed", "too-large",
		"unsupported-encoding", "master-unavailable", "outcome-unknown"} {
		checkFormat(t, get(t, n.URL+"/problems/"+slug, "text/html"), 200, "text/html", nil)
	}
	for _, target := range []string{"/v1/keys?" + url.QueryEscape(hostile[0]) + "=1", "/v1/keys?limit=" + url.QueryEscape(hostile[1]), "/" + url.PathEscape(hostile[0])} {
		for _, accept := range []string{"text/html", "application/xml", "application/json", "text/plain"} {
			r := get(t, n.URL+target, accept)
			checkFormat(t, r, r.status, accept, nil)
			if r.status/100 != 4 {
				t.Errorf("%s: %d", target, r.status)
			}
		}
	}
	if n.Log.String() == "" || strings.Contains(n.Log.String(), "panic") {
		t.Errorf("the log:\n%s", n.Log.Tail())
	}
}
