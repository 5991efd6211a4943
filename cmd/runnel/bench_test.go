package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

func TestHistogramKnowsQuantilesToOneBucket(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	var whole, half benchHistogram
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(1) << random.IntN(33)
		d += time.Duration(random.Int64N(int64(d)))
		all = append(all, d)
		if i%2 == 0 {
			whole.record(d)
		} else {
			half.record(d)
		}
	}
	whole.merge(&half)
	slices.Sort(all)
	for _, q := range []float64{0.001, .5, .95, .99, .999, 1} {
		got, want := whole.quantile(q), all[max(0, int(q*float64(len(all))+.5)-1)]
		if got < want || float64(got) > float64(want)*(1+1.0/benchSubBuckets)+1 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	if whole.max != all[len(all)-1] {
		t.Errorf("max %v, want %v", whole.max, all[len(all)-1])
	}
}

func TestHistogramBucketsLeaveNoGap(t *testing.T) {
	for i := range len(benchHistogram{}.counts) - 1 {
		end := benchBucketEnd(i)
		if benchBucket(end) != i || benchBucket(end+1) != i+1 {
			t.Fatalf("bucket %d ends at %d, which is in %d, the next in %d", i, end, benchBucket(end), benchBucket(end+1))
		}
	}
	if i := benchBucket(1 << 62); i != len(benchHistogram{}.counts)-1 {
		t.Errorf("a century is in bucket %d", i)
	}
	if got := new(benchHistogram).quantile(.5); got != 0 {
		t.Errorf("the median of nothing is %v", got)
	}
}

func TestReaderReadsEveryFraming(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name, text string
		want       benchAnswer
	}{
		{"length", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nETag: \"7\"\r\n\r\nhello", benchAnswer{status: 200, bodyBytes: 5, etag: []byte(`"7"`)}},
		{"none", "HTTP/1.1 204 No Content\r\nEtag: \"8\"\r\n\r\n", benchAnswer{status: 204, etag: []byte(`"8"`)}},
		{"long", "HTTP/1.1 200 OK\r\nETag: \"9\"\r\nContent-Length: 100000\r\n\r\n" + long, benchAnswer{status: 200, bodyBytes: 100_000, etag: []byte(`"9"`)}},
		{"chunks", "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nTransfer-Encoding: chunked\r\n\r\n186A0\r\n" + long + "\r\n3;x=y\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
			benchAnswer{status: 200, bodyBytes: 100_003, etag: []byte(`"1"`)}},
		{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", benchAnswer{status: 201}},
		{"close", "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno", benchAnswer{status: 404, bodyBytes: 2, last: true}},
		{"old", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", benchAnswer{status: 200, last: true}},
		{"old alive", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", benchAnswer{status: 200}},
	} {
		for name, source := range map[string]io.Reader{
			"whole": strings.NewReader(c.text + c.text),
			"bytes": iotest.OneByteReader(strings.NewReader(c.text + c.text)),
		} {
			r := newBenchReader(source)
			for range 2 {
				got, err := r.read(true)
				if err != nil || got.status != c.want.status || got.bodyBytes != c.want.bodyBytes || got.last != c.want.last || string(got.etag) != string(c.want.etag) {
					t.Errorf("%s by %s: %+v, %v; want %+v", c.name, name, got, err, c.want)
				}
			}
		}
	}
}

func TestReaderRefusesWhatIsCutOrWrong(t *testing.T) {
	for text, want := range map[string]error{
		"": io.ErrUnexpectedEOF,
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel":                 io.ErrUnexpectedEOF,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello": io.ErrUnexpectedEOF,
		"HTTP/1.1 200 OK\r\n\r\nhello":                                    errBenchFraming,
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 40_000):            errBenchHeader,
		"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n":                 nil,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n":     nil,
		"SSH-2.0-OpenSSH_9.2\r\n\r\n":                                     nil,
	} {
		_, err := newBenchReader(strings.NewReader(text)).read(true)
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%.60q: %v, want %v", text, err, want)
		}
	}
}

func TestReaderAndTemplateAllocateNothing(t *testing.T) {
	answer := strings.NewReader("")
	r := newBenchReader(answer)
	p := testPlan("127.0.0.1:1")
	template, request := p.template(false), make([]byte, 0, 1024)
	allocs := testing.AllocsPerRun(100, func() {
		request = template.append(request[:0], benchBlanks{key: 77, stamp: 3})
		answer.Reset("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: now\r\n\r\nhello")
		if _, err := r.read(true); err != nil {
			t.Error(err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations a request", allocs)
	}
}

func TestTemplateFillsEveryHole(t *testing.T) {
	p := benchPlan{Address: "h:1", Method: "POST", Path: "/{key}", Header: []string{"If-Match: {etag}"}, Prefix: "k",
		Body: `{"k":"{key64}","v":"{value64}","p":"{value}"}`, ValueBytes: 20, Seed: 3}
	got := string(p.template(false).append(nil, benchBlanks{key: 42, stamp: 9, etag: []byte(`"5"`)}))
	noise := string(benchNoise(3, 2))
	value := "000000000000000009" + noise
	body := fmt.Sprintf(`{"k":"%s","v":"%s","p":"%s"}`, base64.StdEncoding.EncodeToString([]byte("k00000042")), base64.StdEncoding.EncodeToString([]byte(value)), value)
	want := fmt.Sprintf("POST /k00000042 HTTP/1.1\r\nHost: h:1\r\nIf-Match: \"5\"\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if bare := string(p.template(true).append(nil, benchBlanks{})); strings.Contains(bare, "If-Match") {
		t.Errorf("a bare request is conditional: %q", bare)
	}
}

// testPlan is a plan that is over at once.
func testPlan(address string) benchPlan {
	return benchPlan{Address: address, Method: "GET", Path: "/v1/keys/{key}", Expect: []int{200}, BodyBytes: -1,
		Connections: 4, Prefix: "k", Keys: 100, Order: "random", DurationMS: 20_000, Requests: 200, ValueBytes: 100, Seed: 1}
}

func TestLoadCountsEveryRequestOnce(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.URL.Path]++
	}))
	defer s.Close()
	p := testPlan(strings.TrimPrefix(s.URL, "http://"))
	p.Order, p.Requests, p.BodyBytes = "once", 0, 0
	r, err := runBench(t.Context(), p)
	if err != nil || r.Requests != 100 || r.Errors != 0 || len(seen) != 100 {
		t.Fatalf("%+v, %v; the server saw %d keys", r, err, len(seen))
	}
	if r.P50 <= 0 || r.P999 < r.P50 || r.Max < r.P999 || r.PerSecond <= 0 {
		t.Errorf("times do not fit together: %+v", r)
	}
}

func TestLoadReportsWhatIsNotExpected(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "1"):
			http.Error(w, "no", http.StatusServiceUnavailable)
		case strings.HasSuffix(r.URL.Path, "2"):
			io.WriteString(w, "short")
		case strings.HasSuffix(r.URL.Path, "3"):
			panic(http.ErrAbortHandler)
		default:
			io.WriteString(w, "right size")
		}
	}))
	defer s.Close()
	p := testPlan(strings.TrimPrefix(s.URL, "http://"))
	p.Order, p.Requests, p.BodyBytes = "once", 0, 10
	r, err := runBench(t.Context(), p)
	if err != nil || r.Requests != 70 || r.Errors != 30 {
		t.Fatalf("%+v, %v", r, err)
	}
	if r.Samples["unexpected status 503"] != 10 || r.Samples["status 200 with a body of 5 bytes instead of 10"] != 10 {
		t.Errorf("samples: %v", r.Samples)
	}
}

func TestConditionalWritesPresentTheLastETag(t *testing.T) {
	f := newFake(t)
	p := testPlan(strings.TrimPrefix(f.url, "http://"))
	p.Method, p.Body, p.Header, p.Expect = "PUT", "{value}", []string{"If-Match: {etag}"}, []int{200, 201, 204}
	r, err := runBench(t.Context(), p)
	if err != nil || r.Errors != 0 || r.Requests != 200 {
		t.Fatalf("%+v, %v", r, err)
	}
	conditional := 0
	for _, request := range f.requests {
		if request.Header.Get("If-Match") != "" {
			conditional++
		}
	}
	if conditional != 200 {
		t.Errorf("%d of 200 writes were conditional", conditional)
	}
}

func TestLoadEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer s.Close()
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := runBench(ctx, testPlan(strings.TrimPrefix(s.URL, "http://"))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a hanging server: %v", err)
	}
}

func TestPlansAreChecked(t *testing.T) {
	for name, spoil := range map[string]func(*benchPlan){
		"no address":  func(p *benchPlan) { p.Address = "" },
		"path":        func(p *benchPlan) { p.Path = "x" },
		"line break":  func(p *benchPlan) { p.Header = []string{"A: b\r\nC: d"} },
		"connections": func(p *benchPlan) { p.Connections = 5000 },
		"keys":        func(p *benchPlan) { p.Keys = 0 },
		"value":       func(p *benchPlan) { p.ValueBytes = 3 },
		"duration":    func(p *benchPlan) { p.DurationMS = 10_000_000 },
		"order":       func(p *benchPlan) { p.Order = "sideways" },
		"few keys":    func(p *benchPlan) { p.Header, p.Keys = []string{"If-Match: {etag}"}, 3 },
	} {
		p := testPlan("127.0.0.1:1")
		if err := p.check(); err != nil {
			t.Fatal(err)
		}
		if spoil(&p); p.check() == nil {
			t.Errorf("%s: a wrong plan is taken", name)
		}
	}
}

func TestBenchMeasuresAndRemovesItsKeys(t *testing.T) {
	f := newFake(t)
	f.set("mine", "kept")
	f.status = `{}`
	o := cli{}.run(t, nil, "bench", "--server", f.url, "--keys", "50", "-n", "5", "--requests", "50", "--warmup", "0", "--duration", "10s", "--json",
		"--cases", "get,put,put-if-match,delete")
	var results []benchResult
	if err := json.Unmarshal([]byte(o.stdout), &results); err != nil || o.code != exitOK {
		t.Fatalf("%v: %+v", err, o)
	}
	var names []string
	for _, r := range results {
		names = append(names, r.Case)
		if r.Requests != 50 || r.Errors != 0 {
			t.Errorf("%s: %+v", r.Case, r.benchReport)
		}
	}
	if got := strings.Join(names, " "); got != "fill get put put-if-match delete" {
		t.Errorf("cases: %s", got)
	}
	if left := f.values(); len(left) != 1 || left["mine"] != "kept" {
		t.Errorf("%d keys are left", len(left))
	}
}

func TestBenchReadsWhenReplicasAreLevel(t *testing.T) {
	f := newFake(t)
	lags := []string{"7", "3", "null"} // what the server says, one after the other
	asked, early := 0, false
	f.before = func(w http.ResponseWriter, r *http.Request, _ string) bool {
		switch {
		case r.URL.Path == "/v1/status":
			io.WriteString(w, `{"partitions":[{"state":"ready","origins":[{"origin":"a","lag_revisions":`+lags[min(asked, 2)]+`}]},
				{"state":"unreachable","origins":[{"origin":"a","lag_revisions":9}]}]}`)
			asked++
			return true
		case r.Method == "GET":
			early = early || asked < len(lags)
		}
		return false
	}
	o := cli{}.run(t, nil, "bench", "--server", f.url, "--keys", "5", "-n", "1", "--requests", "5", "--warmup", "0", "--cases", "get")
	if o.code != exitOK || early || asked < len(lags) {
		t.Errorf("asked %d times, read early: %t; %+v", asked, early, o)
	}
}

func TestBenchRefusesWhatItCannotMeasure(t *testing.T) {
	for _, args := range [][]string{
		{"--cases", "nope"}, {"--keys", "0"}, {"--prefix", "a b"}, {"-n", "0"}, {"--server", "https://127.0.0.1:1"}, {"--plan"},
	} {
		o := cli{}.run(t, nil, append([]string{"bench"}, args...)...)
		if o.code != exitUsage || o.stdout != "" {
			t.Errorf("%q: %+v", args, o)
		}
	}
}
