package test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
)

// TestAThousandIdleReadersAreSmall holds a thousand streams of events open, and
// has the server's memory grow by less than 64 MiB for all of them together.
func TestAThousandIdleReadersAreSmall(t *testing.T) {
	const readers, most = 1000, 64 << 10 // KiB
	p := runnel.Serve(t, "--data", t.TempDir())
	address := strings.TrimPrefix(p.URL, "http://")
	connect := func() (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(2 * time.Minute))
		fmt.Fprintf(conn, "GET /v1/changes?since=now HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
		return conn, bufio.NewReaderSize(conn, 512)
	}
	awaitLine := func(r *bufio.Reader, prefix string) {
		t.Helper()
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("no %q: %v", prefix, err)
			}
			if strings.HasPrefix(line, prefix) {
				return
			}
		}
	}
	_, first := connect()
	awaitLine(first, "id: ")
	before := residentKiB(t, p.PID())
	streams := make([]*bufio.Reader, readers)
	for i := range streams {
		_, streams[i] = connect()
	}
	for _, r := range streams {
		awaitLine(r, "id: ")
	}
	grown := residentKiB(t, p.PID()) - before
	t.Logf("%d readers: %d MiB more than %d MiB, %d KiB each", readers, grown>>10, before>>10, grown/readers)
	if grown > most && !runnel.RaceEnabled {
		t.Errorf("%d idle readers cost %d MiB, more than %d", readers, grown>>10, most>>10)
	}
	if _, err := runnel.Run(t, "put", "--server", p.URL, "k", "v"); err != nil {
		t.Fatal(err)
	}
	for _, r := range streams {
		awaitLine(r, `data: {"key":"k"`)
	}
	after := residentKiB(t, p.PID()) - before
	t.Logf("after a change that all were given: %d MiB", after>>10)
	if after > most && !runnel.RaceEnabled {
		t.Errorf("%d readers cost %d MiB after a change, more than %d", readers, after>>10, most>>10)
	}
}

// residentKiB is the resident memory of a process.
func residentKiB(t *testing.T, pid int) (kib int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fmt.Sscan(rest, &kib)
		}
	}
	return kib
}
