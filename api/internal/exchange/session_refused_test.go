package exchange_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store"
)

// TestRefusedConditionsCarryTheSession: the session of a refused write has seen the current entry or tombstone, and no
// replica shows the session an older state.
func TestRefusedConditionsCarryTheSession(t *testing.T) {
	n := apitest.New(t)
	for _, key := range []string{"a", "gone"} {
		n.Do(t, "PUT", "/v1/keys/"+key, "old")
	}
	n.Level(t)
	n.Do(t, "PUT", "/v1/keys/a", "new")
	n.Do(t, "DELETE", "/v1/keys/gone", "")
	item := func(op, key, more string) string {
		return fmt.Sprintf(`[{"op":%q,"key":%q%s}]`, op, key, more)
	}
	other := store.VectorOf(store.Mark{Origin: "elsewhere", Revision: 7})
	for _, c := range []struct {
		name, method, target, body string
		headers                    []string
		status                     int
		key                        string
	}{
		{"put unless it exists", "PUT", "/v1/keys/a", "x", []string{"If-None-Match", "*"}, 412, "a"},
		{"put if it is another", "PUT", "/v1/keys/a", "x", []string{"If-Match", `"1"`}, 412, "a"},
		{"put with a ttl", "PUT", "/v1/keys/a?ttl=1h", "x", []string{"If-Match", `"1"`}, 412, "a"},
		{"put if it exists", "PUT", "/v1/keys/gone", "x", []string{"If-Match", "*"}, 412, "gone"},
		{"delete another", "DELETE", "/v1/keys/a", "", []string{"If-Match", `"1"`}, 412, "a"},
		{"delete what is gone", "DELETE", "/v1/keys/gone", "", nil, 404, "gone"},
		{"classic put", "PUT", "/bucket/a", "x", []string{"If-Match", `"1"`}, 412, "a"},
		{"get another of the master", "GET", "/v1/keys/a?consistency=master", "", []string{"If-Match", `"1"`}, 412, "a"},
		{"put of a batch", "POST", "/v1/batch", item("put", "a", `,"value":"x","if_none_match":"*"`), nil, 200, "a"},
		{"put of a batch, gone", "POST", "/v1/batch", item("put", "gone", `,"value":"x","if_match":"*"`), nil, 200, "gone"},
		{"delete of a batch", "POST", "/v1/batch", item("delete", "gone", ""), nil, 200, "gone"},
		{"transaction", "POST", "/v1/txn", `{"if":[{"key":"a","absent":true}],"then":[{"op":"put","key":"a","value":"x"}]}`, nil, 200, "a"},
		{"transaction, gone", "POST", "/v1/txn", `{"if":[{"key":"gone","exists":true}],"then":[{"op":"put","key":"gone","value":"x"}]}`, nil, 200, "gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stands, _ := n.Store.Get(t.Context(), store.User.Key(c.key), store.ReadOptions{Consistency: store.FromMaster})
			w := n.Do(t, c.method, c.target, c.body, append(c.headers, "Content-Type", "application/json", "Runnel-Session", other.Token(store.SessionToken, n.Store.Tag()))...)
			refused := w.Code == c.status && (c.status != 200 || strings.Contains(w.Body.String(), `"status":4`) || strings.Contains(w.Body.String(), `"succeeded":false`))
			if !refused {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			tokens := w.Header()["Runnel-Session"]
			if len(tokens) != 1 {
				t.Fatalf("sessions %q", tokens)
			}
			got, _, err := store.ParseToken(store.SessionToken, tokens[0])
			if want := other.With(stands.Seen); err != nil || stands.Seen.Revision == 0 || !got.Covers(want) {
				t.Errorf("session %v, want %v", got, want)
			}
			session := n.Store.Tag()
			own := store.VectorOf(store.Mark{Origin: stands.Seen.Origin, Revision: got.At(stands.Seen.Origin)}).Token(store.SessionToken, session)
			for range 10 {
				if w := n.Do(t, "GET", "/v1/keys/"+c.key, "", "Runnel-Session", own); w.Body.String() == "old" || w.Code == 503 {
					t.Fatalf("afterwards: %d %s", w.Code, w.Body)
				}
			}
		})
	}
	if w := n.Do(t, "PUT", "/v1/keys/none", "x", "If-Match", "*"); w.Code != 412 || w.Header().Get("Runnel-Session") == "" {
		t.Errorf("where nothing stood: %d, session %q", w.Code, w.Header().Get("Runnel-Session"))
	}
}

// TestRefusedTransactionsSeeNoMoreThanThereIs: those that are decided together, and
// write nothing, claim nothing that their sessions would wait for in vain.
func TestRefusedTransactionsSeeNoMoreThanThereIs(t *testing.T) {
	n := apitest.New(t)
	n.Do(t, "PUT", "/v1/keys/a", "1")
	for range 50 {
		answers := make([]*httptest.ResponseRecorder, 16)
		var group sync.WaitGroup
		for i := range answers {
			group.Go(func() { answers[i] = n.Do(t, "POST", "/v1/txn", `{"if":[{"key":"a","absent":true}]}`) })
		}
		group.Wait()
		at, err := n.Partitions[0].Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range answers {
			got, _, err := store.ParseToken(store.SessionToken, w.Header().Get("Runnel-Session"))
			if head := at.Origins["partition-0"].Revision; err != nil || w.Code != 200 || got.At("partition-0") != head {
				t.Fatalf("%d %s: session %v at revision %d, %v", w.Code, w.Body, got, head, err)
			}
		}
	}
}
