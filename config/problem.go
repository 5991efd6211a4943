package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
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

// err returns the problems sorted by line, or nil.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return r.problems
}
