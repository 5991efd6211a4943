package https

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/certs"
	"github.com/runnelkv/runnel/test/runnel"
)

// TestStopDrainsInOrder: first /readyz fails while everything else is served on old and new connections and streams go on,
// then the listener closes, then streams end as a whole.
func TestStopDrainsInOrder(t *testing.T) {
	s := startWith(t, "[http]\ndrain = '2s'\nshutdown_timeout = '10s'\n", "")
	c := client(t, s.ca.Pool, certs.Pair{}, true)
	s.await(t, c)
	request, _ := http.NewRequest("GET", s.URL+"/v1/changes?since=now", nil)
	request.Header.Set("Accept", "text/event-stream")
	endless := client(t, s.ca.Pool, certs.Pair{}, true)
	endless.Timeout = 0
	stream, err := endless.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	ended := make(chan string, 1)
	go func() {
		text, err := io.ReadAll(stream.Body)
		ended <- fmt.Sprint(string(text), err)
	}()

	began := time.Now()
	s.Signal(syscall.SIGTERM)
	runnel.Eventually(t, time.Second, "/readyz fails", func() error {
		if fetch(c, "GET", s.URL+"/readyz", "") == nil {
			return errors.New("ready")
		}
		return nil
	})
	for time.Since(began) < 1500*time.Millisecond {
		fresh := client(t, s.ca.Pool, certs.Pair{}, true)
		if err := fetch(fresh, "PUT", s.URL+"/v1/keys/k", "v"); err != nil {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		select {
		case text := <-ended:
			t.Fatalf("the stream ended early: %s", text)
		default:
		}
	}
	text := <-ended
	if took := time.Since(began); took < 2*time.Second || !strings.Contains(text, `"key":"k"`) || !strings.Contains(text, "/problems/shutting-down") || strings.HasSuffix(text, "<nil>") {
		t.Errorf("after %v the stream ended with %s", took, text[max(0, len(text)-500):])
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "https://")); err == nil {
		conn.Close()
		t.Error("the listener outlives the streams")
	}
	if <-s.Exited; s.Err != nil {
		t.Errorf("%v", s.Err)
	}
}

// TestStopDoesNotWaitForARefusedBody: a client that goes on sending what was refused delays a stop by a second.
func TestStopDoesNotWaitForARefusedBody(t *testing.T) {
	file := runnel.WriteConfig(t, "[http]\nshutdown_timeout = '3s'", runnel.ThreeFiles(t)...)
	p := runnel.Serve(t, "--config", file)
	c, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "PUT /v1/keys/%%00 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\nabc", 50<<20)
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || answer.StatusCode != 400 {
		t.Fatalf("%v, %v", answer, err)
	}
	if err := p.Stop(t); err != nil {
		t.Errorf("%v", err)
	}
}

// TestOperatorsHaveTheirOwnListener: profiles are served there alone.
func TestOperatorsHaveTheirOwnListener(t *testing.T) {
	admin := runnel.FreeAddress(t)
	s := startWith(t, fmt.Sprintf("[admin]\nlisten = %q\n", admin), "")
	c := client(t, s.ca.Pool, certs.Pair{}, true)
	s.await(t, c)
	for url, want := range map[string]bool{
		"http://" + admin + "/debug/pprof/goroutine?debug=1": true,
		"http://" + admin + "/metrics":                       true,
		"http://" + admin + "/v1/keys":                       false,
		s.URL + "/metrics":                                   true,
		s.URL + "/debug/pprof/":                              false,
	} {
		if err := fetch(c, "GET", url, ""); (err == nil) != want {
			t.Errorf("%s: %v", url, err)
		}
	}
	for host, want := range map[string]int{"": http.StatusOK, "rebound.example.org": http.StatusMisdirectedRequest} {
		request, _ := http.NewRequest("GET", "http://"+admin+"/debug/pprof/", nil)
		request.Host = host
		answer, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		h := answer.Header
		if answer.StatusCode != want || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Security-Policy") == "" || h.Get("Cross-Origin-Resource-Policy") != "same-origin" {
			t.Errorf("host %q: %s %v", host, answer.Status, h)
		}
	}
}
