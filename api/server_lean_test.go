package api_test

import (
	"net/http"
	"testing"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/transport"
)

// TestAnswersStayLean guards the hot path: the allocations of an answer beside net/http and the store. Each bound is
// the present number.
func TestAnswersStayLean(t *testing.T) {
	if raceEnabled {
		t.Skip("a sync.Pool forgets at random while races are looked for")
	}
	replaced, made := newQuickStore(), newQuickStore()
	made.created = true
	keyed, key := newKeyedServer(t, replaced)
	for _, c := range []struct {
		name  string
		a     *answerer
		alone float64 // allocations where net/http sends the header alone
		most  float64 // on a connection of Serve
	}{
		{"GET 200", newAnswerer(newQuickServer(replaced), "GET", "/v1/keys/users/7", ""), 15, 6},
		{"GET 200 JSON", newAnswerer(newQuickServer(replaced), "GET", "/v1/keys/users/7", "", "Accept", "application/json"), 21, 14},
		{"GET 200 with a key", newAnswerer(keyed, "GET", "/v1/keys/users/7", "", "Authorization", key), 15, 6},
		{"PUT 204 with a key", newAnswerer(keyed, "PUT", "/v1/keys/users/7", "value", "Content-Type", "text/plain", "Authorization", key), 12, 6},
		{"GET 304", newAnswerer(newQuickServer(replaced), "GET", "/v1/keys/users/7", "", "If-None-Match", `"2199023255552"`), 13, 6},
		{"GET 404", newAnswerer(newQuickServer(replaced), "GET", "/v1/keys/users/8", ""), 19, 15},
		{"PUT 204", newAnswerer(newQuickServer(replaced), "PUT", "/v1/keys/users/7", "value", "Content-Type", "text/plain"), 12, 6},
		{"PUT 201", newAnswerer(newQuickServer(made), "PUT", "/v1/keys/users/7", "value", "Content-Type", "text/plain"), 14, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &apitest.Discard{Fields: http.Header{}}
			answer := func() {
				clear(w.Fields)
				c.a.body.Reset(c.a.sent)
				c.a.handler.ServeHTTP(w, c.a.request)
			}
			if n := testing.AllocsPerRun(200, answer); n > c.alone {
				t.Errorf("%v allocations through net/http, more than %v", n, c.alone)
			}
			c.a.request = c.a.request.WithContext(transport.With(t.Context(), &transport.Conn{}))
			if n := testing.AllocsPerRun(200, answer); n > c.most {
				t.Errorf("%v allocations on our connection, more than %v", n, c.most)
			}
		})
	}
}
