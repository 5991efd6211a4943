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
	"cmd/runnel":                       {"config", "api/client", "api/wire", "cmd/runnel/internal/archive", "cmd/runnel/internal/bank", "cmd/runnel/internal/console", "cmd/runnel/internal/doctor", "cmd/runnel/internal/keys", "cmd/runnel/internal/load", "cmd/runnel/internal/migrate", "cmd/runnel/internal/moves", "cmd/runnel/internal/node", "cmd/runnel/internal/session", "cmd/runnel/internal/transfer", "store", "cmd/runnel/internal/files", "cmd/runnel/internal/ledger", "cmd/runnel/internal/locks", "cmd/runnel/internal/terraform", "cmd/runnel/internal/verification", "store/verify"},
	"cmd/runnel/internal/archive":      {"config", "cmd/runnel/internal/console", "cmd/runnel/internal/node", "store", "store/backup", "store/file", "store/partition"},
	"cmd/runnel/internal/bank":         {"api/client", "cmd/runnel/internal/console"},
	"cmd/runnel/internal/console":      {},
	"cmd/runnel/internal/doctor":       {"config", "cmd/runnel/internal/node", "store/partition/mysql"},
	"cmd/runnel/internal/files":        {"api/client", "api/wire", "cmd/runnel/internal/console", "cmd/runnel/internal/transfer"},
	"cmd/runnel/internal/keys":         {"api/s3", "config", "cmd/runnel/internal/console", "cmd/runnel/internal/node", "store", "store/access"},
	"cmd/runnel/internal/ledger":       {"api/client", "cmd/runnel/internal/console"},
	"cmd/runnel/internal/load":         {},
	"cmd/runnel/internal/migrate":      {"store/partition"},
	"cmd/runnel/internal/locks":        {"api/client", "cmd/runnel/internal/console"},
	"cmd/runnel/internal/terraform":    {"api/client", "cmd/runnel/internal/console"},
	"cmd/runnel/internal/verification": {"cmd/runnel/internal/console", "store", "store/partition", "store/verify"},
	"cmd/runnel/internal/moves":        {"cmd/runnel/internal/console", "store"},
	"cmd/runnel/internal/node":         {"api/audit", "config", "api", "api/wire", "cmd/runnel/internal/console", "sync", "sync/webhook", "store", "store/access", "store/ledger", "store/partition", "store/partition/mysql", "store/partition/sqlite", "store/partition/sqlengine", "store/file", "sync/files"},
	"cmd/runnel/internal/session":      {"cmd/runnel/internal/console", "store"},
	"cmd/runnel/internal/transfer":     {"api/client", "api/wire", "cmd/runnel/internal/console"},
	"config":                           {"store/access"},
	"store":                            {"store/partition", "store/internal/backend", "store/internal/cache", "store/internal/catchup", "store/internal/cluster", "store/internal/commit", "store/internal/feed", "store/internal/guard", "store/internal/mend", "store/internal/pointread", "store/internal/quota", "store/internal/routing", "store/internal/version"},
	"store/internal/mend":              {"store/internal/backend", "store/partition", "store/verify"},
	"store/internal/guard":             {"store/partition"},
	"store/internal/backend":           {"store/partition", "store/internal/backend/boottime", "store/internal/broadcast", "store/internal/pointread", "store/internal/version"},
	"store/internal/broadcast":         {},
	"store/internal/backend/boottime":  {},
	"store/internal/cache":             {"store/partition", "store/internal/backend", "store/internal/version"},
	"store/internal/catchup":           {"store/partition", "store/internal/backend"},
	"store/internal/cluster":           {"store/partition", "store/internal/backend", "store/internal/broadcast", "store/internal/failover", "store/internal/version"},
	"store/internal/failover":          {},
	"store/internal/commit":            {"store/partition", "store/internal/backend", "store/internal/cache", "store/internal/guard", "store/internal/quota", "store/internal/timeout", "store/internal/version"},
	"store/internal/quota":             {"store/partition"},
	"store/internal/feed":              {"store/partition", "store/internal/backend", "store/internal/broadcast", "store/internal/cache", "store/internal/cluster", "store/internal/version"},
	"store/internal/routing":           {"store/partition", "store/internal/backend", "store/internal/cache", "store/internal/cluster", "store/internal/version"},
	"store/internal/version":           {"store/partition"},
	"store/internal/pointread":         {"store/partition", "store/internal/timeout"},
	"store/internal/timeout":           {},
	"store/internal/storetest":         {"store", "store/partition", "store/partition/memory", "sync"},
	"store/backup":                     {"store/partition"},
	"store/verify":                     {"store/partition"},
	"store/partition":                  {},
	"store/partition/memory":           {"store/partition"},
	"store/partition/sqlengine":        {"store/partition"},
	"store/partition/mysql":            {"store/partition", "store/partition/sqlengine"},
	"store/partition/sqlite":           {"store/partition", "store/partition/sqlengine"},
	"store/partition/partitiontest":    {"store/partition"},
	"store/partition/mysqltest":        {"store/partition", "store/partition/sqlengine", "store/partition/mysql", "test/servers"},
	"store/lock":                       {"store", "store/internal/guard", "store/partition"},
	"store/ledger":                     {"store"},
	"store/terraform":                  {"store", "store/lock"},
	"store/file":                       {"store", "store/partition"},
	"store/access":                     {"store"},
	"sync":                             {"store", "store/partition", "store/verify", "sync/internal/durability", "sync/internal/lease", "sync/internal/snapshot"},
	"sync/internal/durability":         {"store/partition"},
	"sync/internal/lease":              {"store/partition"},
	"sync/internal/snapshot":           {"store/partition"},
	"sync/webhook":                     {"store", "sync/internal/lease"},
	"sync/files":                       {"store", "store/file", "store/partition"},
	"api/wire":                         {},
	"api/internal/transport":           {},
	"api/internal/problem":             {"api/wire"},
	"api/internal/budget":              {"api/internal/problem", "store"},
	"api/internal/cors":                {"api/wire"},
	"api/internal/digest":              {"api/internal/problem"},
	"api/internal/negotiate":           {"api/internal/problem"},
	"api/internal/ranges":              {},
	"api/internal/ratelimit":           {},
	"api/audit":                        {},
	"api/internal/forwarded":           {},
	"api/internal/signin":              {"store/access"},
	"api/internal/cursor":              {"store"},
	"api/internal/etag":                {"api/internal/negotiate", "api/internal/problem", "store"},
	"api/internal/document":            {"api/wire", "api/internal/etag", "api/internal/negotiate", "api/internal/problem", "store"},
	"api/internal/write":               {"api/wire", "api/internal/etag", "api/internal/negotiate", "api/internal/problem", "store", "store/partition"},
	"api/internal/pages":               {"api/wire"},
	"api/internal/exchange":            {"api/audit", "api/wire", "api/internal/budget", "api/internal/cors", "api/internal/negotiate", "api/internal/pages", "api/internal/problem", "api/internal/signin", "api/internal/transport", "api/internal/write", "store", "store/partition", "store/access"},
	"api/internal/keys":                {"api/wire", "api/internal/budget", "api/internal/cursor", "api/internal/digest", "api/internal/document", "api/internal/etag", "api/internal/exchange", "api/internal/negotiate", "api/internal/problem", "api/internal/ranges", "api/internal/write", "store", "store/lock"},
	"api/internal/locks":               {"api/audit", "api/wire", "api/internal/cursor", "api/internal/etag", "api/internal/exchange", "api/internal/problem", "store", "store/lock"},
	"api/internal/terraform":           {"api/wire", "api/internal/cursor", "api/internal/digest", "api/internal/exchange", "api/internal/negotiate", "api/internal/problem", "store", "store/lock", "store/terraform"},
	"api/internal/batch":               {"api/audit", "api/wire", "api/internal/budget", "api/internal/document", "api/internal/etag", "api/internal/exchange", "api/internal/negotiate", "api/internal/problem", "api/internal/write", "store", "store/partition", "store/access"},
	"api/internal/feed":                {"api/wire", "api/internal/budget", "api/internal/document", "api/internal/exchange", "api/internal/negotiate", "api/internal/problem", "store"},
	"api/internal/files":               {"api/audit", "api/wire", "api/internal/cursor", "api/internal/digest", "api/internal/document", "api/internal/etag", "api/internal/exchange", "api/internal/negotiate", "api/internal/problem", "api/internal/ranges", "api/internal/write", "store", "store/file"},
	"api/s3":                           {"api/internal/problem", "api/audit", "api/internal/budget", "store", "store/access", "store/file", "store/partition"},
	"api/internal/status":              {"api/wire", "api/internal/document", "api/internal/exchange", "api/internal/problem", "store"},
	"api/internal/ledger":              {"api/audit", "api/wire", "api/internal/cursor", "api/internal/etag", "api/internal/exchange", "api/internal/negotiate", "api/internal/problem", "store", "store/ledger"},
	"api/internal/apitest":             {"api", "api/wire", "api/internal/exchange", "api/internal/transport", "store", "store/partition", "store/partition/memory", "store/access", "store/file"},
	"api/console":                      {"api/wire", "api/internal/exchange", "api/internal/problem", "store/access"},
	"api":                              {"api/console", "api/internal/ratelimit", "api/internal/signin", "api/internal/forwarded", "api/audit", "api/wire", "api/internal/budget", "api/internal/cors", "api/internal/exchange", "api/internal/keys", "api/internal/batch", "api/internal/feed", "api/internal/status", "api/internal/pages", "api/internal/negotiate", "api/internal/problem", "api/internal/transport", "api/internal/ledger", "store/ledger", "store", "store/access", "api/internal/files", "store/file", "api/s3", "api/internal/locks", "api/wire", "store/lock", "api/internal/terraform", "store/terraform"},
	"api/client":                       {"api/wire"},
	"test":                             {"*"},
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
