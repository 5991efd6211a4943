package batch_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store"
)

// results summarises the result of each operation.
func results(rs []apitest.Result) []string {
	var all []string
	for _, r := range rs {
		s := fmt.Sprint(r.Status)
		if r.Value != nil {
			s += " " + *r.Value
		}
		if r.Problem != nil {
			s += " " + r.Slug()
		}
		all = append(all, s)
	}
	return all
}

func TestBatchAnswersEachOperationInOrder(t *testing.T) {
	for form, batch := range apitest.Forms {
		t.Run(form, func(t *testing.T) {
			n := apitest.New(t)
			rs := batch(n, t,
				`{"op":"put","key":"a","value":"1"}`,
				`{"op":"get","key":"a"}`,
				`{"op":"put","key":"a","value":"2","if_none_match":"*"}`,
				`{"op":"put","key":"a","value":"3","if_match":"*","ttl":"1h"}`,
				`{"op":"get","key":"a"}`,
				`{"op":"delete","key":"a"}`,
				`{"op":"get","key":"a"}`,
				`{"op":"delete","key":"a"}`,
				`{"op":"put","key":"a","value":"4","if_match":"\"1\""}`,
				`{"op":"put","key":"b/ü \"\\","value_base64":"AP8=","content_type":"image/png","metadata":{"Author":"Ann"}}`,
				`{"op":"get","key":"b/\u00fc \"\\"}`,
				`{"op":"put","key":"b/ü \"\\","value":"\ud83d\ude00\n"}`,
				`{"op":"get","key":"b/ü \"\\"}`,
			)
			want := []string{"201", "200 1", "412 precondition-failed", "204", "200 3", "204", "404 not-found", "404 not-found", "412 precondition-failed",
				"201", "200", "204", "200 😀\n"}
			if diff := cmp.Diff(want, results(rs)); diff != "" {
				t.Fatal(diff)
			}
			if rs[0].ETag != fmt.Sprintf("%q", fmt.Sprint(rs[0].Revision)) || rs[1].ETag != rs[0].ETag || rs[3].ExpiresAt == "" || rs[5].Revision <= rs[3].Revision {
				t.Errorf("%+v", rs)
			}
			if g := rs[10]; string(g.ValueBase64) != "\x00\xff" || g.ContentType != "image/png" || g.Metadata["author"] != "Ann" || g.Key != `b/ü "\` || g.Size != 2 || g.Partition == "" || g.Staleness == nil {
				t.Errorf("%+v", g)
			}
			if rs[12].ContentType != "application/octet-stream" {
				t.Errorf("%+v", rs[12])
			}
		})
	}
}

func TestBatchRefusesSingleOperationsAndDoesTheRest(t *testing.T) {
	for form, batch := range apitest.Forms {
		t.Run(form, func(t *testing.T) {
			n := apitest.New(t)
			bad := map[string]string{
				`7`:                                     "invalid-item",
				`null`:                                  "invalid-item",
				`"put"`:                                 "invalid-item",
				`[{"op":"get","key":"a"}]`:              "invalid-item",
				`{}`:                                    "invalid-item op",
				`{"op":"get"}`:                          "invalid-item key",
				`{"op":"get","key":null}`:               "invalid-item key",
				`{"op":"post","key":"a"}`:               "invalid-item op",
				`{"op":7,"key":"a"}`:                    "invalid-item op",
				`{"OP":"get","key":"a"}`:                `invalid-item "OP"`,
				`{"op":"get","key":"a","nope":{"x":1}}`: `invalid-item "nope"`,
				`{"op":"get","key":""}`:                 "invalid-key",
				`{"op":"get","key":"\u0000"}`:           "invalid-key",
				`{"op":"put","key":"` + strings.Repeat("k", 513) + `","value":""}`:                     "invalid-key",
				`{"op":"get","key":"a","value":"x"}`:                                                   "invalid-item value",
				`{"op":"delete","key":"a","ttl":"1s"}`:                                                 "invalid-item ttl",
				`{"op":"put","key":"a"}`:                                                               "invalid-item value",
				`{"op":"put","key":"a","value":1}`:                                                     "invalid-item value",
				`{"op":"put","key":"a","value":"x","value_base64":"eA=="}`:                             "invalid-item value_base64",
				`{"op":"put","key":"a","value_base64":"?"}`:                                            "invalid-item value_base64",
				`{"op":"put","key":"a","value":"x","ttl":"-1s"}`:                                       "invalid-item ttl",
				`{"op":"put","key":"a","value":"x","ttl":"1h1h1h1h1000000h"}`:                          "invalid-item ttl",
				`{"op":"put","key":"a","value":"x","content_type":"no"}`:                               "invalid-item content_type",
				`{"op":"put","key":"a","value":"x","if_match":"1"}`:                                    "invalid-item if_match",
				`{"op":"put","key":"a","value":"x","if_none_match":""}`:                                "invalid-item if_none_match",
				`{"op":"put","key":"a","value":"x","metadata":[]}`:                                     "invalid-item metadata",
				`{"op":"put","key":"a","value":"x","metadata":{"a":"x\ny"}}`:                           "invalid-item metadata",
				`{"op":"put","key":"a","value":"x","metadata":{"a b":"x"}}`:                            "invalid-item metadata",
				`{"op":"put","key":"a","value":"` + strings.Repeat("v", apitest.MaxTestValue+1) + `"}`: "too-large",
			}
			if form != "array" { // of which these would be the end
				for _, line := range []string{
					"not json", "{", `{"op":"get","key":"a"`, `{"op":"get","key":"a"} x`, `{"op":"get","key":"a"},`, "\xff", `{"op":"get","op":"get","key":"a"}`,
					`{"op":"put","key":"a","value":"` + "\xc3\x28" + `"}`, `{"op":"put","key":"a","value":"\ud800"}`, `{"op":"get","key":"a",}`, strings.Repeat("[", 100_000), "\x00",
				} {
					bad[line] = "invalid-json"
				}
				bad[`{"op":"put","key":"a","value":"`+strings.Repeat("v", 2*apitest.MaxTestValue+100_000)+`"}`] = "too-large"
			}
			var ops, want []string
			for op, slug := range bad {
				ops = append(ops, op, fmt.Sprintf(`{"op":"put","key":"ok/%d","value":""}`, len(ops)))
				want = append(want, slug, "")
			}
			if form == "array" {
				ops = shrink(ops) // fit the operations into a single body
			}
			rs := batch(n, t, ops...)
			var got []string
			for _, r := range rs {
				s := r.Slug()
				if r.Problem != nil && r.Problem.Parameter != "" {
					s += " " + r.Problem.Parameter
				}
				got = append(got, s)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if w := n.Do(t, "GET", "/v1/keys/a", ""); w.Code != 404 {
				t.Errorf("a refused operation was done: %d %s", w.Code, w.Body)
			}
			page, err := n.Store.List(t.Context(), store.ListOptions{Space: store.User, Prefix: "ok/", Limit: 1000, ReadOptions: store.ReadOptions{Consistency: store.FromMaster}})
			if err != nil || len(page.Entries) != len(bad) {
				t.Errorf("%d of %d good operations were done, %v", len(page.Entries), len(bad), err)
			}
		})
	}
}

func shrink(ops []string) []string { return ops }

func TestBatchRefusesWhatIsNoBatch(t *testing.T) {
	n := apitest.New(t)
	many := "[" + strings.Repeat(`{"op":"put","key":"a","value":""},`, 10_000) + `{"op":"put","key":"a","value":""}]`
	for _, c := range []struct{ path, body, contentType, accept, slug string }{
		{"/v1/batch", ``, "application/json", "", "invalid-json"},
		{"/v1/batch", `{"op":"put","key":"a","value":""}`, "application/json", "", "invalid-json"},
		{"/v1/batch", `[{"op":"put","key":"a","value":""}`, "application/json", "", "invalid-json"},
		{"/v1/batch", `[{"op":"put","key":"a","value":""}]]`, "application/json", "", "invalid-json"},
		{"/v1/batch", `[{"op":"put","key":"a","value":""},]`, "application/json", "", "invalid-json"},
		{"/v1/batch", `[{"op":"put","key":"a","value":"` + "\xff" + `"}]`, "application/json", "", "invalid-json"},
		{"/v1/batch", `[{"op":"put","key":"a","value":"","value":""}]`, "application/json", "", "invalid-json"},
		{"/v1/batch", "[" + strings.Repeat(`[`, 20_000), "application/json", "", "invalid-json"},
		{"/v1/batch", many, "application/json", "", "too-large"},
		{"/v1/batch", strings.Repeat(" ", 6*apitest.MaxTestValue+64<<10+1), "application/json", "", "too-large"},
		{"/v1/batch", `[{"op":"put","key":"a","value":""}]`, "text/plain", "", "unsupported-media-type"},
		{"/v1/batch", `[{"op":"put","key":"a","value":""}]`, "application/x-www-form-urlencoded", "", "unsupported-media-type"},
		{"/v1/batch", `[{"op":"put","key":"a","value":""}]`, "application/json", "text/html", "not-acceptable"},
		{"/v1/batch?consistency=none", `[{"op":"put","key":"a","value":""}]`, "application/json", "", "invalid-parameter"},
		{"/v1/batch?x=1", `[{"op":"put","key":"a","value":""}]`, "application/json", "", "invalid-parameter"},
	} {
		w := n.Do(t, "POST", c.path, c.body, "Content-Type", c.contentType, "Accept", c.accept)
		if !strings.Contains(w.Body.String(), "/problems/"+c.slug) && c.slug != "not-acceptable" || w.Code < 400 {
			t.Errorf("%s %.60s: %d %s", c.path, c.body, w.Code, w.Body)
		}
	}
	if w := n.Do(t, "POST", "/v1/batch", `[]`, "Content-Encoding", "gzip"); w.Code != 415 {
		t.Errorf("gzip: %d", w.Code)
	}
	if w := n.Do(t, "GET", "/v1/keys/a?consistency=master", ""); w.Code != 404 {
		t.Errorf("something was done: %d", w.Code)
	}
}

func TestBatchIsAnsweredInTheFormThatIsAskedFor(t *testing.T) {
	n := apitest.New(t)
	for _, c := range []struct{ contentType, accept, want string }{
		{"", "", "application/json"},
		{"application/json; charset=utf-8", "*/*", "application/json"},
		{"application/json", "application/x-ndjson", "application/x-ndjson"},
		{"application/x-ndjson", "", "application/x-ndjson"},
		{"application/x-ndjson", "application/json", "application/json"},
	} {
		body := `{"op":"get","key":"a"}`
		if !strings.Contains(c.contentType, "ndjson") {
			body = "[" + body + "]"
		}
		headers := []string{"Accept", c.accept}
		if c.contentType != "" {
			headers = append(headers, "Content-Type", c.contentType)
		}
		w := n.Do(t, "POST", "/v1/batch", body, headers...)
		if rs := apitest.ResultsOf(t, w); w.Header().Get("Content-Type") != c.want || len(rs) != 1 || rs[0].Status != 404 {
			t.Errorf("%+v: %v %s", c, w.Header(), w.Body)
		}
	}
	for _, body := range []string{"", "\n\n"} {
		if w := n.Stream(t, body); w.Code != 200 || w.Body.Len() > 0 {
			t.Errorf("no lines: %d %s", w.Code, w.Body)
		}
	}
	if rs := apitest.ResultsOf(t, n.Do(t, "POST", "/v1/batch", "[]")); len(rs) != 0 {
		t.Errorf("%+v", rs)
	}
}

// TestBatchReadsItsOwnWrites: a get after a write of the same batch sees the write, whichever partition answers.
// Nothing is synced here.
func TestBatchReadsItsOwnWrites(t *testing.T) {
	for form, batch := range apitest.Forms {
		n := apitest.New(t)
		n.Level(t)
		var ops []string
		for i := range 3000 {
			ops = append(ops, fmt.Sprintf(`{"op":"put","key":"k%d","value":"%d"}`, i%7, i), fmt.Sprintf(`{"op":"get","key":"k%d"}`, (i+i/7)%7))
		}
		last := map[int]int{}
		for i, r := range batch(n, t, ops...) {
			j := i / 2
			if i%2 == 0 {
				last[j%7] = j
				continue
			}
			want, written := last[(j+j/7)%7]
			if written && (r.Status != 200 || *r.Value != fmt.Sprint(want)) || !written && r.Status != 404 {
				t.Fatalf("%s: operation %d: %+v, want %d", form, i, r, want)
			}
		}
	}
}

// TestOpenAPIDescribesOperations: the server and openapi.yaml accept and refuse the same operations.
func TestOpenAPIDescribesOperations(t *testing.T) {
	n := apitest.New(t)
	schema := apitest.Description(t).Components.Schemas["Operation"].Value
	for op, ok := range map[string]bool{
		`{"op":"put","key":"k","value":"v"}`:                                                   true,
		`{"op":"put","key":"k","value_base64":"AP8=","content_type":"text/plain","ttl":"30s"}`: true,
		`{"op":"put","key":"k","value":"v","if_match":"*","metadata":{"a":"b"}}`:               true,
		`{"op":"delete","key":"k","if_none_match":"\"1\""}`:                                    true,
		`{"op":"get","key":"k"}`:                                                               true,
		`{"op":"get"}`:                                                                         false,
		`{"key":"k"}`:                                                                          false,
		`{"op":"list","key":"k"}`:                                                              false,
		`{"op":"get","key":7}`:                                                                 false,
		`{"op":"get","key":"k","revision":1}`:                                                  false,
		`{"op":"put","key":"k","value":{}}`:                                                    false,
		`{"op":"put","key":"k","value":"","metadata":{"a":1}}`:                                 false,
		`[]`: false,
	} {
		var document any
		if err := json.Unmarshal([]byte(op), &document); err != nil {
			t.Fatal(err)
		}
		described := schema.VisitJSON(document) == nil
		taken := apitest.Forms["array"](n, t, op)[0].Status != http.StatusBadRequest
		if described != ok || taken != ok {
			t.Errorf("%s: described %v, taken %v, want %v", op, described, taken, ok)
		}
	}
}
