package hardening

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
)

// TestFewDescriptorsSuffice: a server with 256 file descriptors goes on to serve while 400 silent clients connect, and
// serves new clients after the crowd has left. By default the server closes silent connections, so new clients are served
// during the crowd too. With more connections than descriptors, accepting fails and is tried again.
func TestFewDescriptorsSuffice(t *testing.T) {
	path, err := runnel.Binary()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config string
		fails  bool // accepting fails during the crowd
	}{
		"default":         {"", false},
		"max_connections": {"[http]\nmax_connections = 1000\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			address := runnel.FreeAddress(t)
			p := runnel.StartProgram(t, "/bin/sh", "-c", `ulimit -n 256 && exec "$0" "$@"`, path,
				"serve", "--listen", address, "--config", runnel.WriteConfig(t, c.config, runnel.ThreeFiles(t)...))
			p.URL = "http://" + address
			p.AwaitOK(t, "/readyz?write")
			known := door{}.client()
			defer known.CloseIdleConnections()
			put(t, known, p.URL+"/v1/keys/small?copies=3", 100)

			_, leave := connectSilently(t, address, 400)
			if c.fails {
				runnel.Eventually(t, time.Minute, "accepting has failed", func() error {
					if strings.Contains(p.Log.String(), "too many open files") {
						return nil
					}
					return io.ErrNoProgress
				})
			} else if err := getAnew(p.URL); err != nil {
				t.Errorf("a new client during the crowd: %v", err)
			}
			if err := get(known, p.URL+"/v1/keys/small"); err != nil {
				t.Errorf("a known client during the crowd: %v", err)
			}
			leave()
			runnel.Eventually(t, time.Minute, "a new client is served after the crowd", func() error { return getAnew(p.URL) })
			put(t, known, p.URL+"/v1/keys/later?copies=3", 100)
			if err := p.Stop(t); err != nil {
				t.Errorf("the server ended with %v", err)
			}
		})
	}
}

// connectSilently opens connections that send half a request line. leave closes the connections.
func connectSilently(t *testing.T, address string, clients int) (crowd []net.Conn, leave func()) {
	t.Helper()
	leave = func() {
		for _, c := range crowd {
			c.Close()
		}
	}
	t.Cleanup(leave)
	for range clients {
		c, err := net.DialTimeout("tcp", address, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		crowd = append(crowd, c)
		io.WriteString(c, "GET /v1/k") // the server may have closed the connection
	}
	return crowd, leave
}

// getAnew reads the small value on a new connection.
func getAnew(url string) error {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	return get(&http.Client{Transport: transport, Timeout: 10 * time.Second}, url+"/v1/keys/small")
}

// TestListenerOfOperatorsIsBounded: beyond the bound of connections the silent connections end, and a profile goes on.
func TestListenerOfOperatorsIsBounded(t *testing.T) {
	admin := runnel.FreeAddress(t)
	config := fmt.Sprintf("[http]\nread_header_timeout = '1h'\nread_timeout = '1h'\n[admin]\nlisten = %q\n", admin)
	runnel.Serve(t, "--config", runnel.WriteConfig(t, config, runnel.ThreeFiles(t)...))
	client := door{}.client()
	defer client.CloseIdleConnections()
	profile := make(chan error, 1)
	go func() { profile <- get(client, "http://"+admin+"/debug/pprof/trace?seconds=3") }()
	runnel.Eventually(t, time.Minute, "the profile has begun", func() error {
		answer, err := client.Get("http://" + admin + "/debug/pprof/goroutine?debug=2")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		stacks, err := io.ReadAll(answer.Body)
		if err == nil && !strings.Contains(string(stacks), "pprof.Trace(") {
			err = io.ErrNoProgress
		}
		return err
	})
	crowd, leave := connectSilently(t, admin, 100)
	defer leave()
	crowd[0].SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := crowd[0].Read(make([]byte, 1)); ignoreClosed(err) != nil {
		t.Errorf("a silent connection beyond the bound is kept: %v", err)
	}
	if err := get(client, "http://"+admin+"/metrics"); err != nil {
		t.Errorf("beside silent connections: %v", err)
	}
	if err := <-profile; err != nil {
		t.Errorf("a profile was cut: %v", err)
	}
}
