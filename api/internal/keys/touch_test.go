package keys_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/wire"
)

func TestTouchKeepsTheValueAndRenewsItsExpiry(t *testing.T) {
	n := apitest.New(t)
	w := n.Do(t, "PUT", "/v1/keys/k?ttl=1h", `{"a":1}`, "Content-Type", "application/json", "Runnel-Meta-By", "me")
	first, err := time.Parse(time.RFC3339, w.Header().Get("Runnel-Expires-At"))
	if err != nil || time.Until(first) < 50*time.Minute {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	w = n.Do(t, "POST", "/v1/keys/k?ttl=100h", "")
	tag, until := w.Header().Get("Etag"), w.Header().Get("Runnel-Expires-At")
	at, err := time.Parse(time.RFC3339, until)
	if w.Code != 204 || err != nil || time.Until(at) < 99*time.Hour || tag == "" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	for _, target := range []string{"/v1/keys/k", "/v1/keys/k?entry=true", "/bucket/k"} {
		w = n.Do(t, "GET", target, "", "Accept", "*/*")
		if w.Code != 200 || w.Header().Get("Runnel-Expires-At") != until || w.Header().Get("Runnel-Revision") == "" {
			t.Errorf("%s: %d %v", target, w.Code, w.Header())
		}
	}
	w = n.Do(t, "GET", "/v1/keys/k", "", "Accept", "*/*")
	if h := w.Header(); w.Body.String() != `{"a":1}` || h.Get("Content-Type") != "application/json" || h.Get("Runnel-Meta-By") != "me" || h.Get("Etag") != tag {
		t.Errorf("%v %s", h, w.Body)
	}
	var e wire.Entry
	if err := json.Unmarshal(n.Do(t, "GET", "/v1/keys/k?entry=true", "").Body.Bytes(), &e); err != nil || e.ExpiresAt == nil || !e.ExpiresAt.Equal(at) {
		t.Errorf("%+v, %v", e, err)
	}
	for _, refused := range []struct {
		target, body string
		status       int
		header       []string
	}{
		{"/v1/keys/k", "", 400, nil},
		{"/v1/keys/k?ttl=0s", "", 400, nil},
		{"/v1/keys/k?ttl=1h", "a value", 400, nil},
		{"/v1/keys/k?ttl=1h&copies=2", "", 400, nil},
		{"/v1/keys/k?ttl=1h", "", 412, []string{"If-Match", `"1"`}},
		{"/v1/keys/none?ttl=1h", "", 404, nil},
	} {
		if w := n.Do(t, "POST", refused.target, refused.body, refused.header...); w.Code != refused.status {
			t.Errorf("%+v: %d %s", refused, w.Code, w.Body)
		}
	}
	if w := n.Do(t, "GET", "/v1/keys/k", "", "Accept", "*/*"); w.Header().Get("Runnel-Expires-At") != until {
		t.Errorf("a refusal has changed it: %v", w.Header())
	}
	n.Do(t, "PUT", "/v1/keys/k", "x")
	if w := n.Do(t, "GET", "/v1/keys/k", ""); w.Header().Get("Runnel-Expires-At") != "" {
		t.Errorf("it does not expire any more: %v", w.Header())
	}
}
