package servers

import (
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"strings"
	"testing"
)

// serveScript runs a server, in a container or as a process.
//
//go:embed images/serve.sh
var serveScript string

// host starts servers: in containers, or as processes.
type host interface {
	// id identifies the version of the server: the image or the program.
	id() string
	// start starts a server under the name. The server need not answer yet.
	start(k kind, name string, arguments []string) (*Server, error)
	// find returns the running server of the name, or nil.
	find(k kind, name string) *Server
	// clear removes the server of the name and the servers of crashed runs.
	clear(name string) error
}

// errNotHere says that the machine has neither a Docker engine nor the server's program.
var errNotHere = errors.New("not available on this machine")

// findHost returns the Docker engine, else this machine, else errNotHere.
func findHost(t testing.TB, k kind) (host, error) {
	engine, dockerErr := newDocker(t, k)
	if dockerErr == nil {
		return engine, nil
	}
	if errors.Is(dockerErr, errNoEngine) {
		machine, err := newMachine(k)
		if err == nil {
			return machine, nil
		}
		return nil, fmt.Errorf("%w: %w, and %w.\nTo run the test start a Docker engine, or %s", errNotHere, dockerErr, err, k.install)
	}
	return nil, dockerErr
}

// sharedName returns the name of the shared server. The name contains a hash of the
// server's version, script and arguments, so that a change of these starts a new server.
func sharedName(k kind, h host) string {
	sum := sha256.Sum256([]byte(h.id() + serveScript + strings.Join(k.flags(nil), " ")))
	return fmt.Sprintf("runnel-test-%s-shared-%x", k.label, sum[:4])
}

func ownName(k kind) string {
	return fmt.Sprintf("runnel-test-%s-own-%s", k.label, strings.ToLower(rand.Text()[:12]))
}

// freePort returns a free port below 32768, where Linux's range for outgoing
// connections begins. An outgoing connection could otherwise occupy the port of a
// server that is down.
func freePort() (int, error) {
	for range 100 {
		port := 20000 + mathrand.IntN(12000)
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port between 20000 and 32000")
}
