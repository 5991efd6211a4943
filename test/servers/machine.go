package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machineHost runs servers as processes. Each has a directory under os.TempDir,
// named like the server, with data, log, and files of the port and the pid.
type machineHost struct{ daemon string }

func newMachine(k kind) (*machineHost, error) {
	path, err := exec.LookPath(k.daemon)
	for _, directory := range []string{"/usr/sbin", "/usr/libexec"} {
		if err != nil { // an ordinary user's PATH lacks these directories
			path, err = exec.LookPath(filepath.Join(directory, k.daemon))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("no %s is installed", k.daemon)
	}
	version, err := exec.Command(path, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", path, err)
	}
	if isMariaDB := bytes.Contains(version, []byte("MariaDB")); isMariaDB != (k.name == mariaDB.name) {
		return nil, fmt.Errorf("%s is not %s but %s", path, k.name, bytes.TrimSpace(version))
	}
	return &machineHost{daemon: string(version)}, nil
}

func (h *machineHost) id() string { return h.daemon }

func (h *machineHost) start(k kind, name string, arguments []string) (*Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p := &process{directory: directoryOf(name)}
	if err := os.Mkdir(p.directory, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(p.path("port"), []byte(strconv.Itoa(port)), 0o600); err != nil {
		return nil, err
	}
	p.command = append([]string{"-c", serveScript, "serve.sh", k.daemon, p.directory,
		"--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", port)}, k.flags(arguments)...)
	return &Server{kind: k, port: port, engine: p}, p.start()
}

func (h *machineHost) find(k kind, name string) *Server {
	p := &process{directory: directoryOf(name)}
	text, err := os.ReadFile(p.path("port"))
	if err != nil || !p.running() {
		return nil
	}
	port, err := strconv.Atoi(string(text))
	if err != nil {
		return nil
	}
	return &Server{kind: k, port: port, engine: p}
}

func (h *machineHost) clear(name string) error {
	directories, err := filepath.Glob(directoryOf("runnel-test-*-own-*"))
	if err != nil {
		return err
	}
	errs := []error{(&process{directory: directoryOf(name)}).remove()}
	for _, directory := range directories {
		info, err := os.Stat(filepath.Join(directory, "port"))
		if err == nil && time.Since(info.ModTime()) > ownLifetime {
			errs = append(errs, (&process{directory: directory}).remove())
		}
	}
	return errors.Join(errs...)
}

func directoryOf(name string) string { return filepath.Join(os.TempDir(), name) }

// process is the engine of a server without Docker. All state is in the server's
// directory, so that a process also controls a server that another test binary started.
type process struct {
	directory string
	command   []string // arguments of sh, for start
}

func (p *process) path(file string) string { return filepath.Join(p.directory, file) }

func (p *process) pause() error   { return p.signal(syscall.SIGSTOP) }
func (p *process) unpause() error { return p.signal(syscall.SIGCONT) }

// start gives the server a session and a log of its own, because a shared server
// outlives this process, and go test waits for every process that holds its output.
func (p *process) start() error {
	log, err := os.OpenFile(p.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	script := exec.Command("sh", p.command...)
	script.Env = append(os.Environ(), "ROOT_PASSWORD="+rootPassword)
	script.Stdout, script.Stderr = log, log
	script.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := script.Start(); err != nil {
		return err
	}
	go script.Wait() // returns when the server ends; a zombie would count as running
	return os.WriteFile(p.path("started"), []byte(strconv.Itoa(script.Process.Pid)), 0o600)
}

func (p *process) stop(ctx context.Context) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.awaitExit(ctx)
}

func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return p.awaitExit(ctx)
}

func (p *process) remove() error {
	if p.running() {
		if err := p.kill(); err != nil {
			return err
		}
	}
	return os.RemoveAll(p.directory)
}

// awaitExit waits until the process has ended.
func (p *process) awaitExit(ctx context.Context) error {
	for tick := time.NewTicker(20 * time.Millisecond); p.running(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (p *process) signal(signal syscall.Signal) error {
	pid, err := p.pid()
	if err != nil {
		return err
	}
	return syscall.Kill(pid, signal)
}

// running reports whether the server's process is alive. A process that got the
// same pid later does not have the directory among its arguments.
func (p *process) running() bool {
	pid, err := p.pid()
	if err != nil {
		return false
	}
	arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && bytes.Contains(arguments, []byte(p.directory))
}

// pid returns the pid of the script, which the server keeps: the script executes it.
func (p *process) pid() (int, error) {
	text, err := os.ReadFile(p.path("started"))
	if err != nil {
		return 0, fmt.Errorf("no server was started in %s: %w", p.directory, err)
	}
	return strconv.Atoi(string(text))
}

func (p *process) logs() string {
	text, err := os.ReadFile(p.path("log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(text), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}
