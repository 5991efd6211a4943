package api_test

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store/access"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/store/partition"
)

// TestRequestsOfAnAddressAreLimited sends more requests from one address than the limit allows, through a trusted proxy
// and with forged header fields.
func TestRequestsOfAnAddressAreLimited(t *testing.T) {
	n := apitest.New(t, func(o *api.Options) {
		o.Rates = api.Rates{Requests: 5}
		o.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	status := func(remote, forwarded string) int {
		r := httptest.NewRequest("GET", "/openapi.yaml", nil)
		r.Host, r.RemoteAddr = "localhost", remote
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
		}
		w := httptest.NewRecorder()
		n.ServeHTTP(w, r)
		if seconds, err := strconv.Atoi(w.Header().Get("Retry-After")); w.Code == 429 && (err != nil || seconds < 1) {
			t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
		}
		return w.Code
	}
	refused := func(remote, forwarded string) (n int) {
		for range 15 {
			if status(remote, forwarded) == 429 {
				n++
			}
		}
		return n
	}
	if n := refused("198.51.100.1:1", ""); n < 4 || n > 5 {
		t.Errorf("%d of 15 requests at once were refused, the limit is 10", n)
	}
	if n := refused("198.51.100.1:1", "203.0.113.9"); n < 14 {
		t.Errorf("a forged header freed %d requests", 15-n)
	}
	for i := range 15 {
		if code := status("10.0.0.1:1", "203.0.113."+strconv.Itoa(i)); code != 200 {
			t.Errorf("client %d behind the proxy: %d", i, code)
		}
	}
	if n := refused("10.0.0.1:1", "198.51.100.77"); n < 4 {
		t.Errorf("%d of 15 requests of a client behind the proxy were refused", n)
	}
}

func TestRefusedRequestsTouchNoStore(t *testing.T) {
	n := apitest.New(t, func(o *api.Options) { o.Rates = api.Rates{Requests: 1} })
	for n.Do(t, "GET", "/openapi.yaml", "").Code != 429 {
	}
	w := n.Do(t, "PUT", "/v1/keys/a", "value")
	if w.Code != 429 || !strings.Contains(w.Body.String(), "too-many-requests") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	entries, _, err := n.Partitions[0].List(t.Context(), partition.Span{From: "k/", To: "k0", Limit: 10})
	if err != nil || len(entries) != 0 {
		t.Errorf("stored %v, %v", entries, err)
	}
}

// TestAccessLogIsCombined compares a line with the format of Apache and nginx, and sends hostile header fields.
func TestAccessLogIsCombined(t *testing.T) {
	var out bytes.Buffer
	n := apitest.New(t, func(o *api.Options) { o.CombinedLog = &out })
	out.Reset()
	n.Do(t, "GET", "/openapi.yaml?a=%22", "", "User-Agent", "x\"\x1b[2J\n\u202e", "Referer", "http://example.org/")
	line := regexp.MustCompile(`^(?:192\.0\.2\.1|127\.0\.0\.1) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /openapi\.yaml\?a=%22 HTTP/1\.1" 400 \d+ "http://example\.org/" "x\\"\\x1b\[2J\\n\\u202e"\n$`)
	if !line.MatchString(out.String()) {
		t.Errorf("%q", out.String())
	}
	out.Reset()
	n.Do(t, "GET", "/healthz", "", "User-Agent", "")
	if !strings.HasSuffix(out.String(), " \"-\" \"-\"\n") {
		t.Errorf("%q", out.String())
	}
}

// TestFalseKeysExhaustAnAddress guesses keys until the address is refused. A right key and other addresses go on.
func TestFalseKeysExhaustAnAddress(t *testing.T) {
	keys := apitest.NewKeys(t, map[string]access.Spec{"ops": {Roles: []access.Role{access.RoleAdmin}}})
	n := apitest.New(t, func(o *api.Options) { o.Keys, o.Rates = keys, api.Rates{Failures: 10} })
	status := func(remote, key string) int {
		r := httptest.NewRequest("GET", "/v1/keys/a", nil)
		r.Host, r.RemoteAddr = "localhost", remote
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		n.ServeHTTP(w, r)
		return w.Code
	}
	for i := range 10 {
		if code := status("198.51.100.1:1", "wrong"); code != 401 {
			t.Errorf("attempt %d: %d", i, code)
		}
	}
	for key, want := range map[string]int{"wrong": 429, "ops": 404} {
		if code := status("198.51.100.1:2", key); code != want {
			t.Errorf("key %s after ten wrong keys: %d, want %d", key, code, want)
		}
	}
	if code := status("198.51.100.2:1", "wrong"); code != 401 {
		t.Errorf("another address: %d", code)
	}
}

// s3Door returns a function that sends requests to the S3 door of a node. headers are pairs of name and value.
func s3Door(n *apitest.Node) func(method, host, target, body string, headers ...string) *httptest.ResponseRecorder {
	door := n.S3("s3.example.org", bytes.Repeat([]byte("s"), 32))
	return func(method, host, target, body string, headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Host = host
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		return w
	}
}

// TestS3DoorIsClosedToPagesOfOthers: a page under a host name that resolves to the server, and a page of another origin, neither
// read nor change objects of a server without keys.
func TestS3DoorIsClosedToPagesOfOthers(t *testing.T) {
	send := s3Door(apitest.New(t, func(o *api.Options) { o.Hosts = []string{"store.example.org"} }))
	send("PUT", "localhost", "/album", "")
	if w := send("PUT", "localhost", "/album/cat", "<script>", "Content-Type", "text/html"); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for _, host := range []string{"evil.example", "xs3.example.org", "s3.example.org.evil", "127.0.0.1.evil"} {
		for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS"} {
			if w := send(method, host, "/album/cat", ""); w.Code != 421 {
				t.Errorf("%s at %s: %d %s", method, host, w.Code, w.Body)
			}
		}
	}
	for _, page := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "null"}} {
		for target, method := range map[string]string{"/album/cat": "PUT", "/album/cat?x-id=DeleteObject": "DELETE", "/album?delete": "POST", "/other": "PUT"} {
			if w := send(method, "localhost", target, "<Delete><Object><Key>cat</Key></Object></Delete>", page...); w.Code != 403 {
				t.Errorf("%s %s of a page with %q: %d %s", method, target, page, w.Code, w.Body)
			}
		}
	}
	for _, host := range []string{"localhost:9000", "127.0.0.1", "store.example.org", "s3.example.org", "S3.Example.org:9000"} {
		w := send("GET", host, "/album/cat", "", "Origin", "https://evil.example")
		h := w.Header()
		if w.Code != 200 || w.Body.String() != "<script>" || h.Get("Access-Control-Allow-Origin") != "" || h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("Cross-Origin-Resource-Policy") != "same-origin" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "sandbox;") {
			t.Errorf("%s: %d %v", host, w.Code, h)
		}
	}
	if w := send("OPTIONS", "localhost", "/album/cat", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "PUT"); w.Header().Get("Access-Control-Allow-Methods") != "" {
		t.Errorf("a preflight is answered: %v", w.Header())
	}
	if w := send("GET", "album.s3.example.org", "/cat", ""); w.Code != 200 {
		t.Errorf("a bucket as the host: %d", w.Code)
	}
}

// TestS3DoorNamesTheRequest: the header, the document of an error and the line of the audit log have the same request id, of the
// server or of a proxy.
func TestS3DoorNamesTheRequest(t *testing.T) {
	log := &bytes.Buffer{}
	send := s3Door(apitest.New(t, func(o *api.Options) { o.Audit = audit.New(log, audit.Options{Reads: true}) }))
	ids := map[string]bool{}
	for _, c := range []struct {
		method, host, target, given string
		status                      int
		recorded                    bool
	}{
		{"PUT", "localhost", "/album", "", 200, true},
		{"PUT", "localhost", "/album/cat", "", 200, true},
		{"GET", "localhost", "/album/cat", "from-proxy", 200, true},
		{"GET", "localhost", "/album/none", "", 404, true},
		{"OPTIONS", "localhost", "/album/cat", "", 403, true},
		{"GET", "localhost", "/album?acl", "", 501, false},
	} {
		log.Reset()
		w := send(c.method, c.host, c.target, "v", "X-Request-Id", c.given)
		id := w.Header().Get("X-Amz-Request-Id")
		if w.Code != c.status || id == "" || ids[id] || c.given != "" && id != c.given {
			t.Errorf("%s %s: %d with the request id %q", c.method, c.target, w.Code, id)
		}
		ids[id] = true
		if c.status >= 400 && !strings.Contains(w.Body.String(), "<RequestId>"+id+"</RequestId>") {
			t.Errorf("%s %s: the document does not name the request %s: %s", c.method, c.target, id, w.Body)
		}
		if named := strings.Contains(log.String(), `"request":"`+id+`"`); named != c.recorded {
			t.Errorf("%s %s, request %s: audit log %q", c.method, c.target, id, log)
		}
	}
}

// TestS3DoorHasTheLimits: requests of an address, and requests without a valid signature.
func TestS3DoorHasTheLimits(t *testing.T) {
	keys := apitest.NewKeys(t, map[string]access.Spec{"ops": {Roles: []access.Role{access.RoleAdmin}}})
	for _, c := range []struct {
		rates api.Rates
		want  []int
	}{
		{api.Rates{Failures: 2}, []int{403, 403, 429, 429}},
		{api.Rates{Requests: 1}, []int{403, 403, 429}}, // the requests of two seconds at once
	} {
		n := apitest.NewBroken(nil, func(o *api.Options) {
			stored, err := file.New(&tripwire{}, file.Options{})
			if err != nil {
				t.Fatal(err)
			}
			o.Files, o.Store, o.Keys, o.Rates = stored, &tripwire{}, keys, c.rates
		})
		send := s3Door(n)
		for i, want := range c.want {
			if w := send("GET", "localhost", "/album/cat", ""); w.Code != want || w.Code == 429 && w.Header().Get("Retry-After") == "" {
				t.Errorf("%+v, request %d: %d, want %d", c.rates, i, w.Code, want)
			}
		}
	}
}

// TestS3DoorIsAudited: each object has a line, and nothing is done of which a required line cannot be written.
func TestS3DoorIsAudited(t *testing.T) {
	f := &auditFile{}
	send := s3Door(apitest.New(t, func(o *api.Options) { o.Audit, o.AuditRequired = audit.New(f, audit.Options{}), true }))
	const deletion = "<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>"
	send("PUT", "localhost", "/album", "")
	send("PUT", "localhost", "/album/a", "v")
	send("POST", "localhost", "/album?delete", deletion)
	line := regexp.MustCompile(`"act":"(\w+)".*"address":"192\.0\.2\.1".*"method":"(\w+)","route":"s3","key":"\\"([^"]*)\\""(?:,"status":(\d+))?`)
	var got []string
	for _, m := range line.FindAllStringSubmatch(f.text.String(), -1) {
		got = append(got, strings.Join(m[1:], " "))
	}
	want := []string{"write PUT album ", "write PUT album 200", "write PUT album/a ", "write PUT album/a 200",
		"write POST album ", "delete POST album/a ", "delete POST album/a 204", "delete POST album/b ", "delete POST album/b 204", "write POST album 200"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s\n%s", diff, f.text.String())
	}
	f.fail(0, errors.New("no space left on device"))
	if w := send("PUT", "localhost", "/album/c", "v"); w.Code != 503 {
		t.Errorf("without a line: %d %s", w.Code, w.Body)
	}
	f.fail(1, errors.New("no space left on device"))
	send("PUT", "localhost", "/album/d", "v") // the second line fails
	f.fail(2, errors.New("no space left on device"))
	if w := send("POST", "localhost", "/album?delete", "<Delete><Object><Key>d</Key></Object></Delete>"); !strings.Contains(w.Body.String(), "<Deleted>") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	f.fail(0, nil)
	send("PUT", "localhost", "/album/e", "v")
	f.fail(1, errors.New("no space left on device"))
	if w := send("POST", "localhost", "/album?delete", "<Delete><Object><Key>e</Key></Object></Delete>"); !strings.Contains(w.Body.String(), "<Code>ServiceUnavailable</Code>") {
		t.Errorf("deleted without a line: %d %s", w.Code, w.Body)
	}
	f.fail(0, nil)
	for name, want := range map[string]int{"c": 404, "d": 404, "e": 200} {
		if w := send("GET", "localhost", "/album/"+name, ""); w.Code != want {
			t.Errorf("%s: %d, want %d", name, w.Code, want)
		}
	}
}
