package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"
)

const (
	// startTimeout bounds the creation of a data directory and the server's start
	// there, on a machine busy with tests.
	startTimeout = 2 * time.Minute
	// findTimeout bounds the wait for an answer of a running shared server.
	findTimeout = 20 * time.Second
	stopTimeout = time.Minute
)

// MariaDB returns the shared MariaDB server and starts the server if necessary.
func MariaDB(t testing.TB) *Server { t.Helper(); return findShared(t, mariaDB) }

// MySQL returns the shared MySQL server and starts the server if necessary.
func MySQL(t testing.TB) *Server { t.Helper(); return findShared(t, mySQL) }

// NewMariaDB starts a MariaDB server for this test alone, with additional arguments
// of mariadbd ("--max-allowed-packet=1M"), and removes the server when the test ends.
func NewMariaDB(t testing.TB, arguments ...string) *Server {
	t.Helper()
	return startOwn(t, mariaDB, arguments)
}

// NewMySQL starts a MySQL server for this test alone, with additional arguments of
// mysqld, and removes the server when the test ends.
func NewMySQL(t testing.TB, arguments ...string) *Server {
	t.Helper()
	return startOwn(t, mySQL, arguments)
}

// A Server is a MariaDB or MySQL server. Its methods report failures to the test
// that asked for the server. Any goroutine of the test may call the methods.
type Server struct {
	t      testing.TB
	kind   kind
	port   int
	engine engine
	owned  bool // by this test, which may stop only such a server
}

// engine controls the container or the process of a server.
type engine interface {
	start() error
	kill() error
	pause() error
	unpause() error
	// stop asks the server to shut down and waits until the server has ended.
	stop(ctx context.Context) error
	// remove ends the server, in any state, and deletes its data.
	remove() error
	running() bool
	// logs returns the last lines of the server's log.
	logs() string
}

// Address returns the server's host and port, which never change.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Stop shuts the server down cleanly. From then on connections are refused.
func (s *Server) Stop() {
	s.t.Helper()
	s.control("stop", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		return s.engine.stop(ctx)
	})
}

// Kill ends the server at once with SIGKILL, as a crash would. Data that the server
// has not yet written to the kernel is lost.
func (s *Server) Kill() { s.t.Helper(); s.control("kill", s.engine.kill) }

// Pause freezes the server. Clients can still connect, but get no answer.
func (s *Server) Pause() { s.t.Helper(); s.control("pause", s.engine.pause) }

// Unpause resumes a paused server.
func (s *Server) Unpause() { s.t.Helper(); s.control("unpause", s.engine.unpause) }

// Start restarts a stopped or killed server on the same port and data, and waits
// until the server answers.
func (s *Server) Start() {
	s.t.Helper()
	s.control("start", func() error {
		if err := s.engine.start(); err != nil {
			return err
		}
		return s.awaitReady(startTimeout)
	})
}

// control runs an operation on a server that the test owns.
func (s *Server) control(name string, operation func() error) {
	s.t.Helper()
	if !s.owned {
		panic("servers: " + name + " of a shared server; ask for one with New" + s.kind.name)
	}
	if err := operation(); err != nil {
		s.t.Errorf("%s %s at %s: %v", name, s.kind.name, s.Address(), err)
	}
}

// startOwn starts a server for t and removes the server when t ends.
func startOwn(t testing.TB, k kind, arguments []string) *Server {
	t.Helper()
	h := requireHost(t, k)
	name := ownName(k)
	if err := h.clear(name); err != nil {
		t.Fatalf("clear up before %s: %v", name, err)
	}
	s, err := h.start(k, name, arguments)
	if err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	s.t, s.owned = t, true
	t.Cleanup(func() {
		if err := s.engine.remove(); err != nil {
			t.Errorf("remove %s: %v", name, err)
		}
	})
	if err := s.awaitReady(startTimeout); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	return s
}

// findShared returns the machine's shared server and starts the server if necessary.
func findShared(t testing.TB, k kind) *Server {
	t.Helper()
	h := requireHost(t, k)
	unlock, err := lock(k.label + "-shared")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	s, err := findOrStart(h, k)
	if err != nil {
		t.Fatalf("start the shared %s: %v", k.name, err)
	}
	s.t = t
	if err := s.dropStale(); err != nil {
		t.Fatalf("drop stale databases of the shared %s: %v", k.name, err)
	}
	return s
}

// findOrStart returns the shared server if the server answers. A shared server that
// does not answer is replaced, because its data are not worth keeping.
func findOrStart(h host, k kind) (*Server, error) {
	name := sharedName(k, h)
	if s := h.find(k, name); s != nil && s.awaitReady(findTimeout) == nil {
		return s, nil
	}
	if err := h.clear(name); err != nil {
		return nil, err
	}
	s, err := h.start(k, name, nil)
	if err != nil {
		return nil, err
	}
	return s, s.awaitReady(startTimeout)
}

// requireHost returns the host for servers of a kind, or ends the test.
func requireHost(t testing.TB, k kind) host {
	t.Helper()
	if os.Getenv("RUNNEL_TEST_SHORT") == "1" {
		t.Skipf("SKIPPED, RUNNEL_TEST_SHORT=1 and the test needs a %s server: run make test", k.name)
	}
	h, err := findHost(t, k)
	if errors.Is(err, errNotHere) && os.Getenv("RUNNEL_TEST_REQUIRE_SERVERS") != "1" {
		t.Skipf("SKIPPED, there is no %s server to test with: %v", k.name, err)
	}
	if err != nil {
		t.Fatalf("no %s server to test with: %v", k.name, err)
	}
	return h
}

// awaitReady waits until the server answers. The error contains the server's log.
func (s *Server) awaitReady(timeout time.Duration) error {
	db := open(s.dsn(""))
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		err := db.PingContext(ctx)
		switch {
		case err == nil:
			return nil
		case numberOf(err) == accessDenied:
			return err // and would stay the same
		case !s.engine.running():
			return fmt.Errorf("the server ended:\n%s", s.engine.logs())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("no answer within %s: %w\n%s", timeout, err, s.engine.logs())
		}
	}
}
