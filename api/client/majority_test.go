package client_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/runnelkv/runnel/api/client"
)

// TestWritesThatAreNotSecuredSaySo: every write of keys asks for a majority, and each says when the majority is missing.
func TestWritesThatAreNotSecuredSaySo(t *testing.T) {
	for _, durable := range []string{"majority", "master"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked := r.URL.Query().Get("durable"); asked != "majority" {
				t.Errorf("%s %s asks for %q", r.Method, r.URL.Path, asked)
			}
			w.Header().Set("Runnel-Durable", durable)
			w.Header().Set("Runnel-Revision", "7")
			status, accepted := http.StatusNoContent, durable == "master"
			switch r.URL.Path {
			case "/v1/txn":
				status = http.StatusOK
				w.Header().Set("Content-Type", "application/json")
			case "/v1/batch":
				w.Header().Set("Content-Type", "application/x-ndjson")
				status, accepted = http.StatusOK, false
			}
			if accepted {
				status = http.StatusAccepted
			}
			w.WriteHeader(status)
			switch r.URL.Path {
			case "/v1/txn":
				io.WriteString(w, `{"succeeded":true,"results":[]}`)
			case "/v1/batch":
				io.WriteString(w, map[string]string{"majority": `{"index":0,"status":204}`, "master": `{"index":0,"status":202}`}[durable])
			}
		}))
		defer s.Close()
		c, err := client.New(s.URL, client.Options{Majority: true})
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		outcomes := make(map[string]error)
		put, err := c.Put(ctx, "a", nil, client.PutOptions{})
		outcomes["put"] = err
		_, outcomes["touch"] = c.Touch(ctx, "a", 1e9, client.Conditions{})
		outcomes["delete"] = c.Delete(ctx, "a", client.Conditions{})
		txn, err := c.Txn(ctx, client.Txn{})
		outcomes["txn"] = err
		results, err := c.Batch(ctx, []client.Operation{client.PutOp("a", nil, client.PutOptions{})}, client.ReadOptions{})
		if err != nil || put.Revision != 7 || txn == nil || len(results) != 1 {
			t.Fatalf("%+v, %+v, %+v: %v", put, txn, results, err)
		}
		outcomes["batch"] = results[0].Err
		for name, err := range outcomes {
			if errors.Is(err, client.ErrNotSecured) != (durable == "master") || err != nil && durable == "majority" {
				t.Errorf("%s on the %s: %v", name, durable, err)
			}
		}
	}
}
