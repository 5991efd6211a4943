package batch_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api/internal/apitest"
)

// BenchmarkBatch is a batch of 1,000 operations without the network, on memory
// partitions.
func BenchmarkBatch(b *testing.B) {
	const size = 1000
	value := strings.Repeat("x", 100)
	var puts, gets strings.Builder
	for i := range size {
		fmt.Fprintf(&puts, `{"op":"put","key":"users/%d","value":%q,"content_type":"text/plain"}`+"\n", i, value)
		fmt.Fprintf(&gets, `{"op":"get","key":"users/%d"}`+"\n", i)
	}
	for _, c := range []struct{ name, body string }{{"put", puts.String()}, {"get", gets.String()}} {
		b.Run(c.name, func(b *testing.B) {
			n := apitest.NewFor(b)
			n.Do(b, "POST", "/v1/batch", puts.String(), "Content-Type", "application/x-ndjson")
			w := &apitest.Discard{Fields: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.Fields)
				r := httptest.NewRequest("POST", "/v1/batch", strings.NewReader(c.body))
				r.Header.Set("Content-Type", "application/x-ndjson")
				n.ServeHTTP(w, r)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/key")
		})
	}
}
