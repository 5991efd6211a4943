package config

import (
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// checkLines checks that the index has every key of an accepted source, and no line outside the source.
func checkLines(t *testing.T, source string) {
	t.Helper()
	index, _, _ := indexLines(source) // ends for every source
	r := &report{}
	document := r.parse(source)
	if r.err() != nil {
		return
	}
	count := walk("", document, func(path string) {
		if line := index[path]; line < 1 || line > strings.Count(source, "\n")+1 {
			t.Errorf("%s: line %d, of source:\n%s", path, line, source)
		}
	})
	if count != len(index) {
		t.Errorf("index has %d paths, the document %d: %v\n%q", len(index), count, index, source)
	}
}

// walk visits every key and element below value, and counts them.
func walk(path string, value any, visit func(path string)) (count int) {
	each := func(child string, value any) {
		visit(child)
		count += 1 + walk(child, value, visit)
	}
	switch value := value.(type) {
	case map[string]any:
		for name, item := range value {
			each(join(path, name), item)
		}
	case []map[string]any:
		for i, item := range value {
			each(element(path, i), item)
		}
	case []any:
		for i, item := range value {
			each(element(path, i), item)
		}
	}
	return count
}

func sources() []string {
	return []string{
		"a.b.c = 1\n[x.y]\nz = {k = [{a = 1}, {b = [[2], []]}], 'l.m' = {}}\n",
		"[[a]]\n[[a.b]]\nc = 1\n[[a.b]]\n[a.b.d]\ne = 1\n[[a]]\n[[a.b]]\n",
		`q = """\\""""""`, // the library takes six quotes here
		"s = \"\"\"\"a\\\"\"\"\"\"\"\nt = ''''''\nu = '''''x'''''\nv = \"#\\\\\" # = [\n\"\\u0061 b\" . c = 'x' # end",
		"a = [ # [\n  1, # ]\n  '''\n]''',\n\n]\nd = 2020-01-01 10:00:00\r\n[ e . 'f' ]\n",
		"[a]\n[a.b]\n[c.d]\n[c]\n",
	}
}

func TestLinesOfEveryKeyAreKnown(t *testing.T) {
	for _, source := range append(sources(), Example) {
		var document map[string]any
		if _, err := toml.Decode(source, &document); err != nil {
			t.Errorf("%v in\n%s", err, source)
		}
		checkLines(t, source)
	}
}

func FuzzLines(f *testing.F) {
	for _, source := range sources() {
		f.Add(source)
	}
	f.Fuzz(checkLines)
}
