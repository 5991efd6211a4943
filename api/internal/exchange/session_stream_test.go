package exchange_test

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// sessionOf returns the session of an answer, from the trailer if present.
func sessionOf(t testing.TB, answer *http.Response) store.Vector {
	t.Helper()
	io.Copy(io.Discard, answer.Body)
	token := answer.Trailer.Get("Runnel-Session")
	if token == "" {
		token = answer.Header.Get("Runnel-Session")
	}
	v, _, err := store.ParseToken(store.SessionToken, token)
	if err != nil {
		t.Fatalf("header %v, trailer %v: %v", answer.Header, answer.Trailer, err)
	}
	return v
}

// newMasters is a node with two masters that were written to, and the keys of each.
func newMasters(t *testing.T, keys int) (n *apitest.Node, of map[string][]string) {
	t.Helper()
	n = apitest.NewOf(t, []string{"partition-0", "partition-1"})
	of = map[string][]string{}
	for i := range keys {
		key := fmt.Sprintf("key-%04d", i)
		master := n.Store.Master(store.User.Key(key))
		of[master] = append(of[master], key)
	}
	if len(of) != 2 {
		t.Fatalf("keys of %v", of)
	}
	return n, of
}

// TestBatchAnswersCarryTheSession: in every format the session of the answer contains the request's session and
// everything read and written, for every master.
func TestBatchAnswersCarryTheSession(t *testing.T) {
	n, of := newMasters(t, 100)
	large := strings.Repeat("v", 256<<10)
	first, second := of["partition-0"], of["partition-1"]
	other := store.VectorOf(store.Mark{Origin: "elsewhere", Revision: 7})
	send := func(form, accept string, ops []string) *http.Response {
		var w *httptest.ResponseRecorder
		headers := []string{"Accept", accept, "Runnel-Session", other.Token(store.SessionToken, n.Store.Tag())}
		switch form {
		case "array":
			w = n.Do(t, "POST", "/v1/batch", "["+strings.Join(ops, ",")+"]", headers...)
		case "lines":
			w = n.Do(t, "POST", "/v1/batch", strings.Join(ops, "\n"), append(headers, "Content-Type", "application/x-ndjson")...)
		case "stream":
			w = n.Stream(t, strings.Join(ops, "\n"), headers...)
		}
		if w.Code != 200 || strings.Contains(w.Body.String(), `"problem"`) && !strings.Contains(w.Body.String(), `"status":404`) {
			t.Fatalf("%d %.300s", w.Code, w.Body)
		}
		return w.Result()
	}
	at := func(key string) store.Mark {
		r, err := n.Store.Get(t.Context(), store.User.Key(key), store.ReadOptions{Consistency: store.FromMaster})
		if err != nil && r.Seen.Revision == 0 {
			t.Fatal(err)
		}
		return r.Seen
	}
	for _, form := range []string{"array", "lines", "stream"} {
		for _, accept := range []string{"application/json", "application/x-ndjson"} {
			for _, size := range []string{"1", large} {
				name := fmt.Sprintf("%s as %s, %d bytes", form, accept, len(size))
				put := func(key, more string) string {
					return fmt.Sprintf(`{"op":"put","key":%q,"value":%q%s}`, key, size, more)
				}
				get := func(key string) string { return fmt.Sprintf(`{"op":"get","key":%q}`, key) }
				for step, c := range []struct {
					ops  []string
					seen []string
				}{
					{[]string{put(first[0], "")}, first[:1]},
					{[]string{put(second[0], `,"if_none_match":"\"1\""`)}, second[:1]},
					{[]string{put(first[0], `,"ttl":"1h"`), put(second[1], "")}, []string{first[0], second[1]}},
					{[]string{get(first[0])}, first[:1]},
					{[]string{get(first[0]), get(second[0]), get("none"), get(second[1])}, []string{first[0], second[0], second[1]}},
					{[]string{get(first[0]), fmt.Sprintf(`{"op":"delete","key":%q}`, first[0])}, first[:1]},
					{[]string{get(second[1]), get(first[0])}, []string{second[1], first[0]}}, // a tombstone
					{[]string{get("none")}, nil},
				} {
					target := send(form, accept, c.ops)
					got, want := sessionOf(t, target), other
					for _, key := range c.seen {
						want = want.With(at(key))
					}
					for _, o := range []store.Origin{"partition-0", "partition-1", "elsewhere"} {
						if got.At(o) < want.At(o) || want.At(o) == 0 && got.At(o) != 0 {
							t.Errorf("%s, step %d: session %v, want %v", name, step, got, want)
						}
					}
					if step > 3 || len(target.Trailer) == 0 {
						continue
					}
					if len(size) == 1 && form != "stream" || target.Header.Get("Trailer") != "Runnel-Session" {
						t.Errorf("%s, step %d: trailer %v that %q announces", name, step, target.Trailer, target.Header.Get("Trailer"))
					}
				}
			}
		}
	}
}

// TestStreamedListsCarryTheSession: the trailer of a list of many pages covers all pages and masters. A list of a
// single page has only the header.
func TestStreamedListsCarryTheSession(t *testing.T) {
	n, _ := newMasters(t, 20)
	var ops []string
	for i := range 2500 {
		ops = append(ops, fmt.Sprintf(`{"op":"put","key":"key-%04d","value":""}`, i))
	}
	apitest.Forms["lines"](n, t, ops...)
	incoming := store.VectorOf(store.Mark{Origin: "partition-1", Revision: 1})
	for target, trails := range map[string]bool{"": true, "&limit=1000": false, "&limit=3": false, "&prefix=key-000": false, "&prefix=none": false} {
		var wrote store.Vector
		for i, p := range n.Partitions[:2] {
			var lists atomic.Int64
			p.Fail(func(op string) error {
				if op != memory.OpList {
					return nil
				}
				if lists.Add(1) == 2 && i == 0 { // behind the first page
					for _, key := range []store.Key{"k/later-1", "k/later-2", "k/later-3", "k/later-4"} {
						written, err := n.Store.Put(t.Context(), store.Entry{Key: key})
						if err != nil {
							return err
						}
						wrote = wrote.With(store.Mark{Origin: written.Entry.Origin, Revision: written.Entry.Revision})
					}
				}
				return nil
			})
		}
		w := n.Do(t, "GET", "/v1/keys?consistency=master"+target, "", "Accept", "application/x-ndjson", "Runnel-Session", incoming.Token(store.SessionToken, n.Store.Tag()))
		for _, p := range n.Partitions {
			p.Fail(nil)
		}
		if w.Code != 200 {
			t.Fatalf("%q: %d %s", target, w.Code, w.Body)
		}
		answer := w.Result()
		early, _, err := store.ParseToken(store.SessionToken, answer.Header.Get("Runnel-Session"))
		late := sessionOf(t, answer)
		if announced := answer.Header.Get("Trailer") == "Runnel-Session"; w.Code != 200 || err != nil || announced != trails || (len(answer.Trailer) == 1) != trails {
			t.Fatalf("%q: %d, header %v, trailer %v", target, w.Code, answer.Header, answer.Trailer)
		}
		if early.Len() != 2 || !late.Covers(early) || !late.Covers(incoming) || trails && (wrote.Len() != 2 || !late.Covers(wrote) || early.Covers(wrote)) {
			t.Errorf("%q: first %v, then %v; meanwhile %v was written", target, early, late, wrote)
		}
	}
}

// TestOneAnswerKeepsItsSession: with a session, later results of a batch or streamed list are never older than earlier
// results, though the partitions lag. Without a session any partition may answer.
func TestOneAnswerKeepsItsSession(t *testing.T) {
	n := apitest.New(t)
	var ops []string
	for i := range 3000 {
		ops = append(ops, fmt.Sprintf(`{"op":"put","key":"key-%04d","value":"old"}`, i))
	}
	apitest.Forms["lines"](n, t, ops...)
	n.Level(t)
	apitest.Forms["lines"](n, t, `{"op":"put","key":"key-0000","value":"new"}`, `{"op":"put","key":"key-2999","value":"new"}`)
	for _, c := range []struct{ name, query, header string }{
		{"token", "", store.Vector{}.Token(store.SessionToken, n.Store.Tag())}, {"parameter", "?consistency=session", ""},
	} {
		news := map[string]bool{}
		for i := 0; i < 8 || !news["GET"] && i < 100; i++ {
			ops := strings.Repeat(`{"op":"get","key":"key-0000"}`+"\n", 2*1024)
			r := httptest.NewRequest("POST", "/v1/batch"+c.query, strings.NewReader(ops))
			r.Header.Set("Content-Type", "application/x-ndjson")
			list := httptest.NewRequest("GET", "/v1/keys"+cmp.Or(c.query, "?consistency=any")+"&values=true", nil)
			list.Header.Set("Accept", "application/x-ndjson")
			for _, r := range []*http.Request{r, list} {
				if c.header != "" {
					r.Header.Set("Runnel-Session", c.header)
				}
				w := httptest.NewRecorder()
				n.ServeHTTP(w, r)
				body := w.Body.String()
				tail := body[max(0, len(body)-500):]
				body = strings.ReplaceAll(body, `"status":200,`, "")
				_, rest, seen := strings.Cut(body, `"key":"key-0000","value":"new"`)
				news[r.Method] = news[r.Method] || seen
				if w.Code != 200 || seen && (!strings.Contains(tail, `"value":"new"`) || strings.Contains(rest, `"key":"key-0000"`) && strings.Contains(rest, `"value":"old"`)) {
					t.Fatalf("%s, %s %s: %d, after what is new came …%s", c.name, r.Method, r.URL, w.Code, tail)
				}
			}
		}
		if !news["GET"] || !news["POST"] {
			t.Errorf("%s: nothing new was seen: %v", c.name, news)
		}
	}
}

// TestSessionFollowsTheBody checks the trailer byte for byte, where the HTTP version has trailers.
func TestSessionFollowsTheBody(t *testing.T) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	var puts, gets strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&gets, `{"op":"get","key":"key-%04d"}`+"\n", i)
		fmt.Fprintf(&puts, `{"op":"put","key":"key-%04d","value":"%0200d"}`+"\n", i, i)
	}
	batch := func(body string) string {
		return fmt.Sprintf("Content-Type: application/x-ndjson\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	}
	const plain = "Accept: application/x-ndjson\r\nConnection: close\r\n\r\n"
	small := `{"op":"get","key":"key-0001"}`
	for _, c := range []struct {
		sent     string
		followed bool
	}{
		{"POST /v1/batch HTTP/1.1\r\nHost: x\r\n" + batch(puts.String()), false},
		{"POST /v1/batch?consistency=master HTTP/1.1\r\nHost: x\r\n" + batch(gets.String()), true},
		{"POST /v1/batch?consistency=master HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n" + batch(gets.String()), true},
		{"POST /v1/batch?consistency=master HTTP/1.0\r\n" + batch(gets.String()), false},
		{"POST /v1/batch HTTP/1.1\r\nHost: x\r\n" + batch(small), false},
		{"POST /v1/batch HTTP/1.0\r\n" + batch(small), false},
		{"GET /v1/keys HTTP/1.1\r\nHost: x\r\n" + plain, true},
		{"GET /v1/keys?limit=2 HTTP/1.1\r\nHost: x\r\n" + plain, false},
		{"GET /v1/keys HTTP/1.0\r\n" + plain, false},
		{"HEAD /v1/keys HTTP/1.1\r\nHost: x\r\n" + plain, false},
		{"HEAD /v1/keys HTTP/1.0\r\n" + plain, false},
	} {
		name, _, _ := strings.Cut(c.sent, "\r\n")
		answer := apitest.Raw(t, server, c.sent)
		header, body, ok := strings.Cut(answer, "\r\n\r\n")
		fields := strings.Split(header, "\r\n")
		if !ok || !strings.HasPrefix(fields[0], "HTTP/1.") || !strings.Contains(fields[0], " 200 ") {
			t.Fatalf("%s: %.300q", name, answer)
		}
		count := func(lines []string, prefix string) (n int) {
			for _, l := range lines {
				if strings.HasPrefix(l, prefix) {
					n++
				}
			}
			return n
		}
		if count(fields, "Runnel-Session: s2") != 1 || count(fields, "Trailer: Runnel-Session") != map[bool]int{true: 1}[c.followed] {
			t.Errorf("%s: %q", name, fields)
		}
		_, end, chunked := strings.Cut(body, "\r\n0\r\n")
		trailer := strings.Split(end, "\r\n")
		switch {
		case c.followed && (!chunked || len(trailer) != 3 || count(trailer[:1], "Runnel-Session: s2") != 1 || trailer[1]+trailer[2] != ""):
			t.Errorf("%s ends with %q", name, body[max(0, len(body)-200):])
		case !c.followed && strings.Contains(body, "Runnel-Session"):
			t.Errorf("%s: the body ends with %q", name, body[max(0, len(body)-200):])
		case strings.HasPrefix(name, "HEAD") && body != "":
			t.Errorf("%s: body %.100q", name, body)
		}
	}
}

// TestBrokenStreamHasNoTrailer: the session that stood in the header holds.
func TestBrokenStreamHasNoTrailer(t *testing.T) {
	n := apitest.New(t)
	var ops []string
	for i := range 1500 {
		ops = append(ops, fmt.Sprintf(`{"op":"put","key":"key-%04d","value":""}`, i))
	}
	apitest.Forms["lines"](n, t, ops...)
	var lists atomic.Int64
	n.Partitions[0].Fail(func(op string) error {
		if op == memory.OpList && lists.Add(1) > 1 || lists.Load() > 1 {
			return partition.ErrUnavailable
		}
		return nil
	})
	server := n.Serve(t, api.Limits{})
	answer := apitest.Raw(t, server, "GET /v1/keys?consistency=master HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n")
	header, body, _ := strings.Cut(answer, "\r\n\r\n")
	if !strings.Contains(header, "\r\nTrailer: Runnel-Session") || !strings.Contains(body, "/problems/") || strings.Contains(body, "Runnel-Session") || strings.Contains(body, "\r\n0\r\n") {
		t.Errorf("%s … %s", header, body[max(0, len(body)-500):])
	}
}
