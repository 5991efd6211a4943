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

// Binary is the runnel that the tests run: built once for each test process,
// with the race detector when the tests have it.
var Binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "runnel-test-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	path := filepath.Join(dir, "runnel")
	args := []string{"build", "-o", path}
	if RaceEnabled {
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

// Run runs one command to its end and returns what it printed.
func Run(t testing.TB, args ...string) (stdout string, err error) {
	t.Helper()
	path, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	Cmd := exec.CommandContext(ctx, path, args...)
	Cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	var out, errs bytes.Buffer
	Cmd.Stdout, Cmd.Stderr = &out, &errs
	if err = Cmd.Run(); err != nil {
		err = fmt.Errorf("runnel %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), err
}

// Process is a long-running runnel: serve or sync.
type Process struct {
	URL    string // of a serve
	cmd    *exec.Cmd
	Log    *Output
	Exited chan struct{}
	Err    error // of the exit, once exited is closed
}

// Start runs a long-running command, killed when the test ends.
func Start(t testing.TB, args ...string) *Process {
	t.Helper()
	path, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	return StartProgram(t, path, args...)
}

// StartProgram is start with a runnel that was built otherwise.
func StartProgram(t testing.TB, path string, args ...string) *Process {
	t.Helper()
	p := &Process{cmd: exec.Command(path, args...), Log: &Output{}, Exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.Log, p.Log
	p.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1 atexit_sleep_ms=0", "RUNNEL_TEST_CLOCK_STEP="+path+".step")
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.Err = p.cmd.Wait(); close(p.Exited) }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("runnel %s logged:\n%s", strings.Join(args, " "), p.Log.Tail())
			p.dump(t)
		}
		p.Kill()
		if strings.Contains(p.Log.String(), "DATA RACE") {
			t.Errorf("runnel %s has a data race:\n%s", strings.Join(args, " "), p.Log.Tail())
		}
	})
	return p
}

// Serve starts "runnel Serve" on a free port and waits until it takes writes.
func Serve(t testing.TB, args ...string) *Process {
	t.Helper()
	p := ServeUnready(t, args...)
	p.AwaitOK(t, "/readyz?write")
	return p
}

// ServeUnready starts "runnel serve" on a free port.
func ServeUnready(t testing.TB, args ...string) *Process {
	t.Helper()
	address := FreeAddress(t)
	p := Start(t, append([]string{"serve", "--listen", address}, args...)...)
	p.URL = "http://" + address
	return p
}

// AwaitOK waits until the path answers 200.
func (p *Process) AwaitOK(t testing.TB, path string) {
	t.Helper()
	Eventually(t, time.Minute, path+" of "+p.URL, func() error {
		select {
		case <-p.Exited:
			t.Fatalf("runnel ended: %v\n%s", p.Err, p.Log.Tail())
		default:
		}
		resp, err := http.Get(p.URL + path)
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

// Kill ends the process as a power cut would: with SIGKILL.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.Exited
}

// dump logs what the goroutines of a process that still runs are at, and ends it:
// a test that waits in vain would not tell.
func (p *Process) dump(t testing.TB) {
	before := len(p.Log.String())
	if p.cmd.Process.Signal(syscall.SIGQUIT) != nil {
		return // it has ended
	}
	select {
	case <-p.Exited:
	case <-time.After(5 * time.Second):
	}
	stacks := p.Log.String()[before:]
	t.Logf("its goroutines:\n%s", stacks[:min(len(stacks), 64<<10)])
}

// Stop ends the process in good order and returns how it exited.
func (p *Process) Stop(t testing.TB) error {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.Exited:
		return p.Err
	case <-time.After(time.Minute):
		t.Fatalf("runnel does not stop\n%s", p.Log.Tail())
		return nil
	}
}

func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Eventually tries until there is no error, or fails the test with the last one.
func Eventually(t testing.TB, within time.Duration, what string, try func() error) {
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

// WriteConfig writes a configuration of the given partitions' URLs, named
// partition-0, partition-1, …, preceded by other lines of TOML.
func WriteConfig(t testing.TB, preamble string, urls ...string) string {
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

// Output keeps what a process prints.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *Output) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *Output) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *Output) Tail() string {
	s := b.String()
	return s[max(0, len(s)-8<<10):]
}
