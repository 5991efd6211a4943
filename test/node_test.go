package test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the runnel that the tests run: built once for each test process,
// with the race detector when the tests have it.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "runnel-test-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	path := filepath.Join(dir, "runnel")
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "../cmd/runnel")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

var binaryDir string // where binary has built, "" while it has not

func TestMain(m *testing.M) {
	code := m.Run()
	if binaryDir != "" {
		os.RemoveAll(binaryDir)
	}
	os.Exit(code)
}

// runnel runs one command to its end and returns what it printed.
func runnel(t testing.TB, args ...string) (stdout string, err error) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("runnel %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), err
}

// process is a long-running runnel: serve or sync.
type process struct {
	url    string // of a serve
	cmd    *exec.Cmd
	log    *lockedBuffer
	exited chan struct{}
	err    error // of the exit, once exited is closed
}

// start runs a long-running command, killed when the test ends.
func start(t testing.TB, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return startProgram(t, path, args...)
}

// startProgram is start with a runnel that was built otherwise.
func startProgram(t testing.TB, path string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), log: &lockedBuffer{}, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1 atexit_sleep_ms=0", "RUNNEL_TEST_CLOCK_STEP="+path+".step")
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("runnel %s logged:\n%s", strings.Join(args, " "), p.log.tail())
			p.dump(t)
		}
		p.kill()
		if strings.Contains(p.log.String(), "DATA RACE") {
			t.Errorf("runnel %s has a data race:\n%s", strings.Join(args, " "), p.log.tail())
		}
	})
	return p
}

// serve starts "runnel serve" on a free port and waits until it takes writes.
func serve(t testing.TB, args ...string) *process {
	t.Helper()
	p := serveUnready(t, args...)
	p.await(t, "/readyz?write")
	return p
}

// serveUnready starts "runnel serve" on a free port.
func serveUnready(t testing.TB, args ...string) *process {
	t.Helper()
	address := freeAddress(t)
	p := start(t, append([]string{"serve", "--listen", address}, args...)...)
	p.url = "http://" + address
	return p
}

// await waits until the path answers 200.
func (p *process) await(t testing.TB, path string) {
	t.Helper()
	eventually(t, time.Minute, path+" of "+p.url, func() error {
		select {
		case <-p.exited:
			t.Fatalf("runnel ended: %v\n%s", p.err, p.log.tail())
		default:
		}
		resp, err := http.Get(p.url + path)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(resp.Body)
			return fmt.Errorf("%s: %s", resp.Status, body)
		}
		return nil
	})
}

// kill ends the process as a power cut would: with SIGKILL.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

// dump logs what the goroutines of a process that still runs are at, and ends it:
// a test that waits in vain would not tell.
func (p *process) dump(t testing.TB) {
	before := len(p.log.String())
	if p.cmd.Process.Signal(syscall.SIGQUIT) != nil {
		return // it has ended
	}
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
	}
	stacks := p.log.String()[before:]
	t.Logf("its goroutines:\n%s", stacks[:min(len(stacks), 64<<10)])
}

// stop ends the process in good order and returns how it exited.
func (p *process) stop(t testing.TB) error {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
		return p.err
	case <-time.After(time.Minute):
		t.Fatalf("runnel does not stop\n%s", p.log.tail())
		return nil
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// eventually tries until there is no error, or fails the test with the last one.
func eventually(t testing.TB, within time.Duration, what string, try func() error) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("%s: still not after %v: %v", what, within, err)
		case <-tick.C:
		}
	}
}

// writeConfig writes a configuration of the given partitions' URLs, named
// partition-0, partition-1, …, preceded by other lines of TOML.
func writeConfig(t testing.TB, preamble string, urls ...string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(preamble + "\n")
	for i, url := range urls {
		fmt.Fprintf(&b, "[[partition]]\nname = \"partition-%d\"\nurl = %q\n", i, url)
	}
	path := filepath.Join(t.TempDir(), "runnel.toml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// lockedBuffer keeps what a process prints.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *lockedBuffer) tail() string {
	s := b.String()
	return s[max(0, len(s)-8<<10):]
}
