package test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// classicNode is a server of the classic paths over one database of each kind. There is no sync process, so
// entries spread only when a test runs a sync.
type classicNode struct {
	*runnel.Process
	file  string
	parts []partition.Partition
}

// serveClassic starts a server after one complete sync, so that all three partitions serve reads.
func serveClassic(t *testing.T, preamble string) *classicNode {
	t.Helper()
	urls := mixedDatabases(t)
	n := &classicNode{file: runnel.WriteConfig(t, preamble, urls...)}
	n.Process = runnel.Serve(t, "--config", n.file, "--no-sync")
	syncLevel(t, n.file)
	n.parts = openMixed(t, urls)
	runnel.Eventually(t, time.Minute, "all partitions are readable", func() error {
		for _, p := range statusOf(t, n.Process).Partitions {
			if !p.Readable {
				return fmt.Errorf("%s is %s", p.Name, p.State)
			}
		}
		return nil
	})
	return n
}

// nodeState is the part of GET /v1/status that these tests read.
type nodeState struct {
	Partitions []struct {
		Name, Kind, Role, State, Error string
		Readable, Writable             bool
		Origins                        []struct {
			Origin       string
			Revision     int64
			LagRevisions int64 `json:"lag_revisions"`
		}
	}
}

func statusOf(t testing.TB, p *runnel.Process) (s nodeState) {
	t.Helper()
	r := exchange(t, "GET", p.URL+"/v1/status", "")
	if err := json.Unmarshal([]byte(r.body), &s); err != nil || r.status != 200 {
		t.Fatalf("status: %d %v\n%s", r.status, err, r.body)
	}
	return s
}

// liveValue reads an entry directly from a partition and reports whether the entry is live.
func liveValue(t testing.TB, p partition.Partition, name string) (value string, live bool) {
	t.Helper()
	entries, err := p.Get(t.Context(), []partition.Key{store.User.Key(name)})
	if err != nil {
		t.Fatalf("get %q from %s: %v", name, p.Name(), err)
	}
	if len(entries) == 0 || entries[0].Deleted {
		return "", false
	}
	return string(entries[0].Value), true
}

// expect checks a status and returns the answer.
func expect(t testing.TB, r reply, status int) reply {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

// TestClassicLazyWriteIsReadCanonically: K2 and K3. Until a sync only the master has a lazy write. The canonical
// path reads the master; the lazy path reads any node.
func TestClassicLazyWriteIsReadCanonically(t *testing.T) {
	n := serveClassic(t, "")
	r := expect(t, exchange(t, "POST", n.URL+"/bucket/lazy%20key", "first"), 201)
	if got := r.header.Get("Location"); got != "/bucket/lazy%20key" {
		t.Errorf("Location %q", got)
	}
	for i, p := range n.parts {
		if _, live := liveValue(t, p, "lazy key"); live != (i == 0) {
			t.Errorf("before a sync: held by %s: %t", p.Name(), live)
		}
	}
	r = expect(t, exchange(t, "GET", n.URL+"/canonicalbucket/lazy%20key", "", "Accept: application/json"), 200)
	if !strings.Contains(r.body, `"value":"first"`) || r.header.Get("Runnel-Partition") != "partition-0" {
		t.Errorf("canonical: from %s: %s", r.header.Get("Runnel-Partition"), r.body)
	}

	answers := map[string]int{} // partition → status
	runnel.Eventually(t, time.Minute, "every node answers lazy reads", func() error {
		r := exchange(t, "GET", n.URL+"/bucket/lazy%20key", "")
		answers[r.header.Get("Runnel-Partition")] = r.status
		return wantLen(answers, 3)
	})
	if want := map[string]int{"partition-0": 200, "partition-1": 404, "partition-2": 404}; !maps.Equal(answers, want) {
		t.Errorf("lazy reads before a sync: %v, want %v", answers, want)
	}

	syncLevel(t, n.file)
	for _, p := range n.parts {
		if value, _ := liveValue(t, p, "lazy key"); value != "first" {
			t.Errorf("after a sync %s holds %q", p.Name(), value)
		}
	}
	for range 20 {
		expect(t, exchange(t, "GET", n.URL+"/bucket/lazy%20key", ""), 200)
	}
}

func wantLen(m map[string]int, n int) error {
	if len(m) < n {
		return fmt.Errorf("%d of %d: %v", len(m), n, m)
	}
	return nil
}

// TestClassicCanonicalWriteIsEverywhereBeforeTheAnswer: K3 and K4. Without a sync process every partition has a
// canonical write or deletion by the time of the answer.
func TestClassicCanonicalWriteIsEverywhereBeforeTheAnswer(t *testing.T) {
	n := serveClassic(t, "")
	for i, method := range []string{"PUT", "POST", "PUT"} { // made, then overwritten: always 201
		value := fmt.Sprintf("canonical %d \x00\xff", i)
		r := expect(t, exchange(t, method, n.URL+"/canonicalbucket/a/b", value), 201)
		if r.header.Get("Location") != "/canonicalbucket/a/b" || r.header.Get("Runnel-Copies") != "3" {
			t.Errorf("Location %q, Runnel-Copies %q", r.header.Get("Location"), r.header.Get("Runnel-Copies"))
		}
		for _, p := range n.parts {
			if got, _ := liveValue(t, p, "a/b"); got != value {
				t.Errorf("%s holds %q right after the answer, want %q", p.Name(), got, value)
			}
		}
	}
	expect(t, exchange(t, "DELETE", n.URL+"/canonicalbucket/a/b", ""), 202)
	for _, p := range n.parts {
		if value, live := liveValue(t, p, "a/b"); live {
			t.Errorf("%s still holds %q after a canonical deletion", p.Name(), value)
		}
	}
	syncLevel(t, n.file)
	holdSameEntries(t, n.parts)
}

// TestClassicDeleteThenPut: K4. A deletion answers 202; a second deletion and reads answer 404. The key can be
// written again, and a sync does not restore the old value.
func TestClassicDeleteThenPut(t *testing.T) {
	n := serveClassic(t, "")
	for _, path := range []string{"/bucket/", "/canonicalbucket/"} {
		key := n.URL + path + "phoenix"
		canonical := n.URL + "/canonicalbucket/phoenix"
		for _, method := range []string{"GET", "DELETE", "HEAD"} {
			expect(t, exchange(t, method, key, ""), 404)
		}
		expect(t, exchange(t, "PUT", key, "old"), 201)
		syncLevel(t, n.file)
		expect(t, exchange(t, "DELETE", key, ""), 202)
		expect(t, exchange(t, "DELETE", key, ""), 404)
		expect(t, exchange(t, "GET", canonical, ""), 404)
		expect(t, exchange(t, "PUT", key, "new from "+path), 201)
		syncLevel(t, n.file)
		for _, p := range n.parts {
			if value, _ := liveValue(t, p, "phoenix"); value != "new from "+path {
				t.Errorf("%s holds %q", p.Name(), value)
			}
		}
		expect(t, exchange(t, "DELETE", key, ""), 202)
		syncLevel(t, n.file)
		expect(t, exchange(t, "GET", key, ""), 404)
	}
	holdSameEntries(t, n.parts)
}

// TestClassicKeyLengthLimit: K5. The limit comes from the configuration: a
// longer key is 400 on a write and unknown, 404, on a read.
func TestClassicKeyLengthLimit(t *testing.T) {
	n := serveClassic(t, "[store]\nmax_key_bytes = 10\nmax_value_bytes = \"1KiB\"")
	before := positionsOf(t, n.parts)
	for _, path := range []string{"/bucket/", "/canonicalbucket/"} {
		for _, long := range []string{"12345678901", "%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9x"} { // 11 bytes each
			expect(t, exchange(t, "PUT", n.URL+path+long, "x"), 400)
			expect(t, exchange(t, "POST", n.URL+path+long, "x"), 400)
			expect(t, exchange(t, "GET", n.URL+path+long, ""), 404)
			expect(t, exchange(t, "HEAD", n.URL+path+long, ""), 404)
		}
		expect(t, exchange(t, "PUT", n.URL+path+"toolarge", strings.Repeat("x", 1025)), 413)
	}
	if after := positionsOf(t, n.parts); !maps.Equal(before, after) {
		t.Errorf("positions moved from %v to %v", before, after)
	}
	expect(t, exchange(t, "PUT", n.URL+"/bucket/1234567890", strings.Repeat("x", 1024)), 201)
	expect(t, exchange(t, "PUT", n.URL+"/bucket/%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9", ""), 201)
}

// positionsOf are the revisions of all partitions, read directly.
func positionsOf(t testing.TB, parts []partition.Partition) map[string]partition.Revision {
	t.Helper()
	at := map[string]partition.Revision{}
	for _, p := range parts {
		positions, err := p.Positions(t.Context())
		if err != nil {
			t.Fatalf("positions of %s: %v", p.Name(), err)
		}
		for o, position := range positions.Origins {
			at[p.Name()+" of "+string(o)] = position.Revision
		}
	}
	return at
}

// TestClassicListsOneNodeOrAll: K1. The lazy path lists one node, the canonical path all nodes.
func TestClassicListsOneNodeOrAll(t *testing.T) {
	n := serveClassic(t, "")
	expect(t, exchange(t, "PUT", n.URL+"/canonicalbucket/everywhere", "x"), 201)
	expect(t, exchange(t, "PUT", n.URL+"/bucket/master%20only", "x"), 201)

	all := "/bucket/everywhere\n/bucket/master%20only\n"
	some := "/bucket/everywhere\n"
	lists := map[string]string{}
	runnel.Eventually(t, time.Minute, "every node answers a list", func() error {
		r := expect(t, exchange(t, "GET", n.URL+"/bucket/", "", "Accept: text/plain"), 200)
		lists[r.header.Get("Runnel-Partition")] = r.body
		if len(lists) < 3 {
			return fmt.Errorf("%d of 3", len(lists))
		}
		return nil
	})
	if want := map[string]string{"partition-0": all, "partition-1": some, "partition-2": some}; !maps.Equal(lists, want) {
		t.Errorf("lists of the nodes: %q", lists)
	}
	if r := exchange(t, "GET", n.URL+"/canonicalbucket/", "", "Accept: text/plain"); r.status != 200 || r.body != all {
		t.Errorf("union: %d %q", r.status, r.body)
	}
}

// hostile are names and values that would act in a page, or break a form, if
// they were not escaped.
var hostile = []string{
	`<script>alert(1)</script>`,
	`"><img src=x onerror=alert(1)>`,
	`' onmouseover='alert(1)`,
	`&lt;b&gt; & ]]> </entry>`,
	`javascript:alert(1)//`,
	`{"json":"injected"}`,
	`../../etc/passwd?a=b#c`,
	`</title><script>alert(2)</script>`,
}

// TestClassicFourFormats: K6. HTML by default, XML, JSON and text by Accept,
// for keys, lists and problems, with hostile keys and values escaped.
func TestClassicFourFormats(t *testing.T) {
	n := serveClassic(t, "")
	for _, name := range hostile {
		expect(t, exchange(t, "PUT", n.URL+"/canonicalbucket/"+url.PathEscape(name), name, "Content-Type: text/html"), 201)
	}
	for _, path := range []string{"/bucket/", "/canonicalbucket/"} {
		for _, accept := range []string{"", "text/html", "application/xml", "application/json", "text/plain"} {
			list := get(t, n.URL+path, accept)
			checkFormat(t, list, 200, accept, nil)
			if got := urlsIn(t, list.body); !slices.Equal(got, slices.Sorted(slices.Values(hostile))) {
				t.Errorf("%s lists as %q:\n%q", path, accept, got)
			}
			for _, name := range hostile {
				checkFormat(t, get(t, n.URL+path+url.PathEscape(name), accept), 200, accept, []string{name})
				checkFormat(t, get(t, n.URL+path+"no%20such%20"+url.PathEscape(name), accept), 404, accept, nil)
			}
		}
		if r := get(t, n.URL+path, "text/plain;q=0.1, application/xml;q=0.9"); !strings.HasPrefix(r.header.Get("Content-Type"), "application/xml") {
			t.Errorf("q-values give %s", r.header.Get("Content-Type"))
		}
		if r := get(t, n.URL+path, "image/png"); r.status != 406 {
			t.Errorf("an Accept that nobody serves: %d", r.status)
		}
	}
}

func get(t testing.TB, url, accept string) reply {
	t.Helper()
	if accept == "" {
		return exchange(t, "GET", url, "")
	}
	return exchange(t, "GET", url, "", "Accept: "+accept)
}

// checkFormat checks that an answer has the requested media type, parses, contains the names, and escapes all
// data.
func checkFormat(t testing.TB, r reply, status int, accept string, names []string) {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	if accept == "" {
		accept = "text/html"
	}
	_, suffix, _ := strings.Cut(accept, "/")
	if got := r.header.Get("Content-Type"); !strings.Contains(got, suffix) {
		t.Errorf("Accept %q gives Content-Type %q", accept, got)
	}
	if r.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("Accept %q: the type may be guessed", accept)
	}
	switch accept {
	case "text/html":
		isInert(t, r)
	case "application/xml":
		isXML(t, r.body)
	case "application/json":
		if !json.Valid([]byte(r.body)) {
			t.Errorf("not JSON: %s", r.body)
		}
	}
	for _, name := range names {
		if !containsName(r.body, name) {
			t.Errorf("%s: %q is missing from %s", accept, name, r.body)
		}
	}
}

// containsName reports whether a body contains a name in any format's escaping.
func containsName(body, name string) bool {
	quoted, _ := json.Marshal(name)
	var escaped strings.Builder
	xml.EscapeText(&escaped, []byte(name)) // a strings.Builder takes everything
	ways := []string{name, string(quoted), escaped.String(), html.EscapeString(name)}
	return slices.ContainsFunc(ways, func(way string) bool { return strings.Contains(body, way) })
}

var keyURL = regexp.MustCompile(`/bucket/[^"<\s]+`)

// urlsIn returns the names in a list's URLs, decoded once and sorted.
func urlsIn(t testing.TB, body string) (names []string) {
	t.Helper()
	for _, found := range keyURL.FindAllString(body, -1) {
		name, err := url.PathUnescape(strings.TrimPrefix(found, "/bucket/"))
		if err != nil {
			t.Errorf("%q is no URL: %v", found, err)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names) // a page has each name as link and as text
}

// isInert checks that a page contains no tag from data and forbids scripts.
func isInert(t testing.TB, r reply) {
	t.Helper()
	for _, tag := range []string{"<script", "<img", "<b>", "onmouseover='", "onerror=alert(1)>", `href="javascript:`, "</title><s"} {
		if strings.Contains(strings.ToLower(r.body), tag) {
			t.Errorf("%s is in the page:\n%s", tag, r.body)
		}
	}
	if csp := r.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("Content-Security-Policy %q", csp)
	}
}

func isXML(t testing.TB, body string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(body)); ; {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Errorf("not XML: %v\n%s", err, body)
			return
		}
	}
}

// TestClassicReadsGoOnWithoutANode: K9. With the master's server gone, reads on
// the lazy path are answered by the next node; writes say that the master is
// away.
func TestClassicReadsGoOnWithoutANode(t *testing.T) {
	master := servers.NewMariaDB(t)
	urls := mixedDatabases(t)
	urls[0] = master.Database(t)
	file := runnel.WriteConfig(t, "[store]\ntimeout = \"1s\"", urls...)
	node := runnel.Serve(t, "--config", file)
	runnel.Eventually(t, time.Minute, "all partitions are readable", func() error {
		for _, p := range statusOf(t, node).Partitions {
			if !p.Readable {
				return fmt.Errorf("%s is %s", p.Name, p.State)
			}
		}
		return nil
	})
	expect(t, exchange(t, "PUT", node.URL+"/canonicalbucket/kept", "value"), 201)
	master.Kill()
	for range 30 {
		r := expect(t, get(t, node.URL+"/bucket/kept", "text/plain"), 200)
		if !strings.HasSuffix(r.body, "\n\nvalue") || r.header.Get("Runnel-Partition") == "partition-0" {
			t.Fatalf("from %s: %q", r.header.Get("Runnel-Partition"), r.body)
		}
	}
	for _, r := range []reply{
		exchange(t, "PUT", node.URL+"/bucket/kept", "new"),
		exchange(t, "GET", node.URL+"/canonicalbucket/kept", ""),
	} {
		if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || !strings.Contains(r.body, "master-unavailable") {
			t.Errorf("with the master away: %d, Retry-After %q: %s", r.status, r.header.Get("Retry-After"), r.body)
		}
	}
	r := expect(t, get(t, node.URL+"/canonicalbucket/", "text/plain"), 200)
	if r.body != "/bucket/kept\n" {
		t.Errorf("union of those that are left: %q", r.body)
	}
	master.Start()
	runnel.Eventually(t, time.Minute, "the master takes writes again", func() error {
		if r := exchange(t, "PUT", node.URL+"/canonicalbucket/kept", "new"); r.status != 201 {
			return fmt.Errorf("%d: %s", r.status, r.body)
		}
		return nil
	})
}
