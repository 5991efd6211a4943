package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

func TestStoreErrorsHaveTheirProblems(t *testing.T) {
	secret := errors.New("dial tcp 10.0.0.5:3306: password rejected")
	for _, c := range []struct {
		err    error
		slug   string
		status int
		retry  string
	}{
		{&store.KeyError{Reason: "is empty"}, "invalid-key", 400, ""},
		{fmt.Errorf("get: %w", store.ErrNotFound), "not-found", 404, ""},
		{&store.TooLargeError{Limit: 7}, "too-large", 413, ""},
		{fmt.Errorf("commit: %w", partition.ErrTooLarge), "too-large", 413, ""},
		{fmt.Errorf("commit: %w", &store.QuotaError{Prefix: "a/", Unit: "keys", Limit: 7}), "quota-exceeded", 507, ""},
		{store.ErrDifferentMasters, "different-masters", 422, ""},
		{&store.MasterError{Master: "p0", RetryAfter: 1500 * time.Millisecond, Err: secret}, "master-unavailable", 503, "2"},
		{&store.MasterError{Master: "p0", Err: fmt.Errorf("%w: %w", partition.ErrUnavailable, partition.ErrNoSpace)}, "insufficient-storage", 507, ""},
		{fmt.Errorf("x: %w", store.ErrMasterUnavailable), "master-unavailable", 503, "1"},
		{&store.MasterError{Master: "p0", Err: store.ErrOutcomeUnknown}, "outcome-unknown", 503, "1"},
		{fmt.Errorf("%w: %w", store.ErrNoPartition, secret), "no-partition", 503, "1"},
		{fmt.Errorf("x: %w", partition.ErrUnavailable), "no-partition", 503, "1"},
		{store.ErrClosed, "shutting-down", 503, "1"},
		{context.DeadlineExceeded, "timed-out", 503, "1"},
		{secret, "internal", 500, ""},
		{context.Canceled, "internal", 500, ""}, // but not because the client went
	} {
		n := apitest.NewBroken(c.err)
		w := httptest.NewRecorder()
		n.ServeHTTP(w, httptest.NewRequest("GET", "/v1/keys/k", nil))
		var p wire.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if w.Code != c.status || p.Status != c.status || p.Type != "/problems/"+c.slug || w.Header().Get("Retry-After") != c.retry {
			t.Errorf("%v: %d %v %s", c.err, w.Code, w.Header(), w.Body)
		}
		if strings.Contains(w.Body.String(), "10.0.0.5") || strings.Contains(fmt.Sprint(w.Header()), "10.0.0.5") {
			t.Errorf("%v: internals leak: %s", c.err, w.Body)
		}
		if p.Instance != "/v1/keys/k" || p.Request != w.Header().Get("X-Request-Id") || p.Title == "" || p.Detail == "" {
			t.Errorf("%+v", p)
		}
	}
}

func TestPanicIsAnsweredAndLogged(t *testing.T) {
	var log bytes.Buffer
	s := apitest.NewBroken(nil, func(o *api.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/v1/keys/k", nil)
	r.Header.Set("X-Request-Id", "mine-7")
	s.ServeHTTP(w, r)
	if w.Code != 500 || strings.Contains(w.Body.String(), "10.0.0.5") || w.Header().Get("X-Request-Id") != "mine-7" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if !strings.Contains(log.String(), "a mistake at 10.0.0.5") || !strings.Contains(log.String(), "mine-7") || !strings.Contains(log.String(), "broken") {
		t.Errorf("log: %s", log.String())
	}
}

func TestLeavingClientIsNoError(t *testing.T) {
	var log bytes.Buffer
	s := apitest.NewBroken(context.Canceled, func(o *api.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("the connection is not cut, but %v", p)
		}
		if log.Len() > 0 {
			t.Errorf("log: %s", log.String())
		}
	}()
	s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/v1/keys/k", nil).WithContext(ctx))
}

func TestProblemsInEveryForm(t *testing.T) {
	n := apitest.New(t)
	for accept, want := range map[string]string{
		"":                                      "application/problem+json",
		"image/png":                             "application/problem+json",
		"application/json":                      "application/problem+json",
		"application/problem+xml":               "application/problem+xml",
		"text/xml":                              "application/problem+xml",
		"text/html":                             "text/html; charset=utf-8",
		"text/plain":                            "text/plain; charset=utf-8",
		"application/problem+json, */*":         "application/problem+json",
		"application/x-ndjson, text/html;q=0.1": "text/html; charset=utf-8",
	} {
		w := n.Do(t, "GET", "/v1/keys/none", "", "Accept", accept)
		if w.Code != 404 || w.Header().Get("Content-Type") != want || !strings.Contains(w.Body.String(), "No such key") || w.Header().Get("ETag") != "" {
			t.Errorf("%s: %d %v %s", accept, w.Code, w.Header(), w.Body)
		}
	}
	var p wire.Problem
	if err := xml.Unmarshal(n.Do(t, "PUT", "/v1/keys/%00", "v", "Accept", "application/xml").Body.Bytes(), &p); err != nil || p.Status != 400 || p.XMLName.Space != "urn:ietf:rfc:7807" {
		t.Errorf("%+v %v", p, err)
	}
}

func TestEveryProblemIsExplained(t *testing.T) {
	n := apitest.New(t)
	index := n.Do(t, "GET", "/problems", "").Body.String()
	for _, accept := range []string{"text/html", "text/plain", "application/xml"} {
		if w := n.Do(t, "GET", "/problems", "", "Accept", accept); w.Code != 200 || !strings.Contains(w.Body.String(), "problems/not-found") {
			t.Errorf("the index as %s: %d %s", accept, w.Code, w.Body)
		}
	}
	seen := map[string]bool{}
	for _, k := range problem.Types {
		if seen[k.Slug] || k.Title == "" || len(k.Explanation) < 40 || http.StatusText(k.Status) == "" {
			t.Errorf("kind %+v", k)
		}
		seen[k.Slug] = true
		for _, accept := range []string{"application/json", "text/html", "text/plain", "application/xml"} {
			w := n.Do(t, "GET", "/problems/"+k.Slug, "", "Accept", accept)
			if w.Code != 200 || !strings.Contains(w.Body.String(), k.Slug) {
				t.Errorf("%s as %s: %d %s", k.Slug, accept, w.Code, w.Body)
			}
		}
		if !strings.Contains(index, `"`+k.Slug+`"`) {
			t.Errorf("the index lacks %s", k.Slug)
		}
	}
	if w := n.Do(t, "GET", "/problems/nothing", ""); w.Code != 404 {
		t.Errorf("unknown slug: %d", w.Code)
	}
}

func TestMasterAway(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "k")
	n.Partitions[0].Fail(func(op string) error { return partition.ErrUnavailable })
	for _, c := range [][]string{{"PUT", "/v1/keys/k"}, {"PUT", "/v1/keys/k?ttl=1s"}, {"DELETE", "/v1/keys/k"}, {"POST", "/v1/keys"}, {"PUT", "/bucket/k"}, {"PUT", "/canonicalbucket/k"}, {"GET", "/v1/keys/k?consistency=master"}, {"GET", "/canonicalbucket/k"}} {
		w := n.Do(t, c[0], c[1], "v", "Accept", "application/json")
		if w.Code != 503 || !strings.Contains(w.Body.String(), "/problems/master-unavailable") || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d %v %s", c, w.Code, w.Header(), w.Body)
		}
	}
	apitest.Eventually(t, "not ready to write", func() bool { return n.Do(t, "GET", "/readyz?write", "").Code == 503 })
}

func TestOutcomeUnknown(t *testing.T) {
	n := apitest.New(t)
	n.Partitions[0].Fail(func(op string) error {
		if op == memory.OpCommitted {
			return partition.ErrUnavailable
		}
		return nil
	})
	if w := n.Do(t, "PUT", "/v1/keys/k", "v"); w.Code != 503 || !strings.Contains(w.Body.String(), "/problems/outcome-unknown") || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}
