package terraform

import (
	"os"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/test/runnel"
)

func TestMain(m *testing.M) { os.Exit(runnel.Main(m)) }

// server is a running server with keys for the states below prod/ and dev/.
type server struct {
	config    string
	url       string
	prod, dev string // API keys
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{config: runnel.WriteConfig(t, "[terraform]\nkeep = 3", runnel.ThreeFiles(t)...)}
	newKey := func(args ...string) string {
		out, err := runnel.Run(t, append([]string{"key", "create", "--config", s.config}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	newKey("admin", "--role", "admin")
	s.prod, s.dev = newKey("prod", "--write", "prod/"), newKey("dev", "--write", "dev/")
	s.url = runnel.Serve(t, "--config", s.config).URL
	return s
}

// run runs a command of runnel with the key of prod/, and returns its output.
func (s *server) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := runnel.Run(t, append(args, "--server", s.url, "--key", s.prod)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
