package terraform

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// requireTofu returns the path of OpenTofu, which RUNNEL_TOFU names or PATH contains.
func requireTofu(t *testing.T) string {
	t.Helper()
	name := os.Getenv("RUNNEL_TOFU")
	if name == "" {
		name = "tofu"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("SKIPPED, NOTHING IS KNOWN OF OPENTOFU: %v", err)
	}
	return path
}

// project is a directory with a configuration of OpenTofu.
type project struct {
	t    *testing.T
	tofu string
	dir  string
	env  []string
}

// newProject writes a configuration with the backend of docs/terraform.md for the address of a state, and the resources. Resources of the type
// terraform_data need no provider.
func newProject(t *testing.T, tofu, address, key, resources string) *project {
	t.Helper()
	page, err := os.ReadFile("../../docs/terraform.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile(`(?m)^    terraform \{\n(?:    .*\n)+`).FindString(string(page))
	const documented = "https://runnel.example.org/v1/terraform/prod/network"
	if strings.Count(block, documented) != 3 {
		t.Fatalf("docs/terraform.md has no block with three addresses: %q", block)
	}
	p := &project{t: t, tofu: tofu, dir: t.TempDir()}
	p.env = append(os.Environ(), "TF_HTTP_PASSWORD="+key, "TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1", "HOME="+p.dir, "TF_CLI_CONFIG_FILE="+filepath.Join(p.dir, "tofurc"))
	p.write("tofurc", "")
	p.write("backend.tf", strings.ReplaceAll(block, documented, address))
	p.write("main.tf", resources)
	return p
}

func (p *project) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// command returns a command of OpenTofu, of two minutes at most.
func (p *project) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	p.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, p.tofu, args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// run runs a command that must succeed, and returns its output.
func (p *project) run(args ...string) string {
	p.t.Helper()
	out, err := p.command(args...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("tofu %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// fail runs a command that must fail with an output that contains text, and returns the output.
func (p *project) fail(text string, args ...string) string {
	p.t.Helper()
	out, err := p.command(args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), text) {
		p.t.Fatalf("tofu %s: %v, want %q in\n%s", strings.Join(args, " "), err, text, out)
	}
	return string(out)
}

// waiting is a resource that OpenTofu creates until the file "go" exists; the file "began" says that the creation has begun.
const waiting = `
resource "terraform_data" "wait" {
  provisioner "local-exec" {
    command = "touch began; n=0; while [ ! -e go ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done"
  }
}
`

// TestOpenTofuKeepsItsState runs OpenTofu with its backend "http": init, plan, apply, a second apply that is refused while the first holds
// the lock, force-unlock, two workspaces, and a state of 5 MB.
func TestOpenTofuKeepsItsState(t *testing.T) {
	tofu := requireTofu(t)
	s := newServer(t)
	address := s.url + "/v1/terraform/prod/network"
	p := newProject(t, tofu, address, s.prod, "resource \"terraform_data\" \"a\" {\n  input = \"first\"\n}\n")
	p.run("init")
	p.run("plan")
	p.run("apply", "-auto-approve")
	if out := p.run("state", "list"); strings.TrimSpace(out) != "terraform_data.a" {
		t.Errorf("tofu state list: %s", out)
	}
	if out := p.run("plan", "-detailed-exitcode"); !strings.Contains(out, "No changes") {
		t.Errorf("a second plan: %s", out)
	}
	p.checkLock(s)
	p.checkWorkspaces(s, address)
	p.checkLarge(s)
	wrong := newProject(t, tofu, address, s.dev, "")
	wrong.fail("invalid auth", "init")
	p.checkMigration(newProject(t, tofu, address, s.prod, "resource \"terraform_data\" \"b\" {}\n"))
}

// checkMigration moves a local state, of a lineage of its own, to the address: over a state that stands, which is refused, and over a
// destroyed state.
func (p *project) checkMigration(local *project) {
	backend := filepath.Join(local.dir, "backend.tf")
	if err := os.Rename(backend, backend+".off"); err != nil {
		p.t.Fatal(err)
	}
	local.run("init")
	local.run("apply", "-auto-approve")
	if err := os.Rename(backend+".off", backend); err != nil {
		p.t.Fatal(err)
	}
	local.fail("HTTP error: 409", "init", "-migrate-state", "-force-copy")
	p.run("destroy", "-auto-approve")
	local.run("init", "-migrate-state", "-force-copy")
	if out := local.run("state", "list"); strings.TrimSpace(out) != "terraform_data.b" {
		p.t.Errorf("the migrated state: %s", out)
	}
}

// checkLock holds the lock by an apply that waits, and ends the lock by force-unlock.
func (p *project) checkLock(s *server) {
	t := p.t
	p.write("wait.tf", waiting)
	first := p.command("apply", "-auto-approve")
	var out strings.Builder
	first.Stdout, first.Stderr = &out, &out
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- first.Wait() }()
	deadline := time.After(time.Minute)
	for began := false; !began; {
		select {
		case err := <-ended:
			t.Fatalf("the first apply ended: %v\n%s", err, out.String())
		case <-deadline:
			t.Fatal("the first apply does not begin")
		case <-time.After(20 * time.Millisecond):
			_, err := os.Stat(filepath.Join(p.dir, "began"))
			began = err == nil
		}
	}
	refusal := p.fail("Error acquiring the state lock", "apply", "-auto-approve")
	id := regexp.MustCompile(`ID: +([0-9a-f-]{36})`).FindStringSubmatch(refusal)
	if id == nil {
		t.Fatalf("the refusal names no ID:\n%s", refusal)
	}
	p.fail("Failed to unlock state", "force-unlock", "-force", "00000000-0000-0000-0000-000000000000")
	p.run("force-unlock", "-force", id[1])
	p.write("go", "")
	if err := <-ended; err == nil || !strings.Contains(out.String(), "412") && !strings.Contains(out.String(), "423") {
		t.Errorf("the apply whose lock was ended: %v\n%s", err, out.String())
	}
	p.run("apply", "-auto-approve")
	if locks := s.run(t, "lock", "list", "prod/"); locks != "" {
		t.Errorf("locks are left: %s", locks)
	}
}

// checkWorkspaces uses a second address for a second workspace.
func (p *project) checkWorkspaces(s *server, address string) {
	t := p.t
	p.fail("workspaces not supported", "workspace", "new", "eu")
	eu := newProject(t, p.tofu, address+"/eu", s.prod, "resource \"terraform_data\" \"only_eu\" {}\n")
	eu.run("init")
	eu.run("apply", "-auto-approve")
	if out := eu.run("state", "list"); strings.TrimSpace(out) != "terraform_data.only_eu" {
		t.Errorf("the second workspace: %s", out)
	}
	if out := p.run("state", "list"); strings.Contains(out, "only_eu") || !strings.Contains(out, "terraform_data.a") {
		t.Errorf("the first workspace: %s", out)
	}
}

// checkLarge stores a state of 5 MB, and goes back to the version before.
func (p *project) checkLarge(s *server) {
	t := p.t
	p.write("large.txt", strings.Repeat("0123456789abcdef", 320_000))
	p.write("large.tf", "resource \"terraform_data\" \"large\" {\n  input = file(\"large.txt\")\n}\n")
	p.run("apply", "-auto-approve")
	large := p.run("state", "pull")
	if len(large) < 5_000_000 {
		t.Errorf("the state has %d bytes", len(large))
	}
	var state struct{ Serial uint64 }
	if err := json.Unmarshal([]byte(large), &state); err != nil || state.Serial == 0 {
		t.Errorf("%v, serial %d", err, state.Serial)
	}
	lines := strings.Split(strings.TrimSpace(s.run(t, "terraform", "history", "prod/network")), "\n")
	if len(lines) != 3 {
		t.Fatalf("the history has %d versions", len(lines))
	}
	version, _, _ := strings.Cut(lines[2], "\t")
	old := s.run(t, "terraform", "history", "prod/network", version)
	if strings.Contains(old, "only_eu") || !strings.Contains(old, "terraform_data") {
		t.Errorf("an old version: %.1000s", old)
	}
}
