package runnel

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program is the package of the binary.
const program = "github.com/runnelkv/runnel/cmd/runnel"

// Binary returns the path of the runnel binary, which the first call builds, with the race detector if the tests have it.
var Binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "runnel-test-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	path := filepath.Join(dir, "runnel")
	if RaceEnabled {
		return path, Build(path, nil, "-race")
	}
	return path, Build(path, nil)
})

// Build builds a runnel binary with additional environment variables and flags of "go build".
func Build(path string, env []string, flags ...string) error {
	cmd := exec.Command("go", slices.Concat([]string{"build", "-o", path}, flags, []string{program})...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

var binaryDir string // of the binary, "" before the build

// Main runs the tests of a package, removes the binary and returns the exit status.
func Main(m *testing.M) int {
	code := m.Run()
	if binaryDir != "" {
		os.RemoveAll(binaryDir)
	}
	return code
}

// Run runs a command to the end, for five minutes at most. The error of a failed command contains its standard
// error.
func Run(t testing.TB, args ...string) (stdout string, err error) {
	t.Helper()
	path, err := Binary()
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

// Process is a long-running runnel: "runnel serve" or "runnel sync".
type Process struct {
	URL    string // of a serve, "http://127.0.0.1:PORT"
	Log    *Output
	Exited chan struct{} // closed when the process has ended
	Err    error         // of the exit, valid once Exited is closed

	cmd *exec.Cmd
}

// Start starts a long-running command and kills the process when the test ends.
func Start(t testing.TB, args ...string) *Process {
	t.Helper()
	path, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	return StartProgram(t, path, args...)
}

// StartProgram is Start with the binary at path. The binary may read the step of the clock from path + ".step".
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

// Serve starts "runnel serve" on a free port and waits until the server takes writes.
func Serve(t testing.TB, args ...string) *Process {
	t.Helper()
	p := ServeUnready(t, args...)
	p.AwaitOK(t, "/readyz?write")
	return p
}

// ServeUnready starts "runnel serve" on a free port and does not wait.
func ServeUnready(t testing.TB, args ...string) *Process {
	t.Helper()
	address := FreeAddress(t)
	p := Start(t, append([]string{"serve", "--listen", address}, args...)...)
	p.URL = "http://" + address
	return p
}

// AwaitOK waits until the path of a serve answers 200, for a minute at most.
func (p *Process) AwaitOK(t testing.TB, path string) {
	t.Helper()
	Eventually(t, time.Minute, "200 from "+p.URL+path, func() error {
		select {
		case <-p.Exited:
			t.Fatalf("runnel ended: %v\n%s", p.Err, p.Log.Tail())
		default:
		}
		return getOK(p.URL + path)
	})
}

// AwaitOK waits until the URL answers 200, for a minute at most.
func AwaitOK(t testing.TB, url string) {
	t.Helper()
	Eventually(t, time.Minute, "200 from "+url, func() error { return getOK(url) })
}

// getOK returns the answer as an error unless the status is 200.
func getOK(url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	return nil
}

// Signal sends a signal to the process. The process may have ended.
func (p *Process) Signal(s os.Signal) { p.cmd.Process.Signal(s) }

// PID returns the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the process with SIGKILL, as a power cut would.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.Exited
}

// dump ends a running process with SIGQUIT and logs its goroutines, which show why a test waited in vain.
func (p *Process) dump(t testing.TB) {
	before := len(p.Log.String())
	if p.cmd.Process.Signal(syscall.SIGQUIT) != nil {
		return // the process has ended
	}
	select {
	case <-p.Exited:
	case <-time.After(5 * time.Second):
	}
	stacks := p.Log.String()[before:]
	t.Logf("its goroutines:\n%s", stacks[:min(len(stacks), 64<<10)])
}

// Stop ends the process with SIGTERM and returns the error of the exit. The test fails if the process takes a
// minute.
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
