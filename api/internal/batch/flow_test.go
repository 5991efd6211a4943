package batch_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/exchange"
)

// sendFirst posts lines in chunks, and reads nothing before all are sent.
func sendFirst(t *testing.T, server *httptest.Server, lines []byte, fields string) (answer *http.Response, body []byte, err error) {
	t.Helper()
	c := apitest.Dial(t, server)
	defer c.Close()
	c.SetDeadline(time.Now().Add(50 * time.Second))
	fmt.Fprintf(c, "POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n%s\r\n", fields)
	for len(lines) > 0 {
		n := min(len(lines), 64<<10)
		if _, err := fmt.Fprintf(c, "%x\r\n%s\r\n", n, lines[:n]); err != nil {
			return nil, nil, fmt.Errorf("sending: %w", err)
		}
		lines = lines[n:]
	}
	io.WriteString(c, "0\r\n\r\n")
	answer, err = http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, nil, err
	}
	body, err = io.ReadAll(answer.Body)
	return answer, body, err
}

// TestBatchOfAClientThatSendsFirst: some MiB of answers are queued for a client that sends everything before it reads.
func TestBatchOfAClientThatSendsFirst(t *testing.T) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	const count = 50_000 // whose answers exceed the buffers of the connection
	var lines bytes.Buffer
	for i := range count {
		fmt.Fprintf(&lines, `{"op":"put","key":"%s%06d","value":"%d"}`+"\n", strings.Repeat("long-", 20), i%100, i)
	}
	_, body, err := sendFirst(t, server, lines.Bytes(), "")
	if got := bytes.Count(body, []byte("\n")); err != nil || got != count {
		t.Errorf("%d answers, %v", got, err)
	}
}

// TestMinimalBatch: successful operations have no results, but are counted.
func TestMinimalBatch(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "there")
	for _, prefer := range []string{"return=minimal", `respond-async, Return="minimal"`} {
		ops := `{"op":"put","key":"k","value":"1"}` + "\n" + `{"op":"put","key":"","value":"1"}` + "\n" + `{"op":"get","key":"there"}` + "\n" + `{"op":"delete","key":"none"}` + "\n"
		w := n.Do(t, "POST", "/v1/batch?consistency=master", ops, "Content-Type", "application/x-ndjson", "Prefer", prefer)
		lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
		if len(lines) != 4 || !strings.HasPrefix(lines[0], `{"index":1,`) || !strings.HasPrefix(lines[1], `{"index":2,`) || !strings.HasPrefix(lines[2], `{"index":3,`) ||
			lines[3] != `{"done":2,"refused":2}` || w.Header().Get("Preference-Applied") != "return=minimal" {
			t.Errorf("lines: %v %s", w.Header(), w.Body)
		}
		array := "[" + strings.ReplaceAll(strings.TrimSpace(ops), "\n", ",") + "]"
		w = n.Do(t, "POST", "/v1/batch?consistency=master", array, "Prefer", prefer)
		var d struct {
			Results       []apitest.Result
			Done, Refused int
		}
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || len(d.Results) != 3 || d.Results[0].Index != 1 || d.Done != 2 || d.Refused != 2 {
			t.Errorf("array: %v %s", err, w.Body)
		}
	}
	if w := n.Do(t, "POST", "/v1/batch", `[{"op":"put","key":"k","value":"1"}]`, "Prefer", "return=representation, return=minimal"); strings.Contains(w.Body.String(), "done") {
		t.Errorf("the first preference counts: %s", w.Body)
	}
}

// TestBatchWhoseAnswersAreNotRead ends early: a client that only sends, and reads later, gets the results so far and a
// problem.
func TestBatchWhoseAnswersAreNotRead(t *testing.T) {
	var log syncBuffer
	n := apitest.New(t, func(o *api.Options) { o.Logger = log.logger() })
	n.Do(t, "PUT", "/v1/keys/large", strings.Repeat("v", 100_000))
	server := n.Serve(t, api.Limits{})
	// Every line asks for 100 kB: after some MiB the answers wait.
	lines := bytes.Repeat([]byte(`{"op":"get","key":"large"}`+strings.Repeat(" ", 20_000)+"\n"), 1500)
	_, body, err := sendFirst(t, server, lines, "")
	answers := bytes.Split(bytes.TrimSpace(body), []byte("\n"))
	last := answers[len(answers)-1]
	if err == nil || len(answers) > 1000 || !bytes.Contains(last, []byte("/problems/answers-unread")) {
		t.Errorf("%d answers, the last %.200s; %v", len(answers), last, err)
	}
	for i, a := range answers[:len(answers)-1] {
		var r apitest.Result
		if json.Unmarshal(a, &r) != nil || r.Index != i || r.Status != 200 || r.Size != 100_000 {
			t.Fatalf("answer %d is %.100s", i, a)
		}
	}
	if !strings.Contains(log.String(), "without reading the answers") {
		t.Errorf("log: %s", log.String())
	}
}

// TestRefusedLinesTakeLittleMemory: the answers of millions of lines are sent
// as they come, also where the lines were read whole.
func TestRefusedLinesTakeLittleMemory(t *testing.T) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	body := bytes.Repeat([]byte("1\n"), 250_000) // 4 MiB would take long under the race detector
	base := heap()
	r, err := server.Client().Post(server.URL+"/v1/batch", "application/x-ndjson", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	first := make([]byte, 1)
	if _, err := r.Body.Read(first); err != nil {
		t.Fatal(err)
	}
	// The server waits for the reader and queues up to its bound.
	var most atomic.Int64
	apitest.Eventually(t, "what is held does not grow", func() bool {
		before := heap() - base
		time.Sleep(50 * time.Millisecond)
		most.Store(heap() - base)
		return most.Load() <= before+1<<20
	})
	if most.Load() > 24<<20 {
		t.Errorf("%d MiB are held", most.Load()>>20)
	}
	got, err := io.ReadAll(r.Body)
	if lines := bytes.Count(got, []byte("\n")); err != nil || lines != 250_000 {
		t.Errorf("%d lines, %v", lines, err)
	}
}

// TestDrainEndsBatches: when the server drains, a stream of operations answers all complete lines and ends promptly
// with a problem.
func TestDrainEndsBatches(t *testing.T) {
	n, server := limited(t, api.Limits{})
	c := converse(t, server)
	fmt.Fprintf(c.send, `{"op":"put","key":"k","value":"1"}`+"\n")
	if r := c.read(); r.Status != 201 {
		t.Fatalf("%+v", r)
	}
	began := time.Now()
	n.Drain()
	rest, err := io.ReadAll(c.answers)
	if err == nil || !bytes.Contains(rest, []byte("/problems/shutting-down")) || bytes.Count(rest, []byte("\n")) != 1 {
		t.Errorf("%q, %v", rest, err)
	}
	c.send.CloseWithError(io.ErrClosedPipe)
	if took := time.Since(began); took > exchange.LingerTime/2 {
		t.Errorf("it took %v", took)
	}
}

// TestLineOfEscapes: a value within the limit is accepted in every spelling.
func TestLineOfEscapes(t *testing.T) {
	n := apitest.New(t)
	server := n.Serve(t, api.Limits{})
	line := `{"op":"put","key":"k","value":"` + strings.Repeat(`\u0001`, apitest.MaxTestValue) + `"}` + "\n"
	for name, body := range map[string]string{"lines": line, "array": "[" + line + "]", "txn": `{"then":[` + line + `]}`} {
		path, mediaType := "/v1/batch", "application/json"
		switch name {
		case "lines":
			mediaType = "application/x-ndjson"
		case "txn":
			path = "/v1/txn"
		}
		answer, err := server.Client().Post(server.URL+path, mediaType, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != 200 || !strings.Contains(string(got), `"status":20`) {
			t.Errorf("%s: %d %.200s", name, answer.StatusCode, got)
		}
	}
}

// syncBuffer collects log lines of several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *syncBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(s, nil)) }
