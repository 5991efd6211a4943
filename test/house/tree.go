package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// tree is the module as a reader of the repository finds it.
type tree struct {
	root    string
	files   []string // paths relative to root, with slashes, sorted
	fset    *token.FileSet
	sources map[string]*ast.File // the files that end in .go, by path
	// packages lists the files that the go command compiles, tests left out.
	packages []goPackage
}

type goPackage struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Export     string // a file, if asked for
}

// readTree reads the module at root, an absolute path.
func readTree(root string) (*tree, error) {
	t := &tree{root: root, fset: token.NewFileSet(), sources: make(map[string]*ast.File)}
	if err := filepath.WalkDir(root, t.addFile); err != nil {
		return nil, err
	}
	var err error
	t.packages, err = t.listPackages("-json=ImportPath,Dir,GoFiles", "./...")
	return t, err
}

// addFile is the step of a walk. Hidden folders except .ci, and the output folder bin, do not belong to the tree.
func (t *tree) addFile(path string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	name, err := filepath.Rel(t.root, path)
	if err != nil {
		return err
	}
	name = filepath.ToSlash(name)
	if d.IsDir() {
		hidden := strings.HasPrefix(name, ".") && name != "." && name != ".ci"
		if hidden || name == "bin" {
			return fs.SkipDir
		}
		return nil
	}
	t.files = append(t.files, name)
	if !strings.HasSuffix(name, ".go") {
		return nil
	}
	t.sources[name], err = parser.ParseFile(t.fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	return err
}

// listPackages returns the packages that "go list" lists, in the order of their folders.
func (t *tree) listPackages(arguments ...string) (packages []goPackage, err error) {
	cmd := exec.Command("go", append([]string{"list"}, arguments...)...)
	cmd.Dir, cmd.Stderr = t.root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var p goPackage
		if err := decoder.Decode(&p); err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		packages = append(packages, p)
	}
	slices.SortFunc(packages, func(a, b goPackage) int { return cmp.Compare(a.Dir, b.Dir) })
	return packages, nil
}

// folder returns the folder of a package relative to the root.
func (t *tree) folder(p goPackage) string {
	name, err := filepath.Rel(t.root, p.Dir)
	if err != nil {
		panic(err) // both are absolute
	}
	return filepath.ToSlash(name)
}

// compiled returns the syntax of the files of a package, in the order of their names.
func (t *tree) compiled(p goPackage) (files []*ast.File) {
	for _, name := range p.GoFiles {
		files = append(files, t.sources[filepath.ToSlash(filepath.Join(t.folder(p), name))])
	}
	return files
}

// functions returns the functions and methods of a package with their lengths in lines.
func (t *tree) functions(p goPackage) (found []function) {
	for _, f := range t.compiled(p) {
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok {
				lines := 1 + t.fset.Position(d.End()).Line - t.fset.Position(d.Pos()).Line
				found = append(found, function{folder: t.folder(p), name: d.Name.Name, receiver: receiverOf(d), lines: lines})
			}
		}
	}
	return found
}

// function is a function, or a method if it has a receiver.
type function struct {
	folder, receiver, name string
	lines                  int
}

func (f function) String() string {
	if f.receiver == "" {
		return f.folder + "." + f.name
	}
	return f.folder + "." + f.receiver + "." + f.name
}

// receiverOf returns the name of the receiver's type, without a pointer and type parameters.
func receiverOf(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	for e := d.Recv.List[0].Type; ; {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}
