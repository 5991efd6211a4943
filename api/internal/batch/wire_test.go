package batch_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// conversation is a batch of lines over a connection, a line at a time.
type conversation struct {
	t       *testing.T
	send    *io.PipeWriter
	answers *bufio.Reader
	body    io.Closer
}

func converse(t *testing.T, server *httptest.Server) *conversation {
	t.Helper()
	out, in := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "POST", server.URL+"/v1/batch", out)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-ndjson")
	first := make(chan struct{})
	go func() { // the answer begins with the first result
		defer close(first)
		io.WriteString(in, `{"op":"put","key":"first","value":"1"}`+"\n")
	}()
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	<-first
	t.Cleanup(func() { answer.Body.Close() })
	c := &conversation{t: t, send: in, answers: bufio.NewReader(answer.Body), body: answer.Body}
	if first := c.read(); first.Status != 201 {
		t.Fatalf("%+v", first)
	}
	return c
}

func (c *conversation) read() (r apitest.Result) {
	c.t.Helper()
	line, err := c.answers.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		c.t.Fatalf("%v in %q", err, line)
	}
	return r
}

// limited serves a node that keeps limits.
func limited(t *testing.T, l api.Limits) (*apitest.Node, *httptest.Server) {
	t.Helper()
	n := apitest.New(t, func(o *api.Options) { o.Limits = l })
	return n, n.Serve(t, l)
}

// TestBatchIsStreamedBothWays: each line is answered before the next line is sent, for longer than the time limit of a
// whole request.
func TestBatchIsStreamedBothWays(t *testing.T) {
	_, server := limited(t, api.Limits{Body: 300 * time.Millisecond, Write: 300 * time.Millisecond})
	c := converse(t, server)
	began := time.Now()
	for i := 1; time.Since(began) < 900*time.Millisecond; i++ {
		fmt.Fprintf(c.send, `{"op":"put","key":"k","value":"%d"}`+"\n", i)
		fmt.Fprintf(c.send, `{"op":"get","key":"k"}`+"\n")
		if r := c.read(); r.Index != 2*i-1 || r.Status/100 != 2 {
			t.Fatalf("%+v", r)
		}
		if r := c.read(); r.Index != 2*i || r.Status != 200 || *r.Value != fmt.Sprint(i) {
			t.Fatalf("%+v", r)
		}
	}
	c.send.Close()
	if rest, err := io.ReadAll(c.answers); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	// The connection and its deadlines still work.
	for range 3 {
		answer, err := server.Client().Get(server.URL + "/v1/keys/k?consistency=master")
		if err != nil || answer.StatusCode != 200 {
			t.Fatalf("%v, %v", answer, err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
}

// TestBrokenBatchSaysSo: operations before the break are done and answered, then a problem follows and the answer
// breaks off.
func TestBrokenBatchSaysSo(t *testing.T) {
	n, server := limited(t, api.Limits{Body: 300 * time.Millisecond})
	for name, end := range map[string]struct{ sent, slug string }{
		"malformed chunk": {"zz\r\n", "incomplete-body"},
		"silence":         {"", "request-timeout"},
	} {
		conn := apitest.Dial(t, server)
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		line := `{"op":"put","key":"` + strings.ReplaceAll(name, " ", "-") + `","value":""}` + "\n" + `{"op":"put","key":"half`
		fmt.Fprintf(conn, "POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%s", len(line), line, end.sent)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		lines := strings.Split(strings.TrimSpace(string(body)), "\n")
		if answer.StatusCode == 200 && (err == nil || len(lines) != 2 || !strings.Contains(lines[0], `"status":201`)) ||
			!strings.Contains(lines[len(lines)-1], "/problems/"+end.slug) {
			t.Errorf("%s: %d %q, %v", name, answer.StatusCode, lines, err)
		}
		if w := n.Do(t, "GET", "/v1/keys/half", ""); w.Code != 404 {
			t.Errorf("half a line was done: %d", w.Code)
		}
	}
}

// TestBatchEndsWithItsClient: the handler and its reader end when the client leaves or stops reading.
func TestBatchEndsWithItsClient(t *testing.T) {
	_, server := limited(t, api.Limits{Write: 300 * time.Millisecond})
	c := converse(t, server)
	c.body.Close()
	c.send.CloseWithError(io.ErrUnexpectedEOF)

	deaf := apitest.Dial(t, server)
	defer deaf.Close()
	fmt.Fprint(deaf, "POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
	chunk := strings.Repeat(`{"op":"get","key":"none"}`+"\n", 1000)
	deaf.SetWriteDeadline(time.Now().Add(5 * time.Second))
	for range 3000 {
		if _, err := fmt.Fprintf(deaf, "%x\r\n%s\r\n", len(chunk), chunk); err != nil {
			break // the server has had enough
		}
	}
	apitest.Eventually(t, "nobody at work on a batch", func() bool {
		stacks := make([]byte, 1<<20)
		all := string(stacks[:runtime.Stack(stacks, true)])
		return !strings.Contains(all, "api.(*lineReader)") && !strings.Contains(all, "api.(*batch)")
	})
}

func TestBatchWithTheMasterAway(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "k")
	n.Level(t)
	n.Partitions[0].Fail(func(string) error { return partition.ErrUnavailable })
	for form, batch := range apitest.Forms {
		rs := batch(n, t, `{"op":"put","key":"k","value":""}`, `{"op":"get","key":"none"}`, `{"op":"delete","key":"k"}`, `{"op":"put","key":"k","value":"","ttl":"1s"}`)
		for i, want := range []string{"master-unavailable", "not-found", "master-unavailable", "master-unavailable"} {
			if rs[i].Slug() != want || i != 1 && rs[i].Problem.Master != "partition-0" {
				t.Errorf("%s, operation %d: %+v", form, i, rs[i])
			}
		}
	}
}

// endless is lines that are made as they are read.
type endless struct {
	line []byte
	at   int
	left atomic.Int64 // bytes; the last line is whole
}

func (e *endless) Read(p []byte) (n int, err error) {
	for n < len(p) && (e.left.Load() > 0 || e.at > 0) {
		m := copy(p[n:], e.line[e.at:])
		n, e.at = n+m, (e.at+m)%len(e.line)
		e.left.Add(-int64(m))
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// settled waits until nothing more of the lines is taken.
func (e *endless) settled() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for before := int64(-1); before != e.left.Load(); <-tick.C {
		before = e.left.Load()
	}
}

// TestBatchTakesMemoryForAWindow: memory is bounded by the window, not by the number of lines, even if a slow commit
// lets all lines arrive meanwhile.
func TestBatchTakesMemoryForAWindow(t *testing.T) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	const sent, most = 96 << 20, 48 << 20
	lines := &endless{line: []byte(`{"op":"put","key":"k","value":"` + strings.Repeat("v", 4000) + `"}` + "\n")}
	lines.left.Store(sent)
	var commits, held atomic.Int64
	base := heap()
	n.Partitions[0].Fail(func(op string) error {
		if op == memory.OpCommit && commits.Add(1) == 3 {
			lines.settled()
			held.Store(heap() - base)
		}
		return nil
	})
	answer, err := server.Client().Post(server.URL+"/v1/batch", "application/x-ndjson", lines)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	results := 0
	for scanner := bufio.NewScanner(answer.Body); scanner.Scan(); results++ {
		if !strings.Contains(scanner.Text(), `"status":20`) {
			t.Fatal(scanner.Text())
		}
	}
	if results < sent/len(lines.line) {
		t.Errorf("%d results for %d lines", results, sent/len(lines.line))
	}
	if held.Load() == 0 || held.Load() > most {
		t.Errorf("%d MiB of %d were held", held.Load()>>20, sent>>20)
	}
}

// TestBatchOutlivesUnreadAnswers: while the client reads no answers over HTTP/2, it may send no lines either, so the time
// for its next bytes does not pass. Every answer arrives, and the session after them.
func TestBatchOutlivesUnreadAnswers(t *testing.T) {
	limits := api.Limits{Body: 300 * time.Millisecond}
	n := apitest.New(t, func(o *api.Options) { o.Limits = limits })
	n.Do(t, "PUT", "/v1/keys/large", strings.Repeat("v", 100_000))
	server := n.ServeTLS(t, limits, true)
	const count = 300
	lines := &endless{line: []byte(`{"op":"get","key":"large"}` + strings.Repeat(" ", 60_000) + "\n")}
	lines.left.Store(count * int64(len(lines.line)))
	answer, err := server.Client().Post(server.URL+"/v1/batch?consistency=master", "application/x-ndjson", lines)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines.settled()
	if lines.left.Load() <= 0 {
		t.Error("the server has read everything, so the test shows nothing")
	}
	time.Sleep(2 * limits.Body) // the answers stay unread
	body, err := io.ReadAll(answer.Body)
	if got := strings.Count(string(body), `"status":200`); err != nil || got != count || answer.Trailer.Get("Runnel-Session") == "" {
		t.Errorf("%d answers of %d, %v, %v; the end is %.300q", got, count, answer.Trailer, err, body[max(0, len(body)-300):])
	}
}

// TestSilentClientEndsItsBatch: a client that has read all answers and sends nothing more is told so.
func TestSilentClientEndsItsBatch(t *testing.T) {
	limits := api.Limits{Body: 300 * time.Millisecond}
	for _, http2 := range []bool{false, true} {
		n := apitest.New(t, func(o *api.Options) { o.Limits = limits })
		c := converse(t, n.ServeTLS(t, limits, http2))
		if rest, err := io.ReadAll(c.answers); err == nil || !strings.Contains(string(rest), "/problems/request-timeout") {
			t.Errorf("HTTP/2 %v: %q, %v", http2, rest, err)
		}
		c.send.Close()
	}
}

// heap is the bytes that are in use, garbage left out.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestLineSeparatorsOfUnicodeDoNotCutResults(t *testing.T) {
	n := apitest.New(t)
	w := n.Do(t, "POST", "/v1/batch", `[{"op":"put","key":"a\u2028b","value":"c\u2029d"},{"op":"get","key":"a\u2028b"}]`)
	if strings.ContainsAny(w.Body.String(), "\u2028\u2029") || !strings.Contains(w.Body.String(), `"value":"c\u2029d"`) {
		t.Errorf("%s", w.Body)
	}
}
