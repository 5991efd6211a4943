package load

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

func TestHistogramKnowsQuantilesToOneBucket(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	var whole, half histogram
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(1) << random.IntN(33)
		d += time.Duration(random.Int64N(int64(d)))
		all = append(all, d)
		if i%2 == 0 {
			whole.addDuration(d)
		} else {
			half.addDuration(d)
		}
	}
	whole.merge(&half)
	slices.Sort(all)
	for _, q := range []float64{0.001, .5, .95, .99, .999, 1} {
		got, want := whole.quantile(q), all[max(0, int(q*float64(len(all))+.5)-1)]
		if got < want || float64(got) > float64(want)*(1+1.0/subBuckets)+1 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	if whole.max != all[len(all)-1] {
		t.Errorf("max %v, want %v", whole.max, all[len(all)-1])
	}
}

func TestHistogramBucketsLeaveNoGap(t *testing.T) {
	for i := range len(histogram{}.counts) - 1 {
		end := bucketEnd(i)
		if bucket(end) != i || bucket(end+1) != i+1 {
			t.Fatalf("bucket %d ends at %d, which is in %d, the next in %d", i, end, bucket(end), bucket(end+1))
		}
	}
	if i := bucket(1 << 62); i != len(histogram{}.counts)-1 {
		t.Errorf("a century is in bucket %d", i)
	}
	if got := new(histogram).quantile(.5); got != 0 {
		t.Errorf("the median of nothing is %v", got)
	}
}

func TestReaderReadsEveryFraming(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name, text string
		want       response
	}{
		{"length", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nETag: \"7\"\r\n\r\nhello", response{status: 200, bodyBytes: 5, etag: []byte(`"7"`)}},
		{"none", "HTTP/1.1 204 No Content\r\nEtag: \"8\"\r\n\r\n", response{status: 204, etag: []byte(`"8"`)}},
		{"long", "HTTP/1.1 200 OK\r\nETag: \"9\"\r\nContent-Length: 100000\r\n\r\n" + long, response{status: 200, bodyBytes: 100_000, etag: []byte(`"9"`)}},
		{"chunks", "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nTransfer-Encoding: chunked\r\n\r\n186A0\r\n" + long + "\r\n3;x=y\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
			response{status: 200, bodyBytes: 100_003, etag: []byte(`"1"`)}},
		{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", response{status: 201}},
		{"close", "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno", response{status: 404, bodyBytes: 2, last: true}},
		{"old", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", response{status: 200, last: true}},
		{"old alive", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", response{status: 200}},
	} {
		for name, source := range map[string]io.Reader{
			"whole": strings.NewReader(c.text + c.text),
			"bytes": iotest.OneByteReader(strings.NewReader(c.text + c.text)),
		} {
			r := newResponseReader(source)
			for range 2 {
				got, err := r.readResponse(true)
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
		"HTTP/1.1 200 OK\r\n\r\nhello":                                    errFraming,
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 40_000):            errLongHeader,
		"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n":                 nil,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n":     nil,
		"SSH-2.0-OpenSSH_9.2\r\n\r\n":                                     nil,
	} {
		_, err := newResponseReader(strings.NewReader(text)).readResponse(true)
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%.60q: %v, want %v", text, err, want)
		}
	}
}

func TestReaderAndTemplateAllocateNothing(t *testing.T) {
	answer := strings.NewReader("")
	r := newResponseReader(answer)
	p := testPlan("127.0.0.1:1")
	template, request := p.template(false), make([]byte, 0, 1024)
	allocs := testing.AllocsPerRun(100, func() {
		request = template.append(request[:0], blanks{key: 77, stamp: 3})
		answer.Reset("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: now\r\n\r\nhello")
		if _, err := r.readResponse(true); err != nil {
			t.Error(err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations a request", allocs)
	}
}

func TestTemplateFillsEveryHole(t *testing.T) {
	p := Plan{Address: "h:1", Method: "POST", Path: "/{key}", Header: []string{"If-Match: {etag}"}, Prefix: "k",
		Body: `{"k":"{key64}","v":"{value64}","p":"{value}"}`, ValueBytes: 20, Seed: 3}
	got := string(p.template(false).append(nil, blanks{key: 42, stamp: 9, etag: []byte(`"5"`)}))
	noise := string(noise(3, 2))
	value := "000000000000000009" + noise
	body := fmt.Sprintf(`{"k":"%s","v":"%s","p":"%s"}`, base64.StdEncoding.EncodeToString([]byte("k00000042")), base64.StdEncoding.EncodeToString([]byte(value)), value)
	want := fmt.Sprintf("POST /k00000042 HTTP/1.1\r\nHost: h:1\r\nIf-Match: \"5\"\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if bare := string(p.template(true).append(nil, blanks{})); strings.Contains(bare, "If-Match") {
		t.Errorf("a bare request is conditional: %q", bare)
	}
}

// testPlan is a plan that is over at once.
func testPlan(address string) Plan {
	return Plan{Address: address, Method: "GET", Path: "/v1/keys/{key}", Expect: []int{200}, BodyBytes: -1,
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
	r, err := Run(t.Context(), p)
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
	r, err := Run(t.Context(), p)
	if err != nil || r.Requests != 70 || r.Errors != 30 {
		t.Fatalf("%+v, %v", r, err)
	}
	if r.Samples["unexpected status 503"] != 10 || r.Samples["status 200 with a body of 5 bytes instead of 10"] != 10 {
		t.Errorf("samples: %v", r.Samples)
	}
}

func TestConditionalWritesPresentTheLastETag(t *testing.T) {
	var mu sync.Mutex
	etags, conditional := map[string]string{}, 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if etag := r.Header.Get("If-Match"); etag != "" {
			conditional++
			if etag != etags[r.URL.Path] {
				w.WriteHeader(http.StatusPreconditionFailed)
				return
			}
		}
		etags[r.URL.Path] = strconv.Quote(strconv.Itoa(len(etags) + conditional))
		w.Header().Set("ETag", etags[r.URL.Path])
		w.WriteHeader(http.StatusNoContent)
	}))
	defer s.Close()
	p := testPlan(strings.TrimPrefix(s.URL, "http://"))
	p.Method, p.Body, p.Header, p.Expect = "PUT", "{value}", []string{"If-Match: {etag}"}, []int{204}
	r, err := Run(t.Context(), p)
	if err != nil || r.Errors != 0 || r.Requests != 200 || conditional != 200 {
		t.Fatalf("%+v, %v; %d of 200 writes were conditional", r, err, conditional)
	}
}

func TestLoadEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer s.Close()
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, testPlan(strings.TrimPrefix(s.URL, "http://"))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a hanging server: %v", err)
	}
}

// TestLoadEndsBesideReconnects: the context ends while connections that the server has closed are replaced.
func TestLoadEndsBesideReconnects(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer s.Close()
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(2+i)*time.Millisecond)
		_, _ = Run(ctx, testPlan(strings.TrimPrefix(s.URL, "http://"))) // the race detector judges
		cancel()
	}
}

// TestLoadOverTLSVerifiesTheServer measures a server that the authorities of the plan vouch for, and no other.
func TestLoadOverTLSVerifiesTheServer(t *testing.T) {
	var protocols sync.Map
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		protocols.Store(fmt.Sprint(r.Proto, " over TLS ", r.TLS != nil), true)
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	p := testPlan(s.Listener.Addr().String())
	p.HTTPS = true
	if r, err := Run(t.Context(), p); err == nil {
		t.Errorf("an unknown server is measured: %+v", r)
	}
	p.TLS = s.Client().Transport.(*http.Transport).TLSClientConfig
	r, err := Run(t.Context(), p)
	if err != nil || r.Errors != 0 || r.Requests != 200 {
		t.Fatalf("%+v, %v", r, err)
	}
	protocols.Range(func(name, _ any) bool {
		if name != "HTTP/1.1 over TLS true" {
			t.Errorf("requests by %v", name)
		}
		return true
	})
}

func TestPlansAreChecked(t *testing.T) {
	for name, spoil := range map[string]func(*Plan){
		"no address":  func(p *Plan) { p.Address = "" },
		"path":        func(p *Plan) { p.Path = "x" },
		"line break":  func(p *Plan) { p.Header = []string{"A: b\r\nC: d"} },
		"connections": func(p *Plan) { p.Connections = 5000 },
		"keys":        func(p *Plan) { p.Keys = 0 },
		"value":       func(p *Plan) { p.ValueBytes = 3 },
		"duration":    func(p *Plan) { p.DurationMS = 10_000_000 },
		"order":       func(p *Plan) { p.Order = "sideways" },
		"few keys":    func(p *Plan) { p.Header, p.Keys = []string{"If-Match: {etag}"}, 3 },
	} {
		p := testPlan("127.0.0.1:1")
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		if spoil(&p); p.Check() == nil {
			t.Errorf("%s: a wrong plan is taken", name)
		}
	}
}
