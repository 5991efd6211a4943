package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Problem is a fault of a configuration.
type Problem struct {
	File    string // as given to Load; "" for a Config that was created in Go
	Line    int    // from 1; 0 if the problem has no line, such as a missing section
	Key     string // such as "http.listen" or "partition[1].url" (counted from 0); "" for a syntax error outside any key
	Message string // never holds a secret
}

// String returns "file:line: key: message", without unknown parts.
func (p Problem) String() string {
	var b strings.Builder
	switch {
	case p.File != "" && p.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", p.File, p.Line)
	case p.File != "":
		fmt.Fprintf(&b, "%s: ", p.File)
	case p.Line > 0:
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	return b.String() + p.Message
}

// join returns the path of a key inside a table.
func join(table, name string) string {
	name = toml.Key{name}.String()
	if table == "" {
		return name
	}
	return table + "." + name
}

// element returns the path of the i-th element of an array.
func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// Problems are all faults of a configuration, in the order of lines: the error of [Parse], [Load] and
// [Config.Validate], never empty there.
type Problems []Problem

// Error returns a line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// report collects problems with the lines of their keys.
type report struct {
	file     string
	lines    lineIndex
	problems Problems
}

func (r *report) addf(key, format string, args ...any) {
	r.problems = append(r.problems, Problem{
		File: r.file, Line: r.lines.of(key), Key: key, Message: fmt.Sprintf(format, args...),
	})
}

// faulty reports whether key, or a section or array around key, has a problem.
func (r *report) faulty(key string) bool {
	return slices.ContainsFunc(r.problems, func(p Problem) bool {
		rest, found := strings.CutPrefix(key, p.Key)
		return found && p.Key != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// faultyBelow reports whether key, or a key inside this section or array, has a problem.
func (r *report) faultyBelow(key string) bool {
	return slices.ContainsFunc(r.problems, func(p Problem) bool {
		rest, found := strings.CutPrefix(p.Key, key)
		return found && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// err returns the problems sorted by line, or nil.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	r.sort()
	return r.problems
}

// sort sorts the problems by line.
func (r *report) sort() {
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
}
