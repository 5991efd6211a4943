package testbed

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestLevelWaitsForTheSlowestOrigin(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		behind := max(0, 3-asked)
		json.NewEncoder(w).Encode(map[string]any{"partitions": []any{
			map[string]any{"origins": []any{map[string]any{"lag_revisions": 0}}},
			map[string]any{"origins": []any{map[string]any{"lag_revisions": behind}, map[string]any{}}},
		}})
	}))
	defer server.Close()
	if err := level(t.Context(), http.DefaultClient, server.URL); err != nil || asked != 3 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

func TestLevelGivesUpWithItsContext(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"partitions":[{"origins":[{"lag_revisions":5}]}]}`)
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := level(ctx, http.DefaultClient, server.URL); err == nil {
		t.Error("replicas that stay behind are level")
	}
}
