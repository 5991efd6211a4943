package test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
)

// contained is a "runnel serve" in a container of 512 MiB without swap.
type contained struct {
	url, address, name string
}

func docker(t *testing.T, stdin io.Reader, args ...string) string {
	t.Helper()
	cmd := exec.Command("docker", args...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func serveContained(t *testing.T) *contained {
	t.Helper()
	if os.Getenv("RUNNEL_TEST_SHORT") == "1" {
		t.Skip("SKIPPED, it needs a container and RUNNEL_TEST_SHORT=1: run make test")
	}
	if err := exec.Command("docker", "version").Run(); err != nil {
		t.Skip("SKIPPED, NOTHING IS KNOWN OF 512 MiB: docker, which is to limit the memory, cannot be had: ", err)
	}
	dir := t.TempDir()
	// Without the race detector, which needs memory of its own.
	if err := runnel.Build(filepath.Join(dir, "runnel"), []string{"CGO_ENABLED=0"}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	archive, err := exec.Command("tar", "-C", dir, "-c", "runnel", "tmp").Output()
	if err != nil {
		t.Fatal(err)
	}
	image := docker(t, bytes.NewReader(archive), "import", "-")
	c := &contained{address: runnel.FreeAddress(t)}
	c.url = "http://" + c.address
	c.name = docker(t, nil, "run", "--detach", "--network", "host", "--memory", "512m", "--memory-swap", "512m",
		image, "/runnel", "serve", "--data", "/data", "--listen", c.address)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(docker(t, nil, "logs", "--tail", "30", c.name))
		}
		docker(t, nil, "rm", "--force", "--volumes", c.name)
		docker(t, nil, "rmi", "--force", image)
	})
	runnel.AwaitOK(t, c.url+"/readyz?write")
	return c
}

// request sends a request and returns its status, or 0 without an answer.
func (c *contained) request(method, path string, body []byte) int {
	r, err := http.NewRequest(method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return 0
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0
	}
	return answer.StatusCode
}

// checkAlive fails the test if the process was killed or small requests fail.
func (c *contained) checkAlive(t *testing.T, during string) {
	t.Helper()
	if state := docker(t, nil, "inspect", "--format", "{{.State.OOMKilled}} {{.State.Running}}", c.name); state != "false true" {
		t.Fatalf("%s: killed for its memory, running: %s", during, state)
	}
	if s := c.request("PUT", "/v1/keys/small", []byte("v")); s != 201 && s != 204 {
		t.Errorf("%s: a small write: %d", during, s)
	}
	if s := c.request("GET", "/v1/keys/small?consistency=master", nil); s != 200 {
		t.Errorf("%s: a small read: %d", during, s)
	}
	t.Logf("%s: %s", during, docker(t, nil, "stats", "--no-stream", "--format", "{{.MemUsage}}", c.name))
}

// TestContainerOf512MiBSurvivesGreedyClients: a container of 512 MiB survives clients that take as much memory as
// possible, and continues to serve small requests.
func TestContainerOf512MiBSurvivesGreedyClients(t *testing.T) {
	c := serveContained(t)
	value := bytes.Repeat([]byte("v"), 15<<20) // the largest value that the default allows
	for i := range 3 {
		key := fmt.Sprintf("/v1/keys/one/%d", i)
		if s := c.request("PUT", key, value); s != 201 {
			t.Errorf("a client alone, write %d: %d", i, s)
		}
		if s := c.request("GET", key+"?consistency=master", nil); s != 200 {
			t.Errorf("a client alone, read %d: %d", i, s)
		}
	}
	c.checkAlive(t, "one client")

	unfinished := c.connections(t, 100, fmt.Sprintf("PUT /v1/keys/unfinished HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", len(value)), value[1:])
	c.checkAlive(t, "100 writes without their last byte")
	unfinished()

	deaf := c.connections(t, 100, "GET /v1/changes?since=now&values=true HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n", nil)
	for i := range 3 {
		c.request("PUT", fmt.Sprintf("/v1/keys/event/%d", i), value[:12<<20]) // 503 while the readers have the memory
	}
	c.checkAlive(t, "100 readers of events that do not read")
	deaf()

	runnel.Eventually(t, time.Minute, "the memory of clients that are gone is free", func() error {
		if s := c.request("PUT", "/v1/keys/again", value); s/100 != 2 {
			return fmt.Errorf("%d", s)
		}
		return nil
	})
	var clients sync.WaitGroup
	for i := range 64 {
		clients.Go(func() {
			for _, s := range []int{c.request("PUT", fmt.Sprintf("/v1/keys/many/%d", i), value), c.request("GET", fmt.Sprintf("/v1/keys/one/%d?consistency=master", i%3), nil)} {
				if s/100 != 2 && s != 503 {
					t.Errorf("one of 64 clients: %d", s)
				}
			}
		})
	}
	clients.Wait()
	c.checkAlive(t, "64 clients")
}

// connections opens n connections that send header and body, as far as the server reads, and do not read. The
// returned function closes the connections.
func (c *contained) connections(t *testing.T, n int, header string, body []byte) (end func()) {
	t.Helper()
	var open []net.Conn
	var sending sync.WaitGroup
	for range n {
		conn, err := net.Dial("tcp", c.address)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
		conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		sending.Go(func() {
			io.WriteString(conn, header)
			conn.Write(body) // fails if the server refuses the request
		})
	}
	sending.Wait()
	return func() {
		for _, conn := range open {
			conn.Close()
		}
	}
}
