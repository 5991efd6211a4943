package keys_test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/wire"
)

func TestPutAnswersCreatedThenReplaced(t *testing.T) {
	n := apitest.New(t)
	first := n.Do(t, "PUT", "/v1/keys/a%20b", "one", "Content-Type", "text/x-mine; charset=latin1")
	if first.Code != 201 || first.Header().Get("Location") != "/v1/keys/a%20b" {
		t.Fatalf("first PUT: %d %v %s", first.Code, first.Header(), first.Body)
	}
	second := n.Do(t, "PUT", "/v1/keys/a%20b", "two", "Content-Type", "text/x-mine")
	if second.Code != 204 || second.Header().Get("Location") != "" || second.Header().Get("ETag") == first.Header().Get("ETag") {
		t.Fatalf("second PUT: %d %v %s", second.Code, second.Header(), second.Body)
	}
	for _, method := range []string{"GET", "HEAD"} {
		w := n.Do(t, method, "/v1/keys/a%20b", "")
		want := map[string]string{
			"ETag": second.Header().Get("ETag"), "Content-Type": "text/x-mine", "Content-Length": "3",
			"Runnel-Partition": "partition-0", "Runnel-Staleness": "0", "Accept-Ranges": "bytes", "Vary": "Accept",
			"Runnel-Revision": strings.Trim(second.Header().Get("ETag"), `"`),
			"Last-Modified":   second.Header().Get("Last-Modified"),
			"Cache-Control":   "no-cache", "Cross-Origin-Resource-Policy": "same-origin",
		}
		for name, value := range want {
			if got := w.Header().Get(name); got != value {
				t.Errorf("%s: %s is %q, want %q", method, name, got, value)
			}
		}
		body := "two"
		if method == "HEAD" {
			body = ""
		}
		if w.Code != 200 || w.Body.String() != body {
			t.Errorf("%s: %d %q", method, w.Code, w.Body)
		}
	}
}

func TestValuesOfAllBytesAndNoneComeBack(t *testing.T) {
	n := apitest.New(t)
	all := make([]byte, 3<<20) // larger than the server allocates without an announced length
	for i := range all {
		all[i] = byte(i)
	}
	for key, value := range map[string]string{"all": string(all), "none": ""} {
		if w := n.Do(t, "PUT", "/v1/keys/"+key, value); w.Code != 201 {
			t.Fatalf("PUT %s: %d %s", key, w.Code, w.Body)
		}
		w := n.Do(t, "GET", "/v1/keys/"+key, "")
		if w.Body.String() != value || w.Header().Get("Content-Type") != "application/octet-stream" {
			t.Errorf("GET %s: %d, %d bytes, %v", key, w.Code, w.Body.Len(), w.Header())
		}
	}
}

func TestKeysInPathsAreDecodedOnceAndNeverCleaned(t *testing.T) {
	n := apitest.New(t)
	for path, key := range map[string]string{
		"a/b": "a/b", "a%2Fb2": "a/b2", "a//b": "a//b", "/": "/", "//": "//", "../up": "../up", "..": "..", ".": ".",
		"a/../b": "a/../b", "a/./b": "a/./b", "a%20b": "a b", "a+b": "a+b", "%252F": "%2F", "%25": "%", "tail/": "tail/",
		"a;b=c": "a;b=c", "%3Fq%23f": "?q#f", "%C3%A9": "é", "{tag}x": "{tag}x", "a&b": "a&b", "%22%3Cb%3E": `"<b>`,
		strings.Repeat("k", 512): strings.Repeat("k", 512), "%EF%BF%BF": "\uffff",
	} {
		w := n.Do(t, "PUT", "/v1/keys/"+path, key)
		if w.Code != 201 {
			t.Errorf("PUT %s: %d %s", path, w.Code, w.Body)
			continue
		}
		for _, p := range []string{"/v1/keys/" + path, w.Header().Get("Location")} {
			g := n.Do(t, "GET", p, "", "Accept", "application/json")
			var e struct{ Key, Value string }
			if err := json.Unmarshal(g.Body.Bytes(), &e); err != nil || e.Key != key || e.Value != key {
				t.Errorf("GET %s: %d, key %q, want %q (%v)", p, g.Code, e.Key, key, err)
			}
		}
	}
}

func TestWholeEntryInEveryForm(t *testing.T) {
	n := apitest.New(t)
	put := n.Do(t, "PUT", "/v1/keys/k?ttl=1h", "v<\u00e9>", "Runnel-Meta-Owner", "ann", "Runnel-Meta-Two-Words", "x", "Content-Type", "image/png")
	raw := put.Header().Get("ETag")
	for accept, suffix := range map[string]string{"application/json": ".json", "application/xml": ".xml", "text/xml": ".xml", "text/html": ".html", "text/plain": ".txt"} {
		w := n.Do(t, "GET", "/v1/keys/k", "", "Accept", accept)
		wantTag := strings.TrimSuffix(raw, `"`) + suffix + `"`
		if w.Code != 200 || w.Header().Get("ETag") != wantTag || !strings.HasPrefix(w.Header().Get("Content-Type"), accept) || w.Header().Get("Accept-Ranges") != "" {
			t.Errorf("%s: %d %v", accept, w.Code, w.Header())
		}
		if again := n.Do(t, "GET", "/v1/keys/k", "", "Accept", accept, "If-None-Match", wantTag); again.Code != 304 {
			t.Errorf("%s: If-None-Match %s: %d", accept, wantTag, again.Code)
		}
		if other := n.Do(t, "GET", "/v1/keys/k", "", "Accept", accept, "If-None-Match", raw); other.Code != 200 {
			t.Errorf("%s: If-None-Match of another form: %d", accept, other.Code)
		}
	}
	var e wire.Entry
	if err := json.Unmarshal(n.Do(t, "GET", "/v1/keys/k", "", "Accept", "application/json").Body.Bytes(), &e); err != nil {
		t.Fatal(err)
	}
	if e.Key != "k" || *e.Value != "v<é>" || e.ETag != raw || e.Origin != "partition-0" || e.Size != 5 || e.ContentType != "image/png" ||
		e.ExpiresAt == nil || !e.ExpiresAt.Equal(e.ModifiedAt.Add(time.Hour)) {
		t.Errorf("entry: %+v", e)
	}
	if diff := cmp.Diff(wire.Metadata{"owner": "ann", "two-words": "x"}, e.Metadata); diff != "" {
		t.Error(diff)
	}
	g := n.Do(t, "GET", "/v1/keys/k", "")
	if g.Header().Get("Runnel-Meta-Owner") != "ann" || g.Header().Get("Runnel-Meta-Two-Words") != "x" {
		t.Errorf("metadata headers: %v", g.Header())
	}
}

func TestBinaryValuesInStructuredForms(t *testing.T) {
	n := apitest.New(t)
	n.Do(t, "PUT", "/v1/keys/b", "\xff\x00")
	n.Do(t, "PUT", "/v1/keys/c", "\x01")
	var e wire.Entry
	if err := json.Unmarshal(n.Do(t, "GET", "/v1/keys/b", "", "Accept", "application/json").Body.Bytes(), &e); err != nil || e.Value != nil || string(*e.ValueBase64) != "\xff\x00" {
		t.Errorf("JSON: %+v %v", e, err)
	}
	for key, want := range map[string]string{"b": "/wA=", "c": "AQ=="} {
		var x struct {
			Value struct {
				Encoding string `xml:"encoding,attr"`
				Text     string `xml:",chardata"`
			} `xml:"value"`
		}
		body := n.Do(t, "GET", "/v1/keys/"+key, "", "Accept", "application/xml").Body
		if err := xml.Unmarshal(body.Bytes(), &x); err != nil || x.Value.Encoding != "base64" || x.Value.Text != want {
			t.Errorf("XML of %s: %+v %v", key, x, err)
		}
	}
}

func TestXMLHoldsWhatItCannotSpellAsBase64(t *testing.T) {
	n := apitest.New(t)
	const odd = "a\uffffb" // no character of XML, but fit for a key
	n.Put(t, odd)
	for _, target := range []string{wire.Path(exchange.KeysPath, odd), "/v1/keys"} {
		body := n.Do(t, "GET", target, "", "Accept", "application/xml").Body.String()
		if !strings.Contains(body, `<key encoding="base64">Ye+/v2I=</key>`) || strings.Contains(body, "\ufffd") {
			t.Errorf("%s: %s", target, body)
		}
	}
}

func TestNegotiationOfOneKey(t *testing.T) {
	n := apitest.New(t)
	n.Do(t, "PUT", "/v1/keys/json", `{"a":1}`, "Content-Type", "application/json")
	n.Do(t, "PUT", "/v1/keys/png", "PNG", "Content-Type", "image/png")
	for _, c := range []struct{ key, accept, contentType string }{
		{"json", "application/json", "application/json"},
		{"png", "image/*", "image/png"},
		{"png", "application/json, text/plain, */*", "image/png"},
		{"png", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"},
		{"png", "application/json;q=0.4, application/xml;q=0.5", "application/xml"},
		{"png", "IMAGE/PNG", "image/png"},
		{"png", "image/gif, application/json;q=0", ""},
		{"png", "application/x-ndjson", ""},
	} {
		w := n.Do(t, "GET", "/v1/keys/"+c.key, "", "Accept", c.accept)
		if c.contentType == "" {
			if w.Code != 406 {
				t.Errorf("%s, Accept %s: %d", c.key, c.accept, w.Code)
			}
			continue
		}
		if w.Code != 200 || w.Header().Get("Content-Type") != c.contentType || w.Header().Get("Vary") != "Accept" {
			t.Errorf("%s, Accept %s: %d %v", c.key, c.accept, w.Code, w.Header())
		}
	}
	// A value stored as JSON is answered itself, not as an entry document.
	if w := n.Do(t, "GET", "/v1/keys/json", "", "Accept", "application/json"); w.Body.String() != `{"a":1}` {
		t.Errorf("stored JSON: %s", w.Body)
	}
}

func TestUnknownKey(t *testing.T) {
	n := apitest.New(t)
	for _, method := range []string{"GET", "HEAD", "DELETE"} {
		w := n.Do(t, method, "/v1/keys/nothing", "")
		if w.Code != 404 || w.Header().Get("Runnel-Partition") != "partition-0" || w.Header().Get("Runnel-Staleness") != "0" {
			t.Errorf("%s: %d %v", method, w.Code, w.Header())
		}
	}
}

func TestWritePreconditions(t *testing.T) {
	n := apitest.New(t)
	past, future := httpDate(-time.Hour), httpDate(time.Hour)
	for i, c := range []struct {
		key, header, value string // REV is the revision of the key that is there
		holds              bool
	}{
		{"there", "If-Match", `"REV"`, true},
		{"there", "If-Match", `"1", "REV"`, true},
		{"there", "If-Match", `"REV.json"`, true},
		{"there", "If-Match", "*", true},
		{"there", "If-Match", `W/"REV"`, false},
		{"there", "If-Match", `"1"`, false},
		{"there", "If-Match", `"0REV"`, false},
		{"there", "If-Match", `"REV.gif"`, false},
		{"there", "If-Match", `"abc"`, false},
		{"away", "If-Match", "*", false},
		{"away", "If-Match", `"REV"`, false},
		{"there", "If-None-Match", "*", false},
		{"there", "If-None-Match", `"REV"`, false},
		{"there", "If-None-Match", `W/"REV"`, false},
		{"there", "If-None-Match", `"REV.xml"`, false},
		{"there", "If-None-Match", `"1"`, true},
		{"away", "If-None-Match", "*", true},
		{"away", "If-None-Match", `"REV"`, true},
		{"there", "If-Unmodified-Since", past, false},
		{"there", "If-Unmodified-Since", future, true},
		{"away", "If-Unmodified-Since", future, true}, // there is no date to compare
		{"there", "If-Unmodified-Since", "yesterday", true},
	} {
		for _, method := range []string{"PUT", "DELETE"} {
			t.Run(fmt.Sprintf("%s %s %s %s", method, c.key, c.header, c.value), func(t *testing.T) {
				there := fmt.Sprintf("/v1/keys/there-%s-%d", method, i)
				revision := n.Do(t, "PUT", there, "before").Header().Get("Runnel-Revision")
				target := strings.Replace(there, "there", c.key, 1)
				w := n.Do(t, method, target, "after", c.header, strings.ReplaceAll(c.value, "REV", revision))
				if want := preconditionStatus(method, c.key, c.holds); w.Code != want {
					t.Errorf("%d, want %d: %s", w.Code, want, w.Body)
				}
				if got := n.Do(t, "GET", there, "").Body.String(); !c.holds && got != "before" {
					t.Errorf("a refused %s left %q", method, got)
				}
				if got := n.Do(t, "GET", target, "").Code; !c.holds && c.key == "away" && got != 404 {
					t.Errorf("a refused %s made the key: %d", method, got)
				}
			})
		}
	}
}

func httpDate(fromNow time.Duration) string {
	return time.Now().Add(fromNow).UTC().Format(http.TimeFormat)
}

func preconditionStatus(method, key string, holds bool) int {
	switch {
	case key == "away" && method == "DELETE":
		return 404 // also without the precondition, which is ignored then
	case !holds:
		return 412
	case key == "there":
		return 204
	}
	return 201
}

func TestReadPreconditions(t *testing.T) {
	n := apitest.New(t)
	etag := n.Do(t, "PUT", "/v1/keys/k", "v").Header().Get("ETag")
	for _, c := range []struct {
		header, value string
		want          int
	}{
		{"If-None-Match", etag, 304},
		{"If-None-Match", "W/" + etag, 304},
		{"If-None-Match", `"x", ` + etag, 304},
		{"If-None-Match", "*", 304},
		{"If-None-Match", `"1"`, 200},
		{"If-Modified-Since", httpDate(time.Hour), 304},
		{"If-Modified-Since", httpDate(-time.Hour), 200},
		{"If-Modified-Since", "never", 200},
		{"If-Match", etag, 200},
		{"If-Match", "*", 200},
		{"If-Match", "W/" + etag, 412},
		{"If-Match", `"1"`, 412},
		{"If-Unmodified-Since", httpDate(-time.Hour), 412},
		{"If-Unmodified-Since", httpDate(time.Hour), 200},
		{"If-Match", "1", 400},
		{"If-None-Match", `"1" "2"`, 400},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			w := n.Do(t, method, "/v1/keys/k", "", c.header, c.value)
			if w.Code != c.want {
				t.Errorf("%s, %s: %s: %d, want %d", method, c.header, c.value, w.Code, c.want)
			}
			if w.Code == 304 && (w.Body.Len() > 0 || w.Header().Get("ETag") != etag || w.Header().Get("Content-Type") != "") {
				t.Errorf("304 has %v %q", w.Header(), w.Body)
			}
		}
	}
	// The date counts only where there is no entity tag (RFC 9110, section 13.1.3).
	if w := n.Do(t, "GET", "/v1/keys/k", "", "If-None-Match", `"1"`, "If-Modified-Since", httpDate(time.Hour)); w.Code != 200 {
		t.Errorf("both: %d", w.Code)
	}
}

func TestRanges(t *testing.T) {
	n := apitest.New(t)
	put := n.Do(t, "PUT", "/v1/keys/k", "0123456789", "Content-Type", "text/plain")
	n.Do(t, "PUT", "/v1/keys/empty", "")
	etag := put.Header().Get("ETag")
	for _, c := range []struct {
		key, header string
		code        int
		body, span  string
	}{
		{"k", "bytes=0-3", 206, "0123", "bytes 0-3/10"},
		{"k", "bytes=7-", 206, "789", "bytes 7-9/10"},
		{"k", "bytes=-2", 206, "89", "bytes 8-9/10"},
		{"k", "bytes=-99", 206, "0123456789", "bytes 0-9/10"},
		{"k", "bytes=5-99999999999999999999", 206, "56789", "bytes 5-9/10"},
		{"k", "Bytes=0-0", 206, "0", "bytes 0-0/10"},
		{"k", "bytes=10-", 416, "", "bytes */10"},
		{"k", "bytes=-0", 416, "", "bytes */10"},
		{"empty", "bytes=0-", 416, "", "bytes */0"},
		{"empty", "bytes=-1", 416, "", "bytes */0"},
		{"k", "lines=0-3", 200, "0123456789", ""},
		{"k", "bytes=3-1", 200, "0123456789", ""},
		{"k", "bytes=a-b", 200, "0123456789", ""},
		{"k", "bytes=+1-2", 200, "0123456789", ""},
		{"k", "bytes=", 200, "0123456789", ""},
		{"k", "bytes=0-8,1-9", 200, "0123456789", ""},
		{"k", "bytes=" + strings.Repeat("0-0,", 100), 200, "0123456789", ""},
	} {
		w := n.Do(t, "GET", "/v1/keys/"+c.key, "", "Range", c.header)
		if w.Code != c.code || w.Code != 416 && w.Body.String() != c.body || w.Header().Get("Content-Range") != c.span {
			t.Errorf("%s: %d %q %q", c.header, w.Code, w.Body, w.Header().Get("Content-Range"))
		}
	}
	several := n.Do(t, "GET", "/v1/keys/k", "", "Range", "bytes=0-1,-2")
	if several.Code != 206 || !strings.HasPrefix(several.Header().Get("Content-Type"), "multipart/byteranges") || !strings.Contains(several.Body.String(), "Content-Range: bytes 8-9/10\r\n") {
		t.Errorf("several: %d %v %s", several.Code, several.Header(), several.Body)
	}
	if w := n.Do(t, "HEAD", "/v1/keys/k", "", "Range", "bytes=0-1"); w.Code != 200 || w.Header().Get("Content-Length") != "10" {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	for value, want := range map[string]int{etag: 206, "W/" + etag: 200, `"1"`: 200, put.Header().Get("Last-Modified"): 200, httpDate(-time.Hour): 200} {
		if w := n.Do(t, "GET", "/v1/keys/k", "", "Range", "bytes=0-1", "If-Range", value); w.Code != want {
			t.Errorf("If-Range: %s: %d, want %d", value, w.Code, want)
		}
	}
}

func TestDeleteThenPut(t *testing.T) {
	n := apitest.New(t)
	n.Do(t, "PUT", "/v1/keys/k", "1")
	gone := n.Do(t, "DELETE", "/v1/keys/k", "")
	if gone.Code != 204 || gone.Header().Get("Runnel-Partition") != "partition-0" || gone.Body.Len() > 0 {
		t.Fatalf("DELETE: %d %v", gone.Code, gone.Header())
	}
	if again := n.Do(t, "DELETE", "/v1/keys/k", ""); again.Code != 404 {
		t.Errorf("second DELETE: %d", again.Code)
	}
	put := n.Do(t, "PUT", "/v1/keys/k", "2", "If-None-Match", "*")
	if put.Code != 201 || put.Header().Get("Runnel-Revision") <= gone.Header().Get("Runnel-Revision") {
		t.Errorf("PUT after DELETE: %d %v", put.Code, put.Header())
	}
}

func TestEntriesExpire(t *testing.T) {
	n := apitest.New(t)
	if w := n.Do(t, "PUT", "/v1/keys/short?ttl=1ms", "v"); w.Code != 201 {
		t.Fatalf("PUT: %d %s", w.Code, w.Body)
	}
	apitest.Eventually(t, "expired", func() bool { return n.Do(t, "GET", "/v1/keys/short", "").Code == 404 })
	if w := n.Do(t, "PUT", "/v1/keys/short", "v", "If-None-Match", "*"); w.Code != 201 {
		t.Errorf("PUT over an expired entry: %d", w.Code)
	}
}

func TestPostMakesKeys(t *testing.T) {
	n := apitest.New(t)
	var last string
	for range 3 {
		w := n.Do(t, "POST", "/v1/keys?ttl=1h", "v", "Content-Type", "text/plain")
		var e wire.Entry
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != 201 || w.Header().Get("Location") != "/v1/keys/"+string(e.Key) || e.ExpiresAt == nil {
			t.Fatalf("POST: %d %v %s", w.Code, w.Header(), w.Body)
		}
		if string(e.Key) <= last {
			t.Errorf("key %s is not after %s", e.Key, last)
		}
		last = string(e.Key)
		if g := n.Do(t, "GET", w.Header().Get("Location"), ""); g.Body.String() != "v" {
			t.Errorf("GET: %d %s", g.Code, g.Body)
		}
	}
	if w := n.Do(t, "POST", "/v1/keys", "v", "Accept", "image/png"); w.Code != 406 || apitest.Count(t, n) != 3 {
		t.Errorf("POST that accepts no answer: %d, %d keys", w.Code, apitest.Count(t, n))
	}
}

func TestConsistency(t *testing.T) {
	n := apitest.New(t)
	n.Do(t, "PUT", "/v1/keys/k", "v")
	for query, want := range map[string]int{"": 200, "?consistency=any": 200, "?consistency=master": 200, "?consistency=session": 200, "?consistency=bounded&max_staleness=5s": 200, "?max_staleness=5s": 200, "?consistency=quorum&r=1": 200, "?r=1": 200, "?consistency=": 400, "?consistency=Any": 400} {
		if w := n.Do(t, "GET", "/v1/keys/k"+query, ""); w.Code != want {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

func TestEntryIsNeverTakenForAValue(t *testing.T) {
	n := apitest.New(t)
	n.Do(t, "PUT", "/v1/keys/k", `{"key":"other","value":"forged"}`, "Content-Type", "application/json")
	for _, accept := range []string{"", "*/*", "application/json"} {
		w := n.Do(t, "GET", "/v1/keys/k?entry=true", "", "Accept", accept)
		if w.Code != 200 || !strings.HasPrefix(w.Body.String(), `{"key":"k",`) {
			t.Errorf("Accept %q: %d %s", accept, w.Code, w.Body)
		}
	}
	if w := n.Do(t, "GET", "/v1/keys/k?entry=false", ""); !strings.HasPrefix(w.Body.String(), `{"key":"other"`) {
		t.Errorf("entry=false: %s", w.Body)
	}
	if w := n.Do(t, "GET", "/v1/keys/k?entry=yes", ""); w.Code != 400 {
		t.Errorf("entry=yes: %d", w.Code)
	}
}

func TestExpiryIsKeptAsAnInstant(t *testing.T) {
	n := apitest.New(t)
	const at = "2099-01-02T03:04:05.678901Z"
	if w := n.Do(t, "PUT", "/v1/keys/a?expires_at="+at, "v"); w.Code != 201 {
		t.Fatalf("PUT: %d %s", w.Code, w.Body)
	}
	if w := n.Do(t, "POST", "/v1/batch", `[{"op":"put","key":"b","value":"v","expires_at":"`+at+`"}]`); !strings.Contains(w.Body.String(), `"status":201`) {
		t.Fatalf("batch: %d %s", w.Code, w.Body)
	}
	for _, key := range []string{"a", "b"} {
		if w := n.Do(t, "GET", "/v1/keys/"+key+"?entry=true", ""); !strings.Contains(w.Body.String(), `"expires_at":"`+at+`"`) {
			t.Errorf("%s: %s", key, w.Body)
		}
	}
	if w := n.Do(t, "PUT", "/v1/keys/past?expires_at=2000-01-01T00:00:00Z", "v"); w.Code != 201 {
		t.Errorf("PUT of the past: %d", w.Code)
	}
	if w := n.Do(t, "GET", "/v1/keys/past?consistency=master", ""); w.Code != 404 {
		t.Errorf("GET of the past: %d", w.Code)
	}
	for _, query := range []string{"expires_at=tomorrow", "expires_at=" + at + "&ttl=1s", "expires_at="} {
		if w := n.Do(t, "PUT", "/v1/keys/c?"+query, "v"); w.Code != 400 || !strings.Contains(w.Body.String(), "expires_at") {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}
