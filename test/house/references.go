package main

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// sourceName matches the name of a file that can only be one of this repository: a source, a document, a script or a picture.
// A web address matches as a whole, so that its last part is not taken for a file.
var sourceName = regexp.MustCompile(`https?://\S+|[A-Za-z0-9_][A-Za-z0-9_./-]*\.(?:go|md|sh|svg|tmpl)\b`)

// danglingReferences returns the files that comments and documents name and that are not in the tree.
// A name may be relative to the root or to the folder of the text; a bare name may be of a file in any folder.
func (t *tree) danglingReferences() (faults []string, err error) {
	known := t.knownNames()
	check := func(file, text string) {
		for _, name := range sourceName.FindAllString(text, -1) {
			elsewhere := strings.Contains(name, "://") || strings.HasPrefix(name, "bin/") // the output of make
			if !elsewhere && !known[name] && !known[path.Join(path.Dir(file), name)] {
				faults = append(faults, fmt.Sprintf("%s refers to %s, which is not in the tree", file, name))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.sources)) {
		for _, group := range t.sources[name].Comments {
			check(name, group.Text())
		}
	}
	for _, name := range t.files {
		if strings.HasSuffix(name, ".md") {
			text, err := os.ReadFile(filepath.Join(t.root, name))
			if err != nil {
				return nil, err
			}
			check(name, string(text))
		}
	}
	return faults, nil
}

// knownNames holds each file's path and its last part.
func (t *tree) knownNames() map[string]bool {
	known := make(map[string]bool)
	for _, name := range t.files {
		known[name], known[path.Base(name)] = true, true
	}
	return known
}
