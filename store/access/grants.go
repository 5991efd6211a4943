package access

import (
	"slices"
	"strings"
)

// Grants decide what a key may do. Names are names of keys as clients write them, decoded and
// without their space. Grants are immutable, and a decision allocates nothing.
type Grants struct {
	spec                                 Spec
	admin, monitor, details, mint, force bool
	everywhere                           Level  // without rules
	rules                                []rule // in the byte order of their prefixes
}

// rule is a compiled Prefix.
type rule struct {
	prefix string
	level  Level
	parent int // index of the rule with the longest prefix of prefix; -1: none
}

// Spec returns the written form.
func (g *Grants) Spec() Spec { return g.spec }

// CanRead reports whether the name may be read.
func (g *Grants) CanRead(name string) bool { return g.level(name) >= Read }

// CanWrite reports whether the name may be written and deleted.
func (g *Grants) CanWrite(name string) bool { return g.level(name) >= Write }

// CanReadAll reports whether every name that begins with prefix may be read.
func (g *Grants) CanReadAll(prefix string) bool { return g.allows(prefix, Read) }

// CanWriteAll reports whether every name that begins with prefix may be written and deleted.
func (g *Grants) CanWriteAll(prefix string) bool { return g.allows(prefix, Write) }

// IsAdmin reports whether everything is allowed.
func (g *Grants) IsAdmin() bool { return g.admin }

// MayMonitor reports whether metrics and status may be read.
func (g *Grants) MayMonitor() bool { return g.monitor }

// MaySeeDetails reports whether a status may show addresses, versions and the texts of errors.
func (g *Grants) MaySeeDetails() bool { return g.details }

// MayMint reports whether money may be created in the ledger.
func (g *Grants) MayMint() bool { return g.mint }

// MayForce reports whether foreign locks may be ended.
func (g *Grants) MayForce() bool { return g.force }

// level is the access to a name: that of the longest matching prefix.
func (g *Grants) level(name string) Level {
	if len(g.rules) == 0 {
		return g.everywhere
	}
	i := g.longestMatch(name, g.lastUpTo(name))
	if i < 0 {
		return Deny
	}
	return g.rules[i].level
}

// allows reports whether all names that begin with prefix have at least the access l: by the rule
// that governs the prefix, and by every rule below the prefix.
func (g *Grants) allows(prefix string, l Level) bool {
	if g.level(prefix) < l {
		return false
	}
	first, _ := g.search(prefix)
	for i := first; i < len(g.rules) && strings.HasPrefix(g.rules[i].prefix, prefix); i++ {
		if g.rules[i].level < l {
			return false
		}
	}
	return true
}

// lastUpTo is the index of the last rule that is not behind the name in byte order, -1 if there is
// none.
func (g *Grants) lastUpTo(name string) int {
	i, found := g.search(name)
	if found {
		return i
	}
	return i - 1
}

func (g *Grants) search(name string) (int, bool) {
	return slices.BinarySearchFunc(g.rules, name, func(r rule, name string) int { return strings.Compare(r.prefix, name) })
}

// longestMatch is the index of the longest prefix of name among the rules up to index i, where i
// is the last rule that is not behind the name. Every prefix of the name is also a prefix of rule
// i or is rule i itself, because the order has nothing else between a prefix and the name. So the
// match is rule i or one of its ancestors.
func (g *Grants) longestMatch(name string, i int) int {
	for i >= 0 && !strings.HasPrefix(name, g.rules[i].prefix) {
		i = g.rules[i].parent
	}
	return i
}
