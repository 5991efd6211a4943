package test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/runnelkv/runnel"

// arrows lists the imports that each package may have, as the layout in CONTRIBUTING.md shows. A package without a
// row takes the row of the nearest folder above.
var arrows = map[string][]string{
	"cmd/runnel":                    {"config", "api/client", "api/wire", "cmd/runnel/internal/console", "cmd/runnel/internal/load", "cmd/runnel/internal/node", "cmd/runnel/internal/transfer", "store"},
	"cmd/runnel/internal/console":   {},
	"cmd/runnel/internal/load":      {},
	"cmd/runnel/internal/node":      {"config", "api", "api/wire", "cmd/runnel/internal/console", "sync", "sync/webhook", "store", "store/partition", "store/partition/mysql", "store/partition/sqlite", "store/partition/sqlengine"},
	"cmd/runnel/internal/transfer":  {"api/client", "api/wire", "cmd/runnel/internal/console"},
	"config":                        {},
	"store":                         {"store/partition", "store/internal/pointread", "store/internal/timeout"},
	"store/internal/pointread":      {"store/partition", "store/internal/timeout"},
	"store/internal/timeout":        {},
	"store/partition":               {},
	"store/partition/memory":        {"store/partition"},
	"store/partition/sqlengine":     {"store/partition"},
	"store/partition/mysql":         {"store/partition", "store/partition/sqlengine"},
	"store/partition/sqlite":        {"store/partition", "store/partition/sqlengine"},
	"store/partition/partitiontest": {"store/partition"},
	"store/partition/mysqltest":     {"store/partition", "store/partition/sqlengine", "store/partition/mysql", "test/servers"},
	"store/lock":                    {"store"},
	"store/ledger":                  {"store"},
	"store/file":                    {"store"},
	"sync":                          {"store", "store/partition"},
	"sync/webhook":                  {"store", "sync"},
	"api/wire":                      {},
	"api/internal/transport":        {},
	"api/internal/problem":          {"api/wire"},
	"api/internal/budget":           {"api/internal/problem", "store"},
	"api/internal/digest":           {"api/internal/problem"},
	"api/internal/negotiate":        {"api/internal/problem"},
	"api/internal/ranges":           {},
	"api/internal/cursor":           {"store"},
	"api/internal/etag":             {"api/internal/negotiate", "api/internal/problem", "store"},
	"api":                           {"api/wire", "api/internal/transport", "api/internal/problem", "api/internal/budget", "api/internal/digest", "api/internal/negotiate", "api/internal/ranges", "api/internal/cursor", "api/internal/etag", "store", "store/partition", "store/lock", "store/ledger", "store/file"},
	"api/client":                    {"api/wire"},
	"test":                          {"*"},
}

type goPackage struct {
	ImportPath string
	Dir        string
	Imports    []string
}

func TestImportsFollowTheArrows(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, fault := range faults(p) {
			t.Error(fault)
		}
	}
}

// TestArrowsCatchAWrongImport shows that the check can fail.
func TestArrowsCatchAWrongImport(t *testing.T) {
	for _, p := range []goPackage{
		{ImportPath: module + "/api", Imports: []string{module + "/sync"}},
		{ImportPath: module + "/sync", Imports: []string{module + "/api"}},
		{ImportPath: module + "/store", Imports: []string{module + "/config"}},
		{ImportPath: module + "/util", Imports: nil},
	} {
		if len(faults(p)) != 1 {
			t.Errorf("%s importing %v: %v", p.ImportPath, p.Imports, faults(p))
		}
	}
}

func TestEveryPackageHasADoc(t *testing.T) {
	for _, p := range listPackages(t) {
		text, err := os.ReadFile(filepath.Join(p.Dir, "doc.go"))
		if err != nil {
			t.Errorf("%s: %v", p.ImportPath, err)
		} else if !strings.HasPrefix(string(text), "//") {
			t.Errorf("%s: doc.go begins without a package comment", p.ImportPath)
		}
	}
}

// TestTopLevelHoldsOnlyWhatBelongs keeps the layout that was agreed.
func TestTopLevelHoldsOnlyWhatBelongs(t *testing.T) {
	allowed := strings.Fields("cmd store sync api config test go.mod go.sum Makefile README.md CONTRIBUTING.md SECURITY.md LICENSE CHANGELOG.md docs deploy compose.yaml Dockerfile")
	out, err := exec.Command("git", "-C", "..", "ls-tree", "--name-only", "HEAD").Output()
	if err != nil {
		t.Fatalf("git ls-tree: %v", err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		if !slices.Contains(allowed, name) && !strings.HasPrefix(name, ".") {
			t.Errorf("%s does not belong on the top level", name)
		}
	}
}

func faults(p goPackage) (faults []string) {
	name := strings.TrimPrefix(p.ImportPath, module+"/")
	rule := name
	for rule != "." && arrows[rule] == nil {
		rule = filepath.Dir(rule)
	}
	if rule == "." {
		return []string{name + " has no place in the layout"}
	}
	for _, imported := range p.Imports {
		other, ours := strings.CutPrefix(imported, module+"/")
		if ours && !slices.Contains(arrows[rule], other) && !slices.Contains(arrows[rule], "*") {
			faults = append(faults, name+" must not import "+other)
		}
	}
	return faults
}

// listPackages lists the module's packages with their imports, without tests.
func listPackages(t *testing.T) (packages []goPackage) {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 6 {
		t.Fatalf("only %d packages found", len(packages))
	}
	return packages
}

// TestNoticesNameEveryModule compares the file of notices with the modules in the binary.
func TestNoticesNameEveryModule(t *testing.T) {
	notices, err := os.ReadFile("../docs/NOTICES.txt")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "./cmd/runnel")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for module := range strings.Lines(string(out)) {
		if module != "\n" && !strings.Contains(string(notices), "\n"+module) {
			t.Errorf("docs/NOTICES.txt lacks %s: run make notices", strings.TrimSpace(module))
		}
	}
}
