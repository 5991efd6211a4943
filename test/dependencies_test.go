package test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/test/runnel"
)

// TestNoticesNameEveryModule compares the file of notices with the modules in the binary.
func TestNoticesNameEveryModule(t *testing.T) {
	notices, err := os.ReadFile("../docs/NOTICES.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range listOf(t, "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "./cmd/runnel") {
		if !strings.Contains(string(notices), "\n"+module+"\n") {
			t.Errorf("docs/NOTICES.txt lacks %s: run make notices", module)
		}
	}
}

// testTools are modules and packages that only tests may use.
var testTools = []string{"testing", "docker", "moby", "opencontainers", "kin-openapi", "porcupine", "rapid", "go-cmp", "runnel/test"}

func TestBinaryHoldsNoToolsOfTests(t *testing.T) {
	if found := toolsAmong(listOf(t, "-deps", "./cmd/runnel")); len(found) > 0 {
		t.Errorf("the binary holds %v", found)
	}
	if found := toolsAmong(listOf(t, "-deps", "./test/servers")); len(found) < 10 {
		t.Errorf("the check finds %v in a package of tests", found)
	}
}

func toolsAmong(packages []string) (found []string) {
	for _, name := range packages {
		if slices.ContainsFunc(testTools, func(tool string) bool { return strings.Contains(name, tool) }) {
			found = append(found, name)
		}
	}
	return found
}

// listOf returns the lines of "go list".
func listOf(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return slices.DeleteFunc(strings.Split(string(out), "\n"), func(line string) bool { return line == "" })
}

// vulnerable is a database with a vulnerability of a function that the binary holds.
var vulnerable = map[string]string{
	"index/db.json":      `{"modified":"2026-01-01T00:00:00Z"}`,
	"index/modules.json": `[{"path":"github.com/gorilla/mux","vulns":[{"id":"GO-2026-9999","modified":"2026-01-01T00:00:00Z"}]}]`,
	"ID/GO-2026-9999.json": `{"schema_version":"1.3.1","id":"GO-2026-9999","modified":"2026-01-01T00:00:00Z","published":"2026-01-01T00:00:00Z",
		"affected":[{"package":{"name":"github.com/gorilla/mux","ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],
		"ecosystem_specific":{"imports":[{"path":"github.com/gorilla/mux","symbols":["Router.ServeHTTP"]}]}}],
		"database_specific":{"url":"https://pkg.go.dev/vuln/GO-2026-9999"}}`,
}

// TestVulnerabilityScan shows that the scan of .ci/run finds a vulnerable function, passes without one, and never calls a
// database that cannot be had a success.
func TestVulnerabilityScan(t *testing.T) {
	if os.Getenv("RUNNEL_TEST_SHORT") == "1" {
		t.Skip("installs the scanner")
	}
	binary, err := runnel.Binary()
	if err != nil {
		t.Fatal(err)
	}
	none := map[string]string{"index/db.json": vulnerable["index/db.json"], "index/modules.json": "[]"}
	for _, c := range []struct {
		name     string
		database map[string]string
		exit     int
		says     string
	}{
		{"planted", vulnerable, 3, "GO-2026-9999"},
		{"empty", none, 0, "No vulnerabilities found"},
		{"absent", nil, 0, "NOT CHECKED"},
	} {
		out, exit := scan(t, binary, c.database)
		if strings.Contains(out, "no scanner") {
			t.Skipf("the scanner cannot be had: %s", out)
		}
		if exit != c.exit || !strings.Contains(out, c.says) || c.database == nil && strings.Contains(out, "No vulnerabilities found") {
			t.Errorf("%s database: exit %d, %s", c.name, exit, out)
		}
	}
}

func scan(t *testing.T, binary string, database map[string]string) (out string, exit int) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range database {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("../.ci/vulnerabilities", binary)
	cmd.Env = append(os.Environ(), "GOVULNDB=file://"+dir)
	text, err := cmd.CombinedOutput()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		return string(text), failed.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return string(text), 0
}
