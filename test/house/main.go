package main

import (
	"cmp"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

func main() {
	log.SetFlags(0)
	root, err := filepath.Abs(".")
	if err == nil && len(os.Args) > 1 {
		root, err = filepath.Abs(os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
	t, err := readTree(root)
	if err != nil {
		log.Fatal(err)
	}
	if err := t.print(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// print writes every measure of the tree as text.
func (t *tree) print(w io.Writer) error {
	if err := t.printProse(w); err != nil {
		return err
	}
	if err := t.printPackages(w); err != nil {
		return err
	}
	t.printFolders(w)
	t.printFunctions(w)
	return nil
}

func (t *tree) printProse(w io.Writer) error {
	counts, err := t.prose()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "Vague words in 1,000 words of comments (tests among them) and of documents; limits: %v\n", proseLimits)
	table := newTable(w)
	fmt.Fprintln(table, "folder\twords\twhat\twho\tit\tone\t")
	var all prose
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		printRates(table, name, *counts[name])
		if name != "docs" {
			all.merge(*counts[name])
		}
	}
	printRates(table, "all comments", all)
	return table.Flush()
}

func printRates(w io.Writer, name string, p prose) {
	fmt.Fprintf(w, "%s\t%d\t", name, p.words)
	for _, rate := range p.rates() {
		fmt.Fprintf(w, "%.1f\t", rate)
	}
	fmt.Fprintln(w)
}

func (t *tree) printPackages(w io.Writer) error {
	fmt.Fprintln(w, "\nPackages without tests; an arrow leads from a file to another of its package that it uses")
	table := newTable(w)
	fmt.Fprintln(table, "package\tfiles\tlines\tfunctions\tlongest\tarrows a file\t")
	imports, err := t.newImporter()
	if err != nil {
		return err
	}
	total := 0
	for _, p := range t.packages {
		rate, err := t.arrowRate(p, imports)
		if err != nil {
			return err
		}
		lines, longest := 0, 0
		for _, f := range t.compiled(p) {
			lines += t.fset.File(f.Pos()).LineCount() - 1
		}
		functions := t.functions(p)
		for _, f := range functions {
			longest = max(longest, f.lines)
		}
		total += lines
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%.1f\t\n", t.folder(p), len(p.GoFiles), lines, len(functions), longest, rate)
	}
	fmt.Fprintf(table, "all\t\t%d\t\t\t\t\n", total)
	return table.Flush()
}

// printFolders writes the folders with the most files.
func (t *tree) printFolders(w io.Writer) {
	sizes := t.folderSizes()
	names := slices.Collect(maps.Keys(sizes))
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(sizes[b], sizes[a]), cmp.Compare(a, b)) })
	fmt.Fprintln(w, "\nFolders with the most files")
	for _, name := range names[:min(8, len(names))] {
		fmt.Fprintf(w, "%4d  %s\n", sizes[name], name)
	}
}

// crowded names the folders with more files than folderLimit.
func (t *tree) crowded() (faults []string) {
	sizes := t.folderSizes()
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		if sizes[name] > folderLimit {
			faults = append(faults, fmt.Sprintf("%s has %d files, over %d", name, sizes[name], folderLimit))
		}
	}
	return faults
}

func (t *tree) folderSizes() map[string]int {
	sizes := make(map[string]int)
	for _, name := range t.files {
		sizes[path.Dir(name)]++
	}
	return sizes
}

// printFunctions writes the longest functions and the method names that many types share.
func (t *tree) printFunctions(w io.Writer) {
	functions := t.productFunctions()
	shared, rate := sharedNames(functions)
	fmt.Fprintf(w, "\nUnexported method names of three or more types: %d, or %.2f in 100 functions; limit %.1f\n", len(shared), rate, sharedLimit)
	for _, s := range shared {
		fmt.Fprintf(w, "%4d  %s: %s\n", len(s.types), s.name, strings.Join(s.types, " "))
	}
	slices.SortFunc(functions, func(a, b function) int { return cmp.Compare(b.lines, a.lines) })
	fmt.Fprintln(w, "\nLongest functions, in lines")
	for _, f := range functions[:min(10, len(functions))] {
		fmt.Fprintf(w, "%4d  %s\n", f.lines, f)
	}
}

// longFunctions names the functions outside test/ with more lines than functionLimit.
func (t *tree) longFunctions() (faults []string) {
	for _, f := range t.productFunctions() {
		if f.lines > functionLimit {
			faults = append(faults, fmt.Sprintf("%s has %d lines, over %d", f, f.lines, functionLimit))
		}
	}
	return faults
}

// productFunctions returns the functions of all packages outside test/.
func (t *tree) productFunctions() (all []function) {
	for _, p := range t.packages {
		if folder := t.folder(p); folder != "test" && !strings.HasPrefix(folder, "test/") {
			all = append(all, t.functions(p)...)
		}
	}
	return all
}

func newTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }
