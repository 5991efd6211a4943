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
	// startTimeout bounds the making of a data directory and the start on it,
	// on a machine busy with other tests.
	startTimeout = 2 * time.Minute
	// findTimeout is what a shared server that runs already gets to answer.
	findTimeout = 20 * time.Second
	stopTimeout = time.Minute
)

// MariaDB returns the shared MariaDB server.
func MariaDB(t testing.TB) *Server { t.Helper(); return shared(t, mariaDB) }

// MySQL returns the shared MySQL server.
func MySQL(t testing.TB) *Server { t.Helper(); return shared(t, mySQL) }

// NewMariaDB starts a MariaDB server for this test alone, with more arguments
// for mariadbd ("--max-allowed-packet=1M"), and removes it when the test ends.
func NewMariaDB(t testing.TB, arguments ...string) *Server {
	t.Helper()
	return own(t, mariaDB, arguments)
}

// NewMySQL starts a MySQL server for this test alone, with more arguments for
// mysqld, and removes it when the test ends.
func NewMySQL(t testing.TB, arguments ...string) *Server {
	t.Helper()
	return own(t, mySQL, arguments)
}

// A Server is a running MariaDB or MySQL server. Its methods report failure to
// the test it was made for; they may be called from any goroutine of it.
type Server struct {
	t      testing.TB
	kind   kind
	port   int
	engine engine
	owned  bool // by this test: only then may it be stopped
}

// engine is what a server runs on: a container or a process.
type engine interface {
	start() error
	kill() error
	pause() error
	unpause() error
	// stop asks the server to shut down and returns when it has.
	stop(ctx context.Context) error
	// remove ends the server, whatever its state, and deletes its data.
	remove() error
	running() bool
	// logs returns the last lines the server wrote.
	logs() string
}

// Address returns the server's host and port. It never changes.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Stop shuts the server down in good order. Connections to it are refused from
// then on.
func (s *Server) Stop() {
	s.t.Helper()
	s.do("stop", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		return s.engine.stop(ctx)
	})
}

// Kill ends the server at once with SIGKILL, as a crash would: nothing that it
// had not yet given to the kernel is kept.
func (s *Server) Kill() { s.t.Helper(); s.do("kill", s.engine.kill) }

// Pause freezes the server: connections to it are made and hang.
func (s *Server) Pause() { s.t.Helper(); s.do("pause", s.engine.pause) }

// Unpause lets a paused server go on.
func (s *Server) Unpause() { s.t.Helper(); s.do("unpause", s.engine.unpause) }

// Start starts a stopped or killed server again, on the same port and data, and
// returns when it answers.
func (s *Server) Start() {
	s.t.Helper()
	s.do("start", func() error {
		if err := s.engine.start(); err != nil {
			return err
		}
		return s.wait(startTimeout)
	})
}

// do runs one operation on a server that the test owns.
func (s *Server) do(name string, operation func() error) {
	s.t.Helper()
	if !s.owned {
		panic("servers: " + name + " of a shared server; ask for one with New" + s.kind.name)
	}
	if err := operation(); err != nil {
		s.t.Errorf("%s %s at %s: %v", name, s.kind.name, s.Address(), err)
	}
}

// own starts a server for t and removes it when t ends.
func own(t testing.TB, k kind, arguments []string) *Server {
	t.Helper()
	h := hostOf(t, k)
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
	if err := s.wait(startTimeout); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	return s
}

// shared returns the machine's shared server, started if need be.
func shared(t testing.TB, k kind) *Server {
	t.Helper()
	h := hostOf(t, k)
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

// findOrStart returns the shared server when it is there and answers; any other
// is replaced, as nothing in it is worth keeping.
func findOrStart(h host, k kind) (*Server, error) {
	name := sharedName(k, h)
	if s := h.find(k, name); s != nil && s.wait(findTimeout) == nil {
		return s, nil
	}
	if err := h.clear(name); err != nil {
		return nil, err
	}
	s, err := h.start(k, name, nil)
	if err != nil {
		return nil, err
	}
	return s, s.wait(startTimeout)
}

// hostOf returns where servers of a kind run, or ends the test.
func hostOf(t testing.TB, k kind) host {
	t.Helper()
	if os.Getenv("RUNNEL_TEST_SHORT") == "1" {
		t.Skipf("SKIPPED, it needs a %s server and RUNNEL_TEST_SHORT=1: run make test", k.name)
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

// wait returns when the server answers, or with its log when it will not.
func (s *Server) wait(timeout time.Duration) error {
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
			return err // and it will not change its mind
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
