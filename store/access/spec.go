package access

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/runnelkv/runnel/store"
)

// Role is a set of permissions.
type Role string

// The roles.
const (
	RoleRead    Role = "read"    // reads keys
	RoleWrite   Role = "write"   // reads and writes keys
	RoleAdmin   Role = "admin"   // everything
	RoleMonitor Role = "monitor" // reads metrics and status
)

// Right is a single permission besides the roles.
type Right string

// The rights.
const (
	RightMint  Right = "mint"  // creates money in the ledger
	RightForce Right = "force" // ends foreign locks
)

// Level is the access to a key. Each level includes the lower ones.
type Level uint8

// The levels.
const (
	Deny Level = iota
	Read
	Write
)

var levelNames = [...]string{"deny", "read", "write"}

// String returns "deny", "read" or "write".
func (l Level) String() string { return levelNames[l] }

// MarshalText is String.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reverses String.
func (l *Level) UnmarshalText(text []byte) error {
	i := slices.Index(levelNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("access %q is not deny, read or write", text)
	}
	*l = Level(i)
	return nil
}

// Prefix is the access to all names that begin with Prefix, unless a longer prefix matches. The
// empty prefix matches every name.
type Prefix struct {
	Prefix string `json:"prefix"`
	Access Level  `json:"access"`
}

// Spec is the written form of grants. The roles read and write allow their access to every name.
// With prefixes, the prefixes alone decide, and the role is the most that a prefix may grant.
type Spec struct {
	Roles    []Role   `json:"roles,omitempty"`
	Rights   []Right  `json:"rights,omitempty"`
	Prefixes []Prefix `json:"prefixes,omitempty"`
}

// MaxPrefixes is the most prefixes of a Spec.
const MaxPrefixes = 64

// Equal reports whether two specs are written alike.
func (s Spec) Equal(other Spec) bool {
	return slices.Equal(s.Roles, other.Roles) && slices.Equal(s.Rights, other.Rights) && slices.Equal(s.Prefixes, other.Prefixes)
}

// FieldError says which part of a key or a Spec is not valid, and why.
type FieldError struct {
	Field  string // such as "name", "roles[0]" or "prefixes[1]"; "" for the whole
	Reason string // a sentence without a full stop, which names the part
}

func (e *FieldError) Error() string { return e.Reason }

func faulty(field, format string, args ...any) error {
	return &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// Compile returns the grants of a spec. The error is a *FieldError: an unknown role or right, a
// repetition, a prefix that is no beginning of a key or grants more than the role, or nothing is
// granted at all.
func (s Spec) Compile() (*Grants, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	return s.compile(), nil
}

func (s Spec) validate() error {
	if err := checkNames("role", s.Roles, RoleRead, RoleWrite, RoleAdmin, RoleMonitor); err != nil {
		return err
	}
	if err := checkNames("right", s.Rights, RightMint, RightForce); err != nil {
		return err
	}
	switch {
	case len(s.Roles)+len(s.Rights)+len(s.Prefixes) == 0:
		return faulty("", "nothing is granted: name a role, a right or a prefix")
	case len(s.Prefixes) == 0:
		return nil
	case len(s.Prefixes) > MaxPrefixes:
		return faulty("prefixes", "there are %d prefixes, over the limit of %d", len(s.Prefixes), MaxPrefixes)
	case slices.Contains(s.Roles, RoleAdmin):
		return faulty("prefixes", "the role admin has access to every key, and prefixes cannot limit it")
	}
	return s.checkPrefixes()
}

func checkNames[T ~string](kind string, names []T, known ...T) error {
	for i, name := range names {
		field := fmt.Sprintf("%ss[%d]", kind, i)
		if !slices.Contains(known, name) {
			return faulty(field, "unknown %s %q; known are %q", kind, name, known)
		}
		if slices.Contains(names[:i], name) {
			return faulty(field, "the %s %q is given twice", kind, name)
		}
	}
	return nil
}

func (s Spec) checkPrefixes() error {
	limit, limited := s.everywhere()
	most := Deny
	for i, p := range s.Prefixes {
		field := fmt.Sprintf("prefixes[%d]", i)
		if err := store.CheckName(p.Prefix, store.MaxKeyBytes); err != nil && p.Prefix != "" {
			return faulty(field, "no key can begin with the prefix %q: %v", p.Prefix, err)
		}
		switch {
		case slices.ContainsFunc(s.Prefixes[:i], func(q Prefix) bool { return q.Prefix == p.Prefix }):
			return faulty(field, "the prefix %q is given twice", p.Prefix)
		case int(p.Access) >= len(levelNames):
			return faulty(field, "the prefix %q has an unknown access", p.Prefix)
		case limited && p.Access > limit:
			return faulty(field, "the prefix %q grants %s, and the role only %s", p.Prefix, p.Access, limit)
		}
		most = max(most, p.Access)
	}
	if most == Deny {
		return faulty("prefixes", "the prefixes only deny, and a name without a matching prefix is denied too; grant a prefix, such as the empty prefix")
	}
	return nil
}

// everywhere is the access that the roles grant to every name. named: a role for keys is given.
func (s Spec) everywhere() (l Level, named bool) {
	for _, r := range s.Roles {
		switch r {
		case RoleAdmin, RoleWrite:
			l = Write
		case RoleRead:
			l = max(l, Read)
		}
	}
	return l, l > Deny
}

func (s Spec) compile() *Grants {
	g := &Grants{spec: s}
	g.everywhere, _ = s.everywhere()
	g.admin = slices.Contains(s.Roles, RoleAdmin)
	g.details = g.admin
	g.monitor = g.admin || slices.Contains(s.Roles, RoleMonitor)
	g.mint = g.admin || slices.Contains(s.Rights, RightMint)
	g.force = g.admin || slices.Contains(s.Rights, RightForce)
	for _, p := range s.Prefixes {
		g.rules = append(g.rules, rule{prefix: p.Prefix, level: p.Access})
	}
	slices.SortFunc(g.rules, func(a, b rule) int { return cmp.Compare(a.prefix, b.prefix) })
	for i := range g.rules {
		g.rules[i].parent = g.longestMatch(g.rules[i].prefix, i-1)
	}
	return g
}
