package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkGetRaw is a GET of a value without the network, on a memory partition.
func BenchmarkGetRaw(b *testing.B) {
	n := newNodeFor(b)
	n.do(b, "PUT", "/v1/keys/users/7", strings.Repeat("x", 100), "Content-Type", "text/plain")
	r := httptest.NewRequest("GET", "/v1/keys/users/7", nil)
	w := &discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		n.ServeHTTP(w, r)
	}
}
