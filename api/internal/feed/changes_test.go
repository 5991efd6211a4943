package feed_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store"
)

// changesPage is a decoded page of changes.
type changesPage struct {
	Changes []struct {
		Key     string  `json:"key"`
		Value   *string `json:"value"`
		Deleted bool    `json:"deleted"`
		Size    int64   `json:"size"`
		Next    string  `json:"next"`
	} `json:"changes"`
	Next string `json:"next"`
	More bool   `json:"more"`
}

func (p changesPage) String() string {
	var b strings.Builder
	for _, c := range p.Changes {
		if c.Deleted {
			b.WriteByte('-')
		}
		b.WriteString(c.Key)
		if c.Value != nil {
			b.WriteString("=" + *c.Value)
		}
		b.WriteByte(' ')
	}
	return strings.TrimSpace(b.String())
}

// changes reads a page.
func changes(t *testing.T, n *apitest.Node, query string) changesPage {
	t.Helper()
	w := n.Do(t, "GET", "/v1/changes?"+query, "")
	var p changesPage
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 200 {
		t.Fatalf("%s: %d %s", query, w.Code, w.Body)
	}
	return p
}

func TestChangesPages(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "a")
	n.Put(t, "b/1")
	n.Put(t, "b/2")
	n.Do(t, "DELETE", "/v1/keys/a", "")
	n.Level(t)
	p := changes(t, n, "")
	if p.String() != "b/1 b/2 -a" || p.More {
		t.Errorf("%s, more %v", p, p.More)
	}
	if p := changes(t, n, "values=true&prefix=b/"); p.String() != "b/1=value of b/1 b/2=value of b/2" {
		t.Errorf("values: %s", p)
	}
	if p := changes(t, n, "since=now"); p.String() != "" || p.Next == "" {
		t.Errorf("now: %s, next %q", p, p.Next)
	}
	one := changes(t, n, "limit=1")
	if one.String() != "b/1" || !one.More {
		t.Errorf("limit: %s, more %v", one, one.More)
	}
	if rest := changes(t, n, "since="+one.Next); rest.String() != "b/2 -a" {
		t.Errorf("rest: %s", rest)
	}
	w := n.Do(t, "GET", "/v1/changes?limit=1", "")
	link := strings.TrimSuffix(strings.TrimPrefix(w.Header().Get("Link"), "<"), `>; rel="next"`)
	if w := n.Do(t, "GET", link, ""); !strings.Contains(w.Body.String(), `"b/2"`) {
		t.Errorf("%s: %d %s", link, w.Code, w.Body)
	}
	for accept, want := range map[string]string{"text/plain": "+ b/1\n", "application/xml": "<key>b/1</key>", "text/html": ">b/1</a>"} {
		w := n.Do(t, "GET", "/v1/changes", "", "Accept", accept)
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", accept, w.Code, w.Body)
		}
		if accept == "application/xml" {
			var d struct {
				Change []struct {
					Key     string `xml:"key"`
					Deleted bool   `xml:"deleted"`
				} `xml:"entry"`
			}
			if err := xml.Unmarshal(w.Body.Bytes(), &d); err != nil || len(d.Change) != 3 || !d.Change[2].Deleted {
				t.Errorf("%+v, %v: %s", d, err, w.Body)
			}
		}
	}
}

func TestChangesLongPoll(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "a")
	n.Level(t)
	now := changes(t, n, "since=now").Next
	if p := changes(t, n, "wait=20ms&since="+now); p.String() != "" || p.Next != now {
		t.Errorf("nothing changed, but %s, and %s became %s", p, now, p.Next)
	}
	answered := make(chan changesPage)
	go func() { answered <- changes(t, n, "wait=1m&prefix=b&since="+now) }()
	apitest.Eventually(t, "somebody waits", func() bool { return polls(t, n) == 1 })
	n.Put(t, "other")
	n.Level(t)
	n.Put(t, "b")
	n.Level(t)
	if p := <-answered; p.String() != "b" {
		t.Errorf("%s", p)
	}
	if polls(t, n) != 0 {
		t.Error("somebody waits still")
	}
}

// polls counts the long polls under way.
func polls(t *testing.T, n *apitest.Node) int {
	return gauge(t, n, `runnel_changes_readers{form="poll"}`)
}

func gauge(t *testing.T, n *apitest.Node, name string) (v int) {
	t.Helper()
	for line := range strings.Lines(n.Do(t, "GET", "/metrics", "").Body.String()) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			fmt.Sscan(rest, &v)
		}
	}
	return v
}

func TestBadChangesRequestsAreNamed(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "a")
	n.Level(t)
	token := changes(t, n, "").Next
	const stream = "text/event-stream"
	for _, c := range []struct{ query, accept, last, names string }{
		{"since=x", "", "", "since"},
		{"since=" + token + "A", "", "", "since"},
		{"since=" + token[1:], "", "", "since"},
		{"since=" + token + "&since=" + token, "", "", "since"},
		{"since=now%20", "", "", "since"},
		{"since=" + strings.Repeat("A", 20_000), "", "", "since"},
		{"wait=", "", "", "wait"},
		{"wait=x", "", "", "wait"},
		{"wait=-1s", "", "", "wait"},
		{"wait=5m1s", "", "", "wait"},
		{"wait=1s", stream, "", "wait"},
		{"limit=1", stream, "", "limit"},
		{"limit=0", "", "", "limit"},
		{"limit=1001", "", "", "limit"},
		{"prefix=%ff", "", "", "prefix"},
		{"prefix=" + strings.Repeat("a", 513), "", "", "prefix"},
		{"values=yes", "", "", "values"},
		{"after=x", "", "", "after"},
		{"", stream, "x", "Last-Event-ID"},
		{"since=" + token, stream, token[1:], "Last-Event-ID"},
	} {
		w := n.Do(t, "GET", "/v1/changes?"+c.query, "", "Accept", c.accept, "Last-Event-ID", c.last)
		if w.Code != 400 || !strings.Contains(w.Body.String(), `"`+c.names+`"`) {
			t.Errorf("%.60s, Last-Event-ID %.10q: %d %.200s", c.query, c.last, w.Code, w.Body)
		}
	}
	if w := n.Do(t, "GET", "/v1/changes", "", "Accept", "image/png"); w.Code != 406 {
		t.Errorf("image/png: %d", w.Code)
	}
	other := apitest.New(t)
	if w := other.Do(t, "GET", "/v1/changes?since="+token, ""); w.Code != 400 || !strings.Contains(w.Body.String(), `"since"`) {
		t.Errorf("a token of another cluster: %d %s", w.Code, w.Body)
	}
}

func TestChangesTooOldAre410(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "a")
	n.Level(t)
	token := changes(t, n, "").Next
	n.Do(t, "DELETE", "/v1/keys/a", "")
	n.Put(t, "b")
	n.Level(t)
	for _, p := range n.Partitions {
		at, err := p.Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for o, position := range at.Origins {
			if _, err := p.Collect(t.Context(), o, position.Revision); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, accept := range []string{"application/json", "application/x-ndjson", "text/event-stream"} {
		w := n.Do(t, "GET", "/v1/changes?since="+token, "", "Accept", accept)
		if w.Code != 410 || !strings.Contains(w.Body.String(), `"/problems/resync"`) {
			t.Errorf("%s: %d %s", accept, w.Code, w.Body)
		}
	}
}

// events is a connection that reads a stream of events.
type events struct {
	t      *testing.T
	cancel context.CancelFunc
	body   io.ReadCloser
	lines  *bufio.Reader
	last   string // id of the last event
}

func listen(t *testing.T, server *httptest.Server, query, last string) *events {
	t.Helper()
	return listenBy(t, server.Client(), server, query, last)
}

func listenBy(t *testing.T, client *http.Client, server *httptest.Server, query, last string) *events {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/v1/changes?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	answer, err := client.Do(r)
	if err != nil || answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%v, %v", answer, err)
	}
	e := &events{t: t, cancel: cancel, body: answer.Body, lines: bufio.NewReader(answer.Body)}
	t.Cleanup(e.close)
	return e
}

func (e *events) close() { e.cancel(); e.body.Close() }

// next reads up to the end of the next event with data and returns its key. As in browsers, an id counts only once the
// event is complete.
func (e *events) next() (string, error) {
	id, key := e.last, ""
	for {
		line, err := e.lines.ReadString('\n')
		if err != nil {
			return "", err
		}
		if text, ok := strings.CutPrefix(line, "id: "); ok {
			id = strings.TrimSpace(text)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var c struct {
				Key string `json:"key"`
			}
			if err := json.Unmarshal([]byte(data), &c); err != nil {
				return "", err
			}
			key = c.Key
		}
		if line != "\n" {
			continue
		}
		if e.last = id; key != "" {
			return key, nil
		}
	}
}

func (e *events) want(key string) {
	e.t.Helper()
	if got, err := e.next(); got != key || err != nil {
		e.t.Fatalf("got %q, %v; want %q", got, err, key)
	}
}

// TestEventsOutliveTheServersDeadlines reads a stream for longer than the server
// allows a request to be read or answered.
func TestEventsOutliveTheServersDeadlines(t *testing.T) {
	limits := api.Limits{Body: 100 * time.Millisecond, Write: 100 * time.Millisecond, Heartbeat: 20 * time.Millisecond}
	n := apitest.New(t, func(o *api.Options) { o.Limits = limits })
	server := n.Serve(t, limits)
	n.Put(t, "a")
	n.Level(t)
	e := listen(t, server, "", "")
	e.want("a")
	began, beats := time.Now(), 0
	for time.Since(began) < 500*time.Millisecond {
		line, err := e.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		if line == ":\n" {
			beats++
		}
	}
	if beats < 5 {
		t.Errorf("%d heartbeats in %v", beats, time.Since(began))
	}
	n.Put(t, "b")
	n.Level(t)
	e.want("b")
	// After a cut the reader resumes with its last token on another connection.
	e.close()
	n.Put(t, "c")
	n.Level(t)
	listen(t, server, "since=now", e.last).want("c")
	apitest.Eventually(t, "the first reader is gone", func() bool { return gauge(t, n, `runnel_changes_readers{form="events"}`) <= 1 })
}

func TestNDJSONGoesOnWithAToken(t *testing.T) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	n.Put(t, "a")
	n.Put(t, "b")
	n.Level(t)
	read := func(since string, lines int) (keys, last string) {
		r, _ := http.NewRequest("GET", server.URL+"/v1/changes?since="+url.QueryEscape(since), nil)
		r.Header.Set("Accept", "application/x-ndjson")
		answer, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		d := json.NewDecoder(answer.Body)
		for range lines {
			var c struct{ Key, Next string }
			if err := d.Decode(&c); err != nil {
				t.Fatal(err)
			}
			keys, last = keys+c.Key+" ", c.Next
		}
		return keys, last
	}
	keys, token := read("", 1)
	if keys != "a " {
		t.Errorf("%s", keys)
	}
	if keys, token = read(token, 1); keys != "b " {
		t.Errorf("then %s", keys)
	}
	if keys, _ = read(token, 1); keys != " " {
		t.Errorf("then, with nothing left, %q: want a line with a token alone", keys)
	}
}

// TestDrainEndsStreams: streams and polls do not keep a server from stopping. The last event or line is the reason.
func TestDrainEndsStreams(t *testing.T) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	n.Put(t, "a")
	n.Level(t)
	e := listen(t, server, "", "")
	e.want("a")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v1/changes", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/x-ndjson")
	lines, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer lines.Body.Close()
	answered := make(chan changesPage)
	go func() { answered <- changes(t, n, "wait=1m&since="+e.last) }()
	apitest.Eventually(t, "both wait", func() bool { return polls(t, n) == 1 })
	n.Drain()
	for form, answer := range map[string]io.Reader{"event: problem\ndata: ": e.lines, "": lines.Body} {
		rest, err := io.ReadAll(answer)
		_, last, ok := strings.Cut(string(rest), form+`{"type":"/problems/shutting-down"`)
		if err == nil || !ok || strings.Count(strings.TrimSpace(last), "\n") != 0 {
			t.Errorf("the stream ended with %q, %v", rest, err)
		}
	}
	if p := <-answered; p.Next != e.last {
		t.Errorf("the poll gave %s, %s", p, p.Next)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// TestAStalledReaderSlowsNobody: a reader takes nothing while the rest read many times the size of the socket buffers.
// The stalled reader is cut off and resumes.
func TestAStalledReaderSlowsNobody(t *testing.T) {
	limits := api.Limits{Write: 5 * time.Second}
	n := apitest.New(t, func(o *api.Options) { o.Limits = limits })
	server := n.Serve(t, limits)
	n.Put(t, "first")
	n.Level(t)
	narrow := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		return conn, err
	}}}
	defer narrow.CloseIdleConnections()
	stalled := listenBy(t, narrow, server, "values=true", "")
	stalled.want("first")
	var others []*events
	for range 4 {
		e := listen(t, server, "values=true", "")
		e.want("first")
		others = append(others, e)
	}
	const keys, size = 80, 128 << 10
	key := func(i int) string { return fmt.Sprintf("k%03d", i) }
	var group sync.WaitGroup
	for _, e := range others {
		group.Go(func() {
			for i := range keys {
				if got, err := e.next(); got != key(i) || err != nil {
					t.Errorf("change %d: %q, %v", i, got, err)
					return
				}
			}
		})
	}
	value := bytes.Repeat([]byte("v"), size)
	for i := range keys {
		if _, err := n.Store.Put(t.Context(), store.Entry{Key: store.User.Key(key(i)), Value: value}); err != nil {
			t.Fatal(err)
		}
		n.Level(t)
	}
	group.Wait()
	apitest.Eventually(t, "the stalled reader is cut off", func() bool { return gauge(t, n, `runnel_changes_readers{form="events"}`) == len(others) })
	seen := map[string]bool{}
	for {
		got, err := stalled.next()
		if err != nil {
			break
		}
		seen[got] = true
	}
	if len(seen) == keys {
		t.Fatal("it was not stalled")
	}
	back := listen(t, server, "values=true", stalled.last)
	for len(seen) < keys {
		got, err := back.next()
		if err != nil {
			t.Fatal(err)
		}
		seen[got] = true
	}
}

// TestReadersLeaveNothingBehind counts goroutines before and after readers.
func TestReadersLeaveNothingBehind(t *testing.T) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	n.Put(t, "a")
	n.Level(t)
	listen(t, server, "", "").close() // start everything that starts once
	apitest.Eventually(t, "it is gone", func() bool { return gauge(t, n, `runnel_changes_readers{form="events"}`) == 0 })
	server.CloseClientConnections()
	server.Client().CloseIdleConnections()
	before := runtime.NumGoroutine()
	for range 20 {
		e := listen(t, server, "", "")
		e.want("a")
		e.close()
		changes(t, n, "since="+e.last+"&wait=1ms")
	}
	server.Client().CloseIdleConnections()
	apitest.Eventually(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= before+2 })
}
