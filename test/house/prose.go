package main

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// prose counts the words of comments or of documents, and among them the vague words, which stand where a noun should.
type prose struct {
	words int
	vague [4]int // by the groups of vagueWords
}

// vagueWords are the words counted, in groups. The first word of a group names the group.
var vagueWords = [4][]string{
	{"what", "whatever", "what's"},
	{"who", "whoever", "whom", "whose", "who's"},
	{"it", "its", "it's", "itself"},
	{"one", "ones", "one's", "other", "others", "other's"},
}

var word = regexp.MustCompile(`[A-Za-z][A-Za-z'’]*`)

func (p *prose) add(text string) {
	for _, w := range word.FindAllString(text, -1) {
		p.words++
		for i, group := range vagueWords {
			if slices.Contains(group, strings.ToLower(w)) {
				p.vague[i]++
			}
		}
	}
}

func (p *prose) merge(o prose) {
	p.words += o.words
	for i, n := range o.vague {
		p.vague[i] += n
	}
}

// rates returns how many of 1,000 words belong to each group.
func (p prose) rates() (r rates) {
	for i, n := range p.vague {
		r[i] = 1000 * float64(n) / float64(max(1, p.words))
	}
	return r
}

// rates are numbers of vague words in 1,000 words, by the groups of vagueWords.
type rates [4]float64

// excess names the groups of which p has more words than the limits allow. A fraction of an allowed word counts as a word.
func (p prose) excess(limits rates) (faults []string) {
	for i, group := range vagueWords {
		if allowed := int(math.Ceil(limits[i] * float64(p.words) / 1000)); p.vague[i] > allowed {
			faults = append(faults, fmt.Sprintf("%q and its forms: %d in %d words, %d allowed", group[0], p.vague[i], p.words, allowed))
		}
	}
	return faults
}

// prose counts the comments of each folder's Go sources, tests among them. Its entry "docs" counts every file in Markdown.
func (t *tree) prose() (map[string]*prose, error) {
	counts := make(map[string]*prose)
	count := func(place, text string) {
		if counts[place] == nil {
			counts[place] = new(prose)
		}
		counts[place].add(text)
	}
	for _, name := range t.files {
		if strings.HasSuffix(name, ".md") {
			text, err := os.ReadFile(filepath.Join(t.root, name))
			if err != nil {
				return nil, err
			}
			count("docs", string(text))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.sources)) {
		for _, group := range t.sources[name].Comments {
			for _, c := range group.List {
				if isProse(c.Text) {
					count(path.Dir(name), c.Text)
				}
			}
		}
	}
	return counts, nil
}

// isProse reports whether a comment is text for a reader, not a directive such as //go:embed.
func isProse(comment string) bool {
	return strings.HasPrefix(comment, "// ") || strings.HasPrefix(comment, "//\t") || strings.HasPrefix(comment, "/*")
}
