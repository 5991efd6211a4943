package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// fakeFeed streams numbered changes; each connection gives a few and breaks off.
type fakeFeed struct {
	mu    sync.Mutex
	since []string // that were asked for
	last  int      // after this change the command is stopped
	gone  bool
}

func (f *fakeFeed) serve(w http.ResponseWriter, r *http.Request, _ string) bool {
	if r.URL.Path != "/v1/changes" {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	since := r.URL.Query().Get("since")
	f.since = append(f.since, since)
	if f.gone {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(410)
		fmt.Fprint(w, `{"type":"/problems/resync","status":410,"detail":"too old"}`)
		return true
	}
	first := 1
	fmt.Sscanf(since, "t%d", &first)
	if since != "" && since != "now" {
		first++
	}
	w.WriteHeader(200)
	for i := first; i < first+3; i++ {
		fmt.Fprintf(w, `{"key":"k%d","deleted":%v,"revision":%d,"next":"t%d"}`+"\n", i, i%2 == 0, i, i)
		if i == f.last {
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return true
		}
	}
	fmt.Fprintf(w, `{"key":"cut`)
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// stopAt cancels once the output holds a text.
type stopAt struct {
	strings.Builder
	text string
	stop func()
}

func (s *stopAt) Write(b []byte) (int, error) {
	n, err := s.Builder.Write(b)
	if strings.Contains(s.String(), s.text) {
		s.stop()
	}
	return n, err
}

func watchFake(t *testing.T, f *fakeFeed, stopText string, args ...string) (code int, out, errs string) {
	t.Helper()
	server := newFake(t)
	server.before = f.serve
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout := &stopAt{text: stopText, stop: cancel}
	var stderr strings.Builder
	p := &program{Streams: testStreams(strings.NewReader(""), stdout, &stderr, false), getenv: func(string) string { return "" }}
	code = p.run(ctx, append([]string{"watch", "--server", server.url}, args...))
	return code, stdout.String(), stderr.String()
}

func TestWatchGoesOnWhereItWasCutOff(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	f := &fakeFeed{last: 7}
	code, out, errs := watchFake(t, f, "k7", "--token", file)
	if want := "1 + k1\n2 - k2\n3 + k3\n4 - k4\n5 + k5\n6 - k6\n7 + k7\n"; code != 0 || out != want {
		t.Errorf("exit %d, printed\n%swant\n%s%s", code, out, want, errs)
	}
	if got := strings.Join(f.since, " "); got != "now t3 t6" {
		t.Errorf("asked since %s", got)
	}
	if text, err := os.ReadFile(file); string(text) != "t7\n" {
		t.Errorf("the token file holds %q, %v", text, err)
	}
	f = &fakeFeed{last: 8}
	if _, out, _ = watchFake(t, f, "k8", "--token", file, "--json"); !strings.HasPrefix(out, `{"key":"k8"`) || f.since[0] != "t7" {
		t.Errorf("then since %v: %s", f.since, out)
	}
}

func TestWatchSaysHowToBeginAnew(t *testing.T) {
	f := &fakeFeed{gone: true}
	code, _, errs := watchFake(t, f, "never", "--since", "t1")
	if code != console.ExitFailed || !strings.Contains(errs, "410 resync") || !strings.Contains(errs, "--since beginning") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if len(f.since) != 1 {
		t.Errorf("asked %d times", len(f.since))
	}
}
