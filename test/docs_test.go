package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocsNameTestsThatExist: every test that a document names is in the tree.
func TestDocsNameTestsThatExist(t *testing.T) {
	source := testSources(t)
	for page, text := range docPages(t) {
		names := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)(?:/([A-Za-z]+))?`").FindAllStringSubmatch(text, -1)
		if len(names) < 20 && (strings.HasSuffix(page, "guarantees.md") || strings.HasSuffix(page, "parity.md")) {
			t.Errorf("%s names only %d tests", page, len(names))
		}
		for _, n := range names {
			if !strings.Contains(source, "\nfunc "+n[1]+"(") {
				t.Errorf("%s names %s, which is no test", page, n[1])
			}
			if len(n[2]) > 0 && !strings.Contains(source, `"`+n[2]+`"`) {
				t.Errorf("%s names %s/%s, which is no check", page, n[1], n[2])
			}
		}
	}
}

// TestDocsQuoteRealMessages: the source contains each message that docs/troubleshooting.md quotes, and each
// problem in the page's statuses has a page.
func TestDocsQuoteRealMessages(t *testing.T) {
	page, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	source := sources(t, func(path string) bool { return strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") })
	quoted := 0
	for _, m := range regexp.MustCompile("(?m)^\\| (?:[0-9]{3} )?`([^`]+)`").FindAllSubmatch(page, -1) {
		for part := range strings.SplitSeq(string(m[1]), "…") {
			if part = strings.TrimSpace(part); len(part) < 8 || strings.HasPrefix(part, "Runnel-") {
				continue
			}
			quoted++
			if !strings.Contains(source, part) && part != "database or disk is full" { // SQLite's own text
				t.Errorf("docs/troubleshooting.md quotes %q, which no source file has: change the page with the message", part)
			}
		}
	}
	if quoted < 40 {
		t.Errorf("only %d messages found", quoted)
	}
}

// testSources is the text of all tests, and of the suite they share.
func testSources(t testing.TB) string {
	return sources(t, func(path string) bool {
		return strings.HasSuffix(path, "_test.go") || strings.Contains(path, "partitiontest") && strings.HasSuffix(path, ".go")
	})
}

// sources is the text of the files below the root that are wanted.
func sources(t testing.TB, wanted func(path string) bool) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !wanted(path) {
			return err
		}
		text, err := os.ReadFile(path)
		all.WriteString("\n")
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// TestGuaranteesAndParityLeaveNothingOut: each promised invariant, and each row of docs/parity.md, names a test.
func TestGuaranteesAndParityLeaveNothingOut(t *testing.T) {
	for page, rows := range map[string][]string{
		"../docs/guarantees.md": {"1", "2", "3", "4", "5", "6", "7", "8"},
		"../docs/parity.md":     {"K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8", "K9", "K10"},
	} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			if !regexp.MustCompile("(?m)^\\| " + row + " \\|.*`Test[A-Za-z]+").Match(text) {
				t.Errorf("%s has no row %s with a test", page, row)
			}
		}
	}
}

var (
	docHeading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	docLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	docType    = regexp.MustCompile("(?m)^\\| [0-9]+ \\| `([a-z]+)\\.([A-Za-z]+)`")
)

// docPages returns the documents by their paths, without fenced blocks.
func docPages(t testing.TB) map[string]string {
	t.Helper()
	pages := map[string]string{}
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/*/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			pages[path] = string(fenced.ReplaceAll(text, nil))
		}
	}
	return pages
}

// hasAnchor reports whether a document has a heading with this anchor, by GitHub's rule for anchors.
func hasAnchor(page, anchor string) bool {
	for _, m := range docHeading.FindAllStringSubmatch(page, -1) {
		kept := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		if strings.ReplaceAll(kept, " ", "-") == anchor {
			return true
		}
	}
	return false
}

// TestDocsLinksLeadSomewhere: a relative link leads to a file of the tree and, behind "#", to a heading.
func TestDocsLinksLeadSomewhere(t *testing.T) {
	pages, links := docPages(t), 0
	for path, text := range pages {
		for _, m := range docLink.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(m[1], "https://") || strings.HasPrefix(m[1], "http://") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			} else if anchor != "" && !hasAnchor(pages[target], anchor) {
				t.Errorf("%s links to %s, which has no such heading", path, m[1])
			}
		}
	}
	if links < 40 {
		t.Errorf("only %d links found", links)
	}
}

// TestDocsNameTypesThatExist: the types on the path of a PUT are in the packages that docs/architecture.md names.
func TestDocsNameTypesThatExist(t *testing.T) {
	types := docType.FindAllStringSubmatch(docPages(t)["../docs/architecture.md"], -1)
	if len(types) < 15 || len(types) > 24 {
		t.Errorf("%d types are listed, want 15 to 24", len(types))
	}
	for _, m := range types {
		source := sources(t, func(path string) bool { return filepath.Base(filepath.Dir(path)) == m[1] })
		if !regexp.MustCompile(`(?m)^type ` + m[2] + `\b`).MatchString(source) {
			t.Errorf("docs/architecture.md names %s.%s, which is no type: change the table with the name", m[1], m[2])
		}
	}
}

// TestDocsWalksNameRealPlaces: each walk of CONTRIBUTING.md that says "`file`: `name`" names something of that file.
func TestDocsWalksNameRealPlaces(t *testing.T) {
	places := regexp.MustCompile("`([a-z_/]+\\.go)`: `([A-Za-z]+)`").FindAllStringSubmatch(docPages(t)["../CONTRIBUTING.md"], -1)
	if len(places) < 10 {
		t.Errorf("only %d places found", len(places))
	}
	for _, m := range places {
		text, err := os.ReadFile(filepath.Join("..", m[1]))
		if err != nil {
			t.Error(err)
		} else if !regexp.MustCompile(`\b` + m[2] + `\b`).Match(text) {
			t.Errorf("CONTRIBUTING.md names %s in %s, which has no such name", m[2], m[1])
		}
	}
}

func TestHasAnchorKnowsTheDifference(t *testing.T) {
	page := "# The `a_b` key, now\n\ntext\n\n## Next\n"
	for anchor, want := range map[string]bool{"the-a_b-key-now": true, "next": true, "text": false, "the-a_b-key": false} {
		if hasAnchor(page, anchor) != want {
			t.Errorf("#%s: not %t", anchor, want)
		}
	}
}
