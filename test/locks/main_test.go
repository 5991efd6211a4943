package locks

import (
	"os"
	"testing"

	"github.com/runnelkv/runnel/test/runnel"
)

// TestMain runs the tests, or, in a process that a test has started, clients.
func TestMain(m *testing.M) {
	if text := os.Getenv(clientsVariable); text != "" {
		os.Exit(runClients(text))
	}
	os.Exit(runnel.Main(m))
}
