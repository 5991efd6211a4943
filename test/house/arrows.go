package main

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
)

// arrow says that a file uses a name or a method that is declared in another file of the same package.
type arrow struct{ from, to string }

// newImporter returns an importer of every package that the module depends on. The go command compiles those that are not
// in its cache.
func (t *tree) newImporter() (types.Importer, error) {
	packages, err := t.listPackages("-export", "-deps", "-json=ImportPath,Dir,Export", "./...")
	if err != nil {
		return nil, err
	}
	exports := make(map[string]string, len(packages))
	for _, p := range packages {
		exports[p.ImportPath] = p.Export
	}
	return importer.ForCompiler(t.fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	}), nil
}

// arrows returns the arrows between the files of a package, tests left out.
func (t *tree) arrows(p goPackage, imports types.Importer) (map[arrow]bool, error) {
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: imports}
	pkg, err := config.Check(p.ImportPath, t.fset, t.compiled(p), info)
	if err != nil {
		return nil, fmt.Errorf("check %s: %w", p.ImportPath, err)
	}
	found := make(map[arrow]bool)
	for used, object := range info.Uses {
		if object.Pkg() != pkg || !isPackageLevel(object) {
			continue
		}
		if a := (arrow{t.file(used.Pos()), t.file(object.Pos())}); a.from != a.to {
			found[a] = true
		}
	}
	return found, nil
}

// arrowRate returns the arrows of a package per file.
func (t *tree) arrowRate(p goPackage, imports types.Importer) (float64, error) {
	found, err := t.arrows(p, imports)
	return float64(len(found)) / float64(max(1, len(p.GoFiles))), err
}

// isPackageLevel reports whether an object is declared at package level or is a method.
func isPackageLevel(object types.Object) bool {
	if f, ok := object.(*types.Func); ok {
		return f.Signature().Recv() != nil || f.Parent() == f.Pkg().Scope()
	}
	return object.Parent() == object.Pkg().Scope()
}

func (t *tree) file(p token.Pos) string { return t.fset.Position(p).Filename }
