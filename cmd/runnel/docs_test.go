package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/doctor"
)

// docSections returns the sections of docs/cli.md by their headings.
func docSections(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for part := range strings.SplitSeq(string(text), "\n## ") {
		heading, body, _ := strings.Cut(part, "\n")
		sections[heading] = body
	}
	return sections
}

// testTree is the whole command tree, with cobra's own commands.
func testTree() *cobra.Command {
	root := newRoot(&program{})
	root.InitDefaultHelpFlag()
	root.InitDefaultCompletionCmd()
	return root
}

// section returns the section about c: that of the command, or of the nearest command above with a section.
func section(sections map[string]string, c *cobra.Command) (string, bool) {
	for ; c.HasParent(); c = c.Parent() {
		if body, ok := sections[c.CommandPath()]; ok {
			return body, true
		}
	}
	return "", false
}

func TestDocsDescribeEveryCommandAndFlag(t *testing.T) {
	sections, root := docSections(t), testTree()
	check := func(where, body string, flags *pflag.FlagSet) {
		flags.VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !strings.Contains(body, "`--"+f.Name) {
				t.Errorf("docs/cli.md, %s: nothing about --%s", where, f.Name)
			}
		})
	}
	check("Global flags", sections["Global flags"], root.PersistentFlags())
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		body, ok := section(sections, c)
		if c.HasParent() && !ok {
			t.Errorf("docs/cli.md has no section %q", c.CommandPath())
		}
		if c.HasParent() && ok {
			if !strings.Contains(body, c.Name()) {
				t.Errorf("docs/cli.md: nothing about %s", c.CommandPath())
			}
			check(c.CommandPath(), body, c.NonInheritedFlags())
		}
		for _, child := range c.Commands() {
			visit(child)
		}
	}
	visit(root)
}

func TestDocsNameOnlyFlagsThatExist(t *testing.T) {
	flag := regexp.MustCompile("(?m)(^- |, )`--?([a-z-]+)")
	root := testTree()
	for heading, body := range docSections(t) {
		c, _, err := root.Find(strings.Fields(heading)[1:])
		if !strings.HasPrefix(heading, "runnel ") || err != nil {
			continue
		}
		of := append(below(c), c)
		for _, m := range flag.FindAllStringSubmatch(body, -1) {
			has := func(c *cobra.Command) bool { return hasFlag(c, m[2]) }
			if !slices.ContainsFunc(of, has) {
				t.Errorf("docs/cli.md: %s has no flag %s", heading, m[2])
			}
		}
	}
}

// below returns the commands below a command, at every depth.
func below(c *cobra.Command) (all []*cobra.Command) {
	for _, child := range c.Commands() {
		all = append(append(all, child), below(child)...)
	}
	return all
}

// hasFlag reports whether a command has a flag of this name or, for a single letter, shorthand.
func hasFlag(c *cobra.Command, name string) bool {
	if len(name) == 1 {
		return c.Flags().ShorthandLookup(name) != nil
	}
	return c.Flag(name) != nil
}

func TestEveryCommandExplainsItself(t *testing.T) {
	root := newRoot(&program{})
	for _, c := range root.Commands() {
		if c.Short == "" || c.Long == "" || c.Example == "" && !c.HasSubCommands() {
			t.Errorf("%s lacks a short text, a long one or an example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			checkExample(t, strings.TrimSpace(line))
		}
	}
}

// checkExample parses the flags of each runnel command in a line for a shell.
func checkExample(t *testing.T, line string) {
	for _, part := range regexp.MustCompile(`\||&&|\$\(|\)`).Split(line, -1) {
		words := strings.Fields(part)
		if len(words) < 2 || words[0] != "runnel" {
			continue
		}
		root := newRoot(&program{})
		c, args, err := root.Find(words[1:])
		if err == nil {
			err = c.ParseFlags(args)
		}
		if err != nil || c == root {
			t.Errorf("example %q: %v", line, err)
		}
	}
}

func TestUsageErrorsExitWithTwo(t *testing.T) {
	for _, args := range [][]string{
		{"bogus"}, {"get"}, {"get", "a", "b"}, {"get", "a", "--nope"}, {"put", "k", "v", "--ttl", "soon"}, {"put", "k", "--ttl", "-1s"},
		{"put", "k", "v", "--file", "f"}, {"list", "--limit", "-1"}, {"status", "x"}, {"get", "a", "--server", "localhost:8080"},
		{"get", "a", "--timeout", "0"}, {"import"}, {"export", "a", "b"},
	} {
		o := cli{}.run(t, nil, args...)
		if o.code != console.ExitUsage || o.stdout != "" || !strings.HasPrefix(o.stderr, "runnel: ") {
			t.Errorf("%q: %+v", args, o)
		}
	}
	for _, args := range [][]string{{}, {"help"}, {"--help"}, {"get", "--help"}, {"version"}, {"version", "--json"}} {
		if o := (cli{}).run(t, nil, args...); o.code != console.ExitOK || o.stdout == "" || o.stderr != "" {
			t.Errorf("%q: %+v", args, o)
		}
	}
}

// TestTheFirstKeyNeedsNoServer creates, lists and revokes a key in an empty directory.
func TestTheFirstKeyNeedsNoServer(t *testing.T) {
	data := t.TempDir() + "/data"
	if o := (cli{}).run(t, nil, "key", "list", "--data", data); o.code != console.ExitUsage {
		t.Errorf("list without a store: %+v", o)
	}
	if o := (cli{}).run(t, nil, "key", "create", "ops", "--role", "admin", "--data", data); o.code != console.ExitOK || !strings.HasPrefix(o.stdout, "rnl_") {
		t.Fatalf("create: %+v", o)
	}
	if o := (cli{}).run(t, nil, "key", "revoke", "ops", "--last", "--data", data); o.code != console.ExitOK {
		t.Errorf("revoke: %+v", o)
	}
	if o := (cli{}).run(t, nil, "key", "revoke", "ops", "--last", "--data", data); o.code != console.ExitFailed || !strings.Contains(o.stderr, "no stored key") {
		t.Errorf("a second revocation: %+v", o)
	}
	if o := (cli{}).run(t, nil, "key", "list", "--server", "http://127.0.0.1:1"); o.code != console.ExitUsage {
		t.Errorf("a server: %+v", o)
	}
}

// TestHardeningListIsThatOfDoctor compares the table in docs/security.md with the checks of runnel doctor.
func TestHardeningListIsThatOfDoctor(t *testing.T) {
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "\n## Hardening list\n")
	var names []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(list, -1) {
		names = append(names, row[1])
	}
	if got, want := strings.Join(names, " "), strings.Join(doctor.Checks(), " "); got != want {
		t.Errorf("docs/security.md lists the checks\n%s\nrunnel doctor has\n%s", got, want)
	}
}
