package api

import "testing"

func TestPutAnswersCreatedThenReplaced(t *testing.T) {
	n := newNode(t)
	w := n.do(t, "PUT", "/v1/keys/a%20b", "one", "Content-Type", "text/x-mine; charset=latin1")
	if w.Code != 201 || w.Header().Get("Location") != "/v1/keys/a%20b" {
		t.Fatalf("first PUT: %d %v %s", w.Code, w.Header(), w.Body)
	}
	w2 := n.do(t, "PUT", "/v1/keys/a%20b", "two")
	if w2.Code != 204 || w2.Header().Get("ETag") == w.Header().Get("ETag") {
		t.Fatalf("second PUT: %d %v %s", w2.Code, w2.Header(), w2.Body)
	}
	g := n.do(t, "GET", "/v1/keys/a%20b", "")
	if g.Code != 200 || g.Body.String() != "two" || g.Header().Get("ETag") != w2.Header().Get("ETag") {
		t.Fatalf("GET: %d %v %s", g.Code, g.Header(), g.Body)
	}
}
