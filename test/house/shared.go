package main

import (
	"cmp"
	"go/token"
	"slices"
)

// sharedName is a name that methods of several types have.
type sharedName struct {
	name  string
	types []string
}

// sharedNames returns the unexported method names that at least three types share, the most shared first, and how many
// there are in 100 functions. A reader of x.run() has to look up the type of x where run is such a name.
func sharedNames(functions []function) (shared []sharedName, rate float64) {
	types := make(map[string][]string)
	for _, f := range functions {
		if f.receiver != "" && !token.IsExported(f.name) {
			types[f.name] = append(types[f.name], f.folder+"."+f.receiver)
		}
	}
	for name, of := range types {
		if len(of) >= 3 {
			shared = append(shared, sharedName{name, of})
		}
	}
	slices.SortFunc(shared, func(a, b sharedName) int {
		return cmp.Or(cmp.Compare(len(b.types), len(a.types)), cmp.Compare(a.name, b.name))
	})
	return shared, 100 * float64(len(shared)) / float64(max(1, len(functions)))
}
