package apitest

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/wire"
)

// Result is a decoded line of a batch's answer.
type Result struct {
	Index       int
	Op, Key     string
	Status      int
	Value       *string
	ValueBase64 []byte `json:"value_base64"`
	ContentType string `json:"content_type"`
	Size        int64
	ETag        string
	Revision    int64
	ExpiresAt   string `json:"expires_at"`
	Metadata    map[string]string
	Partition   string
	Staleness   *float64
	Problem     *wire.Problem
}

// Slug is the kind of the result's problem, or "".
func (r *Result) Slug() string {
	if r.Problem == nil {
		return ""
	}
	return strings.TrimPrefix(r.Problem.Type, exchange.ProblemsPath)
}

// ResultsOf reads an answer in either form.
func ResultsOf(t testing.TB, w *httptest.ResponseRecorder) []Result {
	t.Helper()
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var rs []Result
	switch w.Header().Get("Content-Type") {
	case "application/json":
		var all struct{ Results []Result }
		if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
			t.Fatalf("%v in %s", err, w.Body)
		}
		rs = all.Results
	case "application/x-ndjson":
		for line := range strings.Lines(w.Body.String()) {
			var r Result
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			rs = append(rs, r)
		}
	}
	for i, r := range rs {
		if r.Index != i || r.Status >= 400 != (r.Problem != nil) || r.Problem != nil && r.Problem.Status != r.Status {
			t.Errorf("result %d: %+v", i, r)
		}
	}
	return rs
}

// Forms are the ways to send a batch; each gets operations and must answer alike.
var Forms = map[string]func(n *Node, t testing.TB, ops ...string) []Result{
	"array": func(n *Node, t testing.TB, ops ...string) []Result {
		return ResultsOf(t, n.Do(t, "POST", "/v1/batch", "["+strings.Join(ops, ",")+"]", "Content-Type", "application/json"))
	},
	"lines": func(n *Node, t testing.TB, ops ...string) []Result {
		return ResultsOf(t, n.Do(t, "POST", "/v1/batch", strings.Join(ops, "\n"), "Content-Type", "application/x-ndjson"))
	},
	"stream": func(n *Node, t testing.TB, ops ...string) []Result {
		return ResultsOf(t, n.Stream(t, strings.Join(ops, "\n\n")+"\n"))
	},
}

// Stream sends lines without announcing how many bytes they are.
func (n *Node) Stream(t testing.TB, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("POST", "/v1/batch", struct{ *strings.Reader }{strings.NewReader(body)})
	r.ContentLength = -1
	r.Header.Set("Content-Type", "application/x-ndjson")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	n.ServeHTTP(w, r)
	checkAnswer(t, r, w)
	n.checkDescribed(t, r, w)
	return w
}
