package store

import (
	"strings"

	"github.com/runnelkv/runnel/store/partition"
)

// ChangeToken says what a reader of changes has seen: of each origin,
// everything up to a revision. It is good on every process and partition of its
// cluster. The zero token is the beginning. Tokens are immutable.
type ChangeToken struct {
	cluster ClusterTag // 0 at the beginning
	seen    Vector     // every change up to here was given, or one that replaced it
	// floor is what had been collected when this reading began at the beginning,
	// where that is not passed yet: tombstones up to there concern nothing that the
	// reader was ever given.
	floor Vector
}

// IsBeginning reports whether nothing was seen yet.
func (t ChangeToken) IsBeginning() bool { return t.cluster == 0 }

// String is the token in text, made of characters that URLs and headers take as
// they are: the tokens of its vectors, with a dot between. The beginning is "".
func (t ChangeToken) String() string {
	if t.IsBeginning() {
		return ""
	}
	b := make([]byte, 0, 256)
	b = t.seen.AppendToken(b, ChangesToken, t.cluster)
	if !t.floor.IsZero() {
		b = t.floor.AppendToken(append(b, '.'), ChangesToken, t.cluster)
	}
	return string(b)
}

// ParseChangeToken reverses String, for exactly what String makes; else ErrToken.
func ParseChangeToken(text string) (t ChangeToken, err error) {
	if text == "" {
		return t, nil
	}
	seen, floor, _ := strings.Cut(text, ".")
	if t.seen, t.cluster, err = ParseToken(ChangesToken, seen); err != nil {
		return ChangeToken{}, err
	}
	if floor != "" {
		if t.floor, _, err = ParseToken(ChangesToken, floor); err != nil {
			return ChangeToken{}, err
		}
	}
	if t.String() != text { // one of no cluster, or of two
		return ChangeToken{}, ErrToken
	}
	return t, nil
}

// upTo is how far the token is with an origin.
func (t ChangeToken) upTo(o Origin) Revision { return t.seen.At(o) }

// at is the token with everything up to r of an origin seen too.
func (t ChangeToken) at(o Origin, r Revision) ChangeToken {
	t.seen = t.seen.With(Mark{o, r})
	if floor := t.floor.At(o); floor > 0 && floor <= r { // it was passed
		var left Vector
		for other, floor := range t.floor.All() {
			if other != o {
				left = left.With(Mark{other, floor})
			}
		}
		t.floor = left
	}
	return t
}

// covers reports whether everything that u has seen, t has seen.
func (t ChangeToken) covers(u ChangeToken) bool { return t.seen.Covers(u.seen) }

// equals reports whether both have seen the same.
func (t ChangeToken) equals(u ChangeToken) bool { return t.seen.Equal(u.seen) }

// lacks reports whether tombstones that were not seen are gone from where the
// position is.
func (t ChangeToken) lacks(o Origin, at partition.Position) bool {
	return at.Collected > max(t.upTo(o), t.floor.At(o))
}
