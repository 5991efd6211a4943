package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// moduleTree reads the module once for all tests.
var moduleTree = sync.OnceValues(func() (*tree, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	return readTree(root)
})

func readModule(t *testing.T) *tree {
	t.Helper()
	tree, err := moduleTree()
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.packages) < 6 || len(tree.sources) < 100 {
		t.Fatalf("only %d packages and %d sources found", len(tree.packages), len(tree.sources))
	}
	return tree
}

func TestProseNamesItsNouns(t *testing.T) {
	counts, err := readModule(t).prose()
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range slices.Sorted(maps.Keys(counts)) {
		for _, fault := range counts[place].excess(proseLimits) {
			t.Errorf("%s: %s", place, fault)
		}
	}
}

func TestProseCountsPlantedWords(t *testing.T) {
	text := strings.Repeat("The lock protects the map. ", 180) // 900 words
	for _, c := range []struct {
		planted string
		faults  int
	}{
		{"", 0},
		{"What", 0},
		{"What it holds is what its owner's.", 1},
		{"who whose", 1},
		{strings.Repeat("It's its. ", 10), 1},
		{"The other one, and others: ones beside one. One.", 0},
		{"The other one, and others: ones beside one. One, one.", 1},
		{"what what who who", 2},
	} {
		var p prose
		p.add(text + c.planted)
		if faults := p.excess(proseLimits); len(faults) != c.faults {
			t.Errorf("%q: %d faults, want %d: %v", c.planted, len(faults), c.faults, faults)
		}
	}
}

func TestMethodNamesSayTheirObject(t *testing.T) {
	shared, rate := sharedNames(readModule(t).productFunctions())
	if rate > sharedLimit {
		t.Errorf("%d method names of three or more types, or %.2f in 100 functions, over %.1f: see make house", len(shared), rate, sharedLimit)
	}
}

func TestSharedNamesFindsAPlantedName(t *testing.T) {
	source := `package p
		func (a *A) run()       {}
		func (b B[T]) run()     {}
		func (c *C[K, V]) run() {}
		func (a A) Close()      {}
		func (b B[T]) Close()   {}
		func (c C[K, V]) Close() {}
		func (a A) open()       {}
		func (b B[T]) open()    {}
		func open()             {}`
	tree := plant(t, map[string]string{"p.go": source})
	shared, rate := sharedNames(tree.functions(tree.packages[0]))
	if len(shared) != 1 || shared[0].name != "run" || strings.Join(shared[0].types, " ") != "p.A p.B p.C" || rate != 100.0/9 {
		t.Errorf("found %v, %f in 100", shared, rate)
	}
}

func TestFoldersAreNotCrowded(t *testing.T) {
	for _, fault := range readModule(t).crowded() {
		t.Error(fault)
	}
}

func TestCrowdedFindsAPlantedFile(t *testing.T) {
	var full tree
	for range folderLimit {
		full.files = append(full.files, "a/x.go", "b/x.go")
	}
	if found := full.crowded(); len(found) != 0 {
		t.Errorf("a full folder: %v", found)
	}
	full.files = append(full.files, "a/y.go")
	if found := full.crowded(); len(found) != 1 || !strings.HasPrefix(found[0], "a ") {
		t.Errorf("a file too many: %v", found)
	}
}

func TestReferencesLeadToFiles(t *testing.T) {
	dangling, err := readModule(t).danglingReferences()
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range dangling {
		t.Error(fault)
	}
}

func TestDanglingReferencesFindsPlantedNames(t *testing.T) {
	source := `package p

// See DESIGN.md, p.go, docs/a.svg, docs/a.md, p/p.go, https://example.org/b.md, bin/c.md and old/p.go.
var x = "lost.go" // no comment: "lost.go"
`
	tree := plant(t, map[string]string{"p.go": source})
	tree.files = append(tree.files, "docs/a.svg")
	found, err := tree.danglingReferences()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"DESIGN.md", "docs/a.md", "old/p.go", "lost.go"}
	if len(found) != len(want) {
		t.Fatalf("found %q, want %q", found, want)
	}
	for i, name := range want {
		if !strings.Contains(found[i], "refers to "+name+",") {
			t.Errorf("found %q, want %q", found[i], name)
		}
	}
}

func TestFunctionsAreShort(t *testing.T) {
	for _, fault := range readModule(t).longFunctions() {
		t.Error(fault)
	}
}

func TestLongFunctionsFindsAPlantedLine(t *testing.T) {
	body := strings.Repeat("\n_ = 0", functionLimit-2)
	source := "package p\n" +
		"func full() {" + body + "\n}\n" +
		"// A comment before a function is no part of the function.\nfunc (t T) full() {" + body + "\n}\n" +
		"func long() {" + body + "\n_ = 0\n}\n" +
		"func (t *T[K]) long() {" + body + "\n// a comment\n}\n"
	found := plant(t, map[string]string{"p.go": source}).longFunctions()
	if len(found) != 2 || !strings.HasPrefix(found[0], "p.long has 53 lines") || !strings.HasPrefix(found[1], "p.T.long has 53 lines") {
		t.Errorf("found %q", found)
	}
}

func TestFilesLeanOnFewFiles(t *testing.T) {
	tree := readModule(t)
	imports, err := tree.newImporter()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range tree.packages {
		rate, err := tree.arrowRate(p, imports)
		if err != nil {
			t.Fatal(err)
		}
		if rate > arrowLimit {
			t.Errorf("%s has %.2f arrows a file, over %.1f: see make house", tree.folder(p), rate, arrowLimit)
		}
	}
}

func TestArrowsJoinFiles(t *testing.T) {
	tree := plant(t, map[string]string{
		"a.go": "package p\nvar a = b + b\nfunc f() { c{}.m() }",
		"b.go": "package p\nvar b = 1",
		"c.go": "package p\ntype c struct{ n int }\nfunc (c) m() { _ = c{}.n }",
	})
	found, err := tree.arrows(tree.packages[0], nil)
	want := map[arrow]bool{{"a.go", "b.go"}: true, {"a.go", "c.go"}: true}
	if err != nil || !maps.Equal(found, want) {
		t.Errorf("found %v, %v, want %v", found, err, want)
	}
}

// plant returns a tree with a single package, p, that has the files.
func plant(t *testing.T, files map[string]string) *tree {
	t.Helper()
	planted := &tree{root: "/", fset: token.NewFileSet(), sources: make(map[string]*ast.File), packages: []goPackage{{ImportPath: "p", Dir: "/p"}}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, err := parser.ParseFile(planted.fset, name, files[name], parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		planted.sources["p/"+name] = f
		planted.files = append(planted.files, "p/"+name)
		planted.packages[0].GoFiles = append(planted.packages[0].GoFiles, name)
	}
	return planted
}
