package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/api/wire"
)

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// testClient returns a client whose requests go to rt.
func testClient(t *testing.T, rt roundTrip) *Client {
	t.Helper()
	c, err := New("http://127.0.0.1:8080", Options{Timeout: 30 * time.Second, RetryFor: 10 * time.Second, FinishWrites: true, Transport: rt})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answer is one scripted answer: a status with a problem's slug and a Retry-After, or an error.
type answer struct {
	status     int
	slug       string
	retryAfter string
	err        error
}

func (a answer) response() (*http.Response, error) {
	if a.err != nil {
		return nil, a.err
	}
	h := http.Header{"Content-Type": {"application/problem+json"}, "Runnel-Revision": {"1"}}
	if a.retryAfter != "" {
		h.Set("Retry-After", a.retryAfter)
	}
	body := fmt.Sprintf(`{"type":"/problems/%s"}`, a.slug)
	return &http.Response{StatusCode: a.status, Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
}

var (
	refusedDial = answer{err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}
	lostConn    = answer{err: io.ErrUnexpectedEOF}
	waitASecond = answer{status: 503, slug: "master-unavailable", retryAfter: "1"}
	waitADay    = answer{status: 503, slug: "master-unavailable", retryAfter: "86400"}
	slowDown    = answer{status: 429, slug: "too-many-requests", retryAfter: "1"}
	unknown     = answer{status: 503, slug: "outcome-unknown", retryAfter: "1"}
	unexplained = answer{status: 503}
	badGateway  = answer{status: 502}
	internal    = answer{status: 500, slug: "internal", retryAfter: "1"}
	notFound    = answer{status: 404, slug: "not-found"}
	conflict    = answer{status: 412, slug: "precondition-failed", retryAfter: "1"}
)

func TestOnlyWhatIsSafeIsRepeated(t *testing.T) {
	written := []int{http.StatusNoContent}
	get := request{method: http.MethodGet, path: "/", success: written, idempotent: true}
	put := request{method: http.MethodPut, path: "/", success: written, idempotent: true}
	conditional := request{method: http.MethodPut, path: "/", success: written}
	for _, tt := range []struct {
		name  string
		first answer
		// whether the request is sent again after first
		get, put, conditional bool
	}{
		{"connection refused", refusedDial, true, true, true},
		{"connection lost", lostConn, true, true, false},
		{"503 with Retry-After", waitASecond, true, true, true},
		{"503 with too long a Retry-After", waitADay, false, false, false},
		{"429 with Retry-After", slowDown, true, true, true},
		{"outcome unknown", unknown, true, true, false},
		{"503 without Retry-After", unexplained, true, true, false},
		{"502", badGateway, true, true, false},
		{"500", internal, false, false, false},
		{"404", notFound, false, false, false},
		{"412", conflict, false, false, false},
	} {
		check := func(kind string, r request, want bool) {
			t.Run(tt.name+"/"+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					sent := 0
					c := testClient(t, func(*http.Request) (*http.Response, error) {
						if sent++; sent == 1 {
							return tt.first.response()
						}
						return answer{status: 204}.response()
					})
					resp, err := c.send(t.Context(), r)
					if err == nil {
						resp.Body.Close()
					}
					if again := sent == 2; again != want || (err == nil) != want {
						t.Errorf("sent %d times, error %v; want it repeated: %v", sent, err, want)
					}
				})
			})
		}
		check("get", get, tt.get)
		check("put", put, tt.put)
		check("conditional put", conditional, tt.conditional)
	}
}

func TestRetryAfterIsWaitedForAndTheLimitKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []time.Time
		c := testClient(t, func(*http.Request) (*http.Response, error) {
			sent = append(sent, time.Now())
			return answer{status: 503, slug: "master-unavailable", retryAfter: "3"}.response()
		})
		began := time.Now()
		_, err := c.send(t.Context(), request{method: http.MethodGet, path: "/"})
		if statusOf(err) != 503 {
			t.Errorf("error %v, want the last refusal", err)
		}
		if took := time.Since(began); took > c.o.RetryFor {
			t.Errorf("took %v, more than %v", took, c.o.RetryFor)
		}
		for i := 1; i < len(sent); i++ {
			if pause := sent[i].Sub(sent[i-1]); pause < 3*time.Second {
				t.Errorf("pause %v, want what Retry-After asks for", pause)
			}
		}
		if len(sent) < 3 {
			t.Errorf("sent %d times in %v", len(sent), c.o.RetryFor)
		}
	})
}

func TestDeleteRepeatedAfterUnknownOutcomeMayFindNothing(t *testing.T) {
	for _, tt := range []struct {
		first answer
		ok    bool
	}{{lostConn, true}, {unknown, true}, {refusedDial, false}, {waitASecond, false}, {notFound, false}} {
		synctest.Test(t, func(t *testing.T) {
			sent := 0
			c := testClient(t, func(*http.Request) (*http.Response, error) {
				if sent++; sent == 1 {
					return tt.first.response()
				}
				return notFound.response()
			})
			if err := c.Delete(t.Context(), "k", Conditions{}); (err == nil) != tt.ok {
				t.Errorf("after %+v: %v, want success: %v", tt.first, err, tt.ok)
			}
		})
	}
}

// slowBody gives a byte after each pause, and ends with its request.
type slowBody struct {
	ctx    context.Context
	pauses []time.Duration
}

func (b *slowBody) Read(p []byte) (int, error) {
	if len(b.pauses) == 0 {
		return 0, io.EOF
	}
	if err := sleep(b.ctx, b.pauses[0]); err != nil {
		return 0, err
	}
	b.pauses, p[0] = b.pauses[1:], 'x'
	return 1, nil
}

func (b *slowBody) Close() error { return nil }

func TestTimeoutCutsSilenceNotSize(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name  string
		pause []time.Duration
		want  int
		err   error
	}{
		{"slow but steady", []time.Duration{29 * s, 29 * s, 29 * s, 29 * s}, 4, nil},
		{"silent", []time.Duration{s, 31 * s, s}, 1, ErrTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := testClient(t, func(r *http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: 200, Header: http.Header{"Runnel-Revision": {"1"}}, Body: &slowBody{r.Context(), tt.pause}}, nil
				})
				resp, err := c.send(t.Context(), request{method: http.MethodGet, path: "/"})
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				if len(got) != tt.want || !errors.Is(err, tt.err) {
					t.Errorf("read %d bytes, %v; want %d, %v", len(got), err, tt.want, tt.err)
				}
			})
		})
	}
}

func TestTimeoutEndsAWaitForAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testClient(t, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		_, err := c.send(t.Context(), request{method: http.MethodGet, path: "/", idempotent: true})
		if !errors.Is(err, ErrTimeout) || err.Error() != "nothing moved within the timeout of 30s" {
			t.Errorf("error %v", err)
		}
	})
}

func TestProblemText(t *testing.T) {
	for _, tt := range []struct{ media, body, want string }{
		{"application/problem+json", `{"type":"/problems/too-large","detail":"it is large","max_bytes":10}`, "413 too-large: it is large (at most 10 bytes)"},
		{"application/problem+json", `{"type":"about:blank","title":"Too big"}`, "413 request entity too large: Too big"},
		{"text/plain; charset=utf-8", "go\n away", "413 request entity too large: go away"},
		{"text/html", "<html>", "413 request entity too large"},
		{"application/problem+json", "{cut", "413 request entity too large"},
	} {
		resp := &http.Response{StatusCode: 413, Header: http.Header{"Content-Type": {tt.media}}, Body: io.NopCloser(strings.NewReader(tt.body))}
		if got := readError(resp).Error(); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.media, tt.body, got, tt.want)
		}
	}
}

func TestSentBodyIsExactlyAsLongAsAnnounced(t *testing.T) {
	for _, tt := range []struct {
		announced int64
		want      error
	}{{4, nil}, {3, errGrown}, {5, errShrunk}} {
		b := &requestBody{ReadCloser: io.NopCloser(strings.NewReader("1234")), left: tt.announced, progress: func() {}}
		if _, err := io.ReadAll(b); !errors.Is(err, tt.want) {
			t.Errorf("announced %d of 4 bytes: %v, want %v", tt.announced, err, tt.want)
		}
	}
}

func statusOf(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	return 0
}

func TestStoreUnderWayOutlivesAnInterrupt(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	sent := 0
	c := testClient(t, func(r *http.Request) (*http.Response, error) {
		sent++
		interrupt()
		if err := r.Context().Err(); err != nil {
			t.Errorf("the request under way ended with %v", err)
		}
		return answer{status: 503, slug: "master-unavailable", retryAfter: "0"}.response()
	})
	_, err := c.Put(ctx, "k", nil, PutOptions{})
	if statusOf(err) != 503 || sent != 1 {
		t.Errorf("sent %d times, %v; want one attempt to finish and none to follow", sent, err)
	}
}

func TestSizesAreSaidOnceForPeople(t *testing.T) {
	for text, want := range map[string]wire.Problem{
		"413: The value is larger than 16 MiB.":         {Status: 413, Title: "The value is larger than 16777216 bytes.", ProblemMembers: wire.ProblemMembers{MaxBytes: 16 << 20}},
		"413: Too large (at most 16 MiB)":               {Status: 413, Title: "Too large", ProblemMembers: wire.ProblemMembers{MaxBytes: 16 << 20}},
		"413: The value is larger than 16515072 bytes.": {Status: 413, Title: "The value is larger than 16515072 bytes.", ProblemMembers: wire.ProblemMembers{MaxBytes: 16515072}},
	} {
		if got := strings.Replace((&Error{Problem: want}).Error(), " request entity too large", "", 1); got != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
}
