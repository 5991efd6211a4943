package access

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func mustCompile(t testing.TB, s Spec) *Grants {
	t.Helper()
	g, err := s.Compile()
	if err != nil {
		t.Fatalf("%+v: %v", s, err)
	}
	return g
}

// TestPrefixesAgreeWithANaiveModel compares grants of random prefixes with a search through all of
// them, for every name over a small alphabet.
func TestPrefixesAgreeWithANaiveModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	names := words("ab/", 5)
	for range 300 {
		var s Spec
		for _, i := range random.Perm(len(names))[:1+random.IntN(12)] {
			if len(names[i]) < 5 {
				s.Prefixes = append(s.Prefixes, Prefix{names[i], Level(random.IntN(3))})
			}
		}
		g, err := s.Compile()
		if err != nil {
			continue // the prefixes only deny
		}
		for _, name := range names {
			want := naiveLevel(s, name)
			if got := g.level(name); got != want || g.CanRead(name) != (want >= Read) || g.CanWrite(name) != (want >= Write) {
				t.Fatalf("%+v: %q has %v, want %v", s.Prefixes, name, got, want)
			}
			if g.CanReadAll(name) != naiveAll(s, name, Read) || g.CanWriteAll(name) != naiveAll(s, name, Write) {
				t.Fatalf("%+v: all of %q: read %v, write %v", s.Prefixes, name, g.CanReadAll(name), g.CanWriteAll(name))
			}
		}
	}
}

// words returns every word of at most n letters.
func words(letters string, n int) []string {
	all := []string{""}
	for first := 0; n > 0; n-- {
		end := len(all)
		for _, w := range all[first:end] {
			for _, l := range letters {
				all = append(all, w+string(l))
			}
		}
		first = end
	}
	return all
}

func naiveLevel(s Spec, name string) (l Level) {
	longest := -1
	for _, p := range s.Prefixes {
		if strings.HasPrefix(name, p.Prefix) && len(p.Prefix) > longest {
			longest, l = len(p.Prefix), p.Access
		}
	}
	return l
}

func naiveAll(s Spec, prefix string, l Level) bool {
	for _, p := range s.Prefixes {
		if strings.HasPrefix(p.Prefix, prefix) && p.Access < l {
			return false
		}
	}
	return naiveLevel(s, prefix) >= l
}

func TestRolesAndRights(t *testing.T) {
	tests := map[string]struct {
		spec Spec
		want string // letters: r read, w write, R and W of everything, a admin, m monitor, $ mint, f force
	}{
		"read":           {Spec{Roles: []Role{RoleRead}}, "rR"},
		"write":          {Spec{Roles: []Role{RoleWrite}}, "rwRW"},
		"admin":          {Spec{Roles: []Role{RoleAdmin}}, "rwRWam$f"},
		"monitor":        {Spec{Roles: []Role{RoleMonitor}}, "m"},
		"mint":           {Spec{Rights: []Right{RightMint}}, "$"},
		"force":          {Spec{Roles: []Role{RoleRead}, Rights: []Right{RightForce}}, "rRf"},
		"prefix":         {Spec{Prefixes: []Prefix{{"a", Write}}}, "rw"},
		"other prefix":   {Spec{Roles: []Role{RoleWrite}, Prefixes: []Prefix{{"b", Write}}}, ""},
		"limited prefix": {Spec{Roles: []Role{RoleMonitor, RoleRead}, Prefixes: []Prefix{{"", Read}, {"ab", Deny}}}, "rm"},
		"empty prefix":   {Spec{Roles: []Role{RoleRead}, Prefixes: []Prefix{{"", Read}}}, "rR"},
	}
	for name, test := range tests {
		g := mustCompile(t, test.spec)
		got := ""
		for _, may := range []struct {
			letter  string
			allowed bool
		}{
			{"r", g.CanRead("a")}, {"w", g.CanWrite("a")}, {"R", g.CanReadAll("")}, {"W", g.CanWriteAll("")},
			{"a", g.IsAdmin()}, {"m", g.MayMonitor()}, {"$", g.MayMint()}, {"f", g.MayForce()},
		} {
			if may.allowed {
				got += may.letter
			}
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		if g.MaySeeDetails() != g.IsAdmin() {
			t.Errorf("%s: details %v", name, g.MaySeeDetails())
		}
		if !g.Spec().Equal(test.spec) {
			t.Errorf("%s: the spec is %+v", name, g.Spec())
		}
	}
}

func TestFaultySpecsAreRefused(t *testing.T) {
	many := make([]Prefix, MaxPrefixes+1)
	for i := range many {
		many[i] = Prefix{strings.Repeat("a", i+1), Read}
	}
	for want, s := range map[string]Spec{
		"nothing is granted":        {},
		"unknown role":              {Roles: []Role{"root"}},
		"unknown right":             {Rights: []Right{"fly"}},
		"the role \"read\" is":      {Roles: []Role{RoleRead, RoleRead}},
		"prefixes cannot limit":     {Roles: []Role{RoleAdmin}, Prefixes: []Prefix{{"a", Read}}},
		"grants write":              {Roles: []Role{RoleRead}, Prefixes: []Prefix{{"a", Write}}},
		"only deny":                 {Roles: []Role{RoleRead}, Prefixes: []Prefix{{"a", Deny}}},
		"the prefix \"a\" is given": {Prefixes: []Prefix{{"a", Read}, {"a", Write}}},
		"control character":         {Prefixes: []Prefix{{"a\n", Read}}},
		"longer than 512":           {Prefixes: []Prefix{{strings.Repeat("a", 513), Read}}},
		"unknown access":            {Prefixes: []Prefix{{"a", 3}}},
		"over the limit of 64":      {Prefixes: many},
	} {
		if _, err := s.Compile(); err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, new(*FieldError)) {
			t.Errorf("%+v: %v, want %q", s, err, want)
		}
	}
	mustCompile(t, Spec{Prefixes: many[:MaxPrefixes]})
}

func TestDecisionsAllocateNothing(t *testing.T) {
	g := mustCompile(t, deepSpec())
	name := strings.Repeat("a", 100)
	if n := testing.AllocsPerRun(100, func() {
		if g.CanWrite(name) || !g.CanRead("orders/7") || g.CanReadAll("a") {
			t.Error("wrong decision")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// deepSpec has MaxPrefixes prefixes, most of them nested.
func deepSpec() (s Spec) {
	s.Prefixes = []Prefix{{"orders/", Read}}
	for i := range MaxPrefixes - 1 {
		s.Prefixes = append(s.Prefixes, Prefix{strings.Repeat("a", i+1), Level(i % 2)})
	}
	return s
}

func BenchmarkCanRead(b *testing.B) {
	g := mustCompile(b, Spec{Prefixes: []Prefix{{"orders/", Write}, {"orders/secret/", Deny}, {"users/", Read}}})
	for b.Loop() {
		g.CanRead("orders/2026/11/29/000001")
	}
}

func BenchmarkCanReadAmong64NestedPrefixes(b *testing.B) {
	g := mustCompile(b, deepSpec())
	name := strings.Repeat("a", 30) + "b"
	for b.Loop() {
		g.CanRead(name)
	}
}
