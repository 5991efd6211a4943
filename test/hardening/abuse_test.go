package hardening

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/certs"
	"github.com/runnelkv/runnel/test/runnel"
)

// abuse is a crowd of clients that occupy connections.
type abuse struct {
	name    string
	clients int
	memory  int  // how much the resident memory of the server may grow at its peak, in bytes
	raw     bool // the clients speak no TLS
	// occupy uses a new connection until ctx ends, and calls settled once, when the connection is occupied. The context's
	// end closes the connection.
	occupy func(ctx context.Context, c net.Conn, settled func()) error
}

// abuses all have the bound of 64 MiB.
var abuses = []abuse{
	{"slow-headers", 500, 64 << 20, false, sendSlowly},
	{"unread-answers", 200, 64 << 20, false, neverRead},
	{"idle", 5000, 64 << 20, false, stayIdle},
	{"begun-handshakes", 500, 64 << 20, true, beginHandshake},
}

// shortest is the least latency that counts: below, a pause of a shared machine decides.
const shortest = 3 * time.Millisecond

// bigValue is the length of the value that unread answers hold, in bytes.
const bigValue = 64 << 10

// door is a way to the server. Every abuse attacks each door.
type door struct {
	name   string
	config string      // of the server, before the partitions
	tls    *tls.Config // of clients; nil: plain HTTP
	share  int         // the crowd is that many times smaller, because handshakes take processor time; 1 with RUNNEL_TEST_LONG=1
	http2  bool        // only the abuse "idle" speaks HTTP/2
}

// doors returns plain HTTP, and HTTPS with a certificate of its own. Every crowd that is idle exceeds the bound of idle
// connections.
func doors(t *testing.T) []door {
	authority := certs.NewAuthority(t)
	pair := authority.Issue(t, certs.Names{})
	config := fmt.Sprintf("[http.tls]\ncert = %q\nkey = %q\n", pair.Cert, pair.Key)
	client := &tls.Config{RootCAs: authority.Pool, ServerName: "localhost"}
	http2 := client.Clone()
	http2.NextProtos = []string{"h2"}
	share := runnel.Rounds(4, 1)
	return []door{{"plain", "", nil, 1, false}, {"tls", config, client, share, false}, {"http2", config, http2, share, true}}
}

// dial connects, and completes the handshake of TLS unless raw is set.
func (d door) dial(ctx context.Context, address string, raw bool) (net.Conn, error) {
	if d.tls == nil || raw {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	return (&tls.Dialer{Config: d.tls}).DialContext(ctx, "tcp", address)
}

// client returns a client that keeps its connections.
func (d door) client() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, TLSClientConfig: d.tls.Clone(), ForceAttemptHTTP2: d.http2}, Timeout: 30 * time.Second}
}

// TestAbuseLeavesTheServerToOthers: while a crowd occupies connections, the latency of ordinary clients stays below twice
// the latency without the crowd, and the server's memory grows by little. Rounds with and without the crowd alternate, and
// the quietest round with the crowd is compared with the noisiest without, because a shared machine has pauses of its own.
func TestAbuseLeavesTheServerToOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runnel")
	if err := runnel.Build(path, []string{"CGO_ENABLED=0"}); err != nil { // the race detector needs memory of its own
		t.Fatal(err)
	}
	for _, d := range doors(t) {
		for _, a := range abuses {
			if d.http2 && a.name != "idle" {
				continue
			}
			if !a.raw {
				a.clients /= d.share
			}
			t.Run(d.name+"/"+a.name, func(t *testing.T) { attack(t, path, d, a) })
		}
	}
}

func attack(t *testing.T, path string, d door, a abuse) {
	requireFiles(t, 2*a.clients)
	server, address := serve(t, path, d)
	c := d.client()
	defer c.CloseIdleConnections()
	put(t, c, server.URL+"/v1/keys/small?copies=3", 100)
	put(t, c, server.URL+"/v1/keys/big?copies=3", bigValue)
	measure(t, c, server.URL) // warms the server

	var without, with []time.Duration
	grown := 0
	for range runnel.Rounds(3, 10) {
		without = append(without, measure(t, c, server.URL))
		peak := memoryPeak(t, server.PID())
		leave := gather(t, d, a, address)
		with = append(with, measure(t, c, server.URL))
		grown = max(grown, peak())
		leave()
	}
	t.Logf("p99 without %v, with %v; memory at the peak +%d KiB", without, with, grown>>10)
	if least, most := slices.Min(with), max(slices.Max(without), shortest); least > 2*most {
		t.Errorf("with %d clients the p99 is %v, more than twice the %v without", a.clients, least, most)
	}
	if grown > a.memory {
		t.Errorf("the memory has grown by %d MiB, over the limit of %d", grown>>20, a.memory>>20)
	}
}

// serve starts the binary at path on a free port with SQLite partitions, and collects the garbage of the start, which
// would hide later growth.
func serve(t *testing.T, path string, d door) (server *runnel.Process, address string) {
	t.Helper()
	address = runnel.FreeAddress(t)
	admin := runnel.FreeAddress(t)
	config := fmt.Sprintf("%s[admin]\nlisten = %q\n", d.config, admin)
	server = runnel.StartProgram(t, path, "serve", "--config", runnel.WriteConfig(t, config, runnel.ThreeFiles(t)...), "--listen", address)
	server.URL = "http://" + address
	if d.tls != nil {
		server.URL = "https://" + strings.Replace(address, "127.0.0.1", "localhost", 1)
	}
	c := d.client()
	defer c.CloseIdleConnections()
	runnel.Eventually(t, time.Minute, "the server takes writes", func() error { return get(c, server.URL+"/readyz?write") })
	for range 2 { // a sync.Pool keeps memory during a collection
		if err := get(c, "http://"+admin+"/debug/pprof/heap?gc=1"); err != nil {
			t.Fatal(err)
		}
	}
	return server, address
}

// requireFiles skips the test where a process may not open that many files.
func requireFiles(t *testing.T, n int) {
	t.Helper()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < uint64(n) {
		t.Skipf("SKIPPED, a process may open %d files and the test needs %d: %v", files.Cur, n, err)
	}
}

// gather connects the crowd, and returns when every client has settled. leave ends the crowd.
func gather(t *testing.T, d door, a abuse, address string) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	var crowd sync.WaitGroup
	ready := make(chan error, a.clients)
	dialing := make(chan struct{}, 64)
	for range a.clients {
		crowd.Go(func() {
			dialing <- struct{}{}
			c, err := d.dial(ctx, address, a.raw)
			<-dialing
			if err != nil {
				ready <- err
				return
			}
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			settled := sync.OnceFunc(func() { ready <- nil })
			defer settled()
			if err := a.occupy(ctx, c, settled); err != nil && ctx.Err() == nil {
				t.Errorf("%s: %v", a.name, err)
			}
		})
	}
	leave = func() { cancel(); crowd.Wait() }
	t.Cleanup(leave)
	for range a.clients {
		if err := <-ready; err != nil {
			t.Fatalf("connect the crowd: %v", err)
		}
	}
	return leave
}

// sendSlowly sends a header, a byte every 100 ms.
func sendSlowly(ctx context.Context, c net.Conn, settled func()) error {
	header := "GET /v1/keys/small HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + strings.Repeat("x", 10_000)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := range header {
		if _, err := io.WriteString(c, header[i:i+1]); err != nil {
			return ignoreClosed(err)
		}
		settled()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// neverRead asks for the big value again and again, until the server accepts no further request for a second.
func neverRead(ctx context.Context, c net.Conn, settled func()) error {
	requests := []byte(strings.Repeat("GET /v1/keys/big HTTP/1.1\r\nHost: localhost\r\n\r\n", 100))
	for ctx.Err() == nil {
		if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			return ignoreClosed(err)
		}
		if _, err := c.Write(requests); errors.Is(err, os.ErrDeadlineExceeded) {
			break
		} else if err != nil {
			return ignoreClosed(err)
		}
	}
	settled()
	<-ctx.Done()
	return nil
}

// stayIdle makes a request, reads the answer and is silent from then on.
func stayIdle(ctx context.Context, c net.Conn, settled func()) error {
	dial := func(context.Context, string, string) (net.Conn, error) { return c, nil }
	client := http.Client{Transport: &http.Transport{DialContext: dial, DialTLSContext: dial, ForceAttemptHTTP2: true}}
	url := "http://localhost/v1/keys/small"
	if _, ok := c.(*tls.Conn); ok {
		url = "https" + strings.TrimPrefix(url, "http")
	}
	if err := get(&client, url); err != nil {
		return ignoreClosed(err)
	}
	settled()
	<-ctx.Done()
	return nil
}

// beginHandshake sends the start of a handshake, which is no HTTP either, and is silent from then on.
func beginHandshake(ctx context.Context, c net.Conn, settled func()) error {
	if _, err := io.WriteString(c, "\x16\x03\x01"); err != nil {
		return err
	}
	settled()
	<-ctx.Done()
	return nil
}

// ignoreClosed returns nil for the end of a connection: the server may end the connection of an abuser.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// put writes a value to every partition.
func put(t *testing.T, c *http.Client, url string, size int) {
	t.Helper()
	runnel.Eventually(t, time.Minute, "every partition has "+url, func() error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, bytes.NewReader(make([]byte, size)))
		if err != nil {
			return err
		}
		answer, err := c.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusCreated && answer.StatusCode != http.StatusNoContent {
			return fmt.Errorf("PUT: %s", answer.Status)
		}
		return nil
	})
}

// measure returns the 99th percentile of the latency of 4 ordinary clients, which send 500 reads each.
func measure(t *testing.T, c *http.Client, url string) time.Duration {
	t.Helper()
	const clients, requests = 4, 500
	took := make([][]time.Duration, clients)
	failures := make([]error, clients)
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() {
			for range requests {
				began := time.Now()
				if failures[i] = get(c, url+"/v1/keys/small"); failures[i] != nil {
					return
				}
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	running.Wait()
	if err := errors.Join(failures...); err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	return all[len(all)*99/100]
}

func get(c *http.Client, url string) error {
	answer, err := c.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return nil
}
