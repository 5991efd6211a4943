package feed

import (
	"strings"

	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// Token is the progress of a reader of changes: of each origin, every change up to a
// revision was received. A token is valid in every process and partition of its cluster.
// The zero token is the beginning. Tokens are immutable.
type Token struct {
	cluster version.ClusterTag // 0 at the beginning
	seen    version.Vector     // each change up to here, or a later change of its key, was received
	// floor is, per origin, the revision up to which tombstones were collected when the
	// reader started at the beginning, until the reader has passed that revision. These
	// tombstones concern no entry that the reader has received.
	floor version.Vector
}

// IsBeginning reports whether nothing was received yet.
func (t Token) IsBeginning() bool { return t.cluster == 0 }

// String is the token as text that needs no escaping in URLs and headers: the tokens of its
// vectors, joined by a dot. The beginning is "".
func (t Token) String() string {
	if t.IsBeginning() {
		return ""
	}
	b := make([]byte, 0, 256)
	b = t.seen.AppendToken(b, version.ChangesToken, t.cluster)
	if !t.floor.IsZero() {
		b = t.floor.AppendToken(append(b, '.'), version.ChangesToken, t.cluster)
	}
	return string(b)
}

// ParseToken reverses String. Any text that String does not produce is ErrToken.
func ParseToken(text string) (t Token, err error) {
	if text == "" {
		return t, nil
	}
	seen, floor, _ := strings.Cut(text, ".")
	if t.seen, t.cluster, err = version.ParseToken(version.ChangesToken, seen); err != nil {
		return Token{}, err
	}
	if floor != "" {
		if t.floor, _, err = version.ParseToken(version.ChangesToken, floor); err != nil {
			return Token{}, err
		}
	}
	if t.String() != text { // of no cluster, or of two
		return Token{}, version.ErrToken
	}
	return t, nil
}

// upTo is the revision of an origin up to which every change was received.
func (t Token) upTo(o partition.Origin) partition.Revision { return t.seen.At(o) }

// at is the token after every change of an origin up to r was received too.
func (t Token) at(o partition.Origin, r partition.Revision) Token {
	t.seen = t.seen.With(version.Mark{Origin: o, Revision: r})
	if floor := t.floor.At(o); floor > 0 && floor <= r { // the floor is passed
		var left version.Vector
		for other, floor := range t.floor.All() {
			if other != o {
				left = left.With(version.Mark{Origin: other, Revision: floor})
			}
		}
		t.floor = left
	}
	return t
}

// covers reports whether t has received everything that u has.
func (t Token) covers(u Token) bool { return t.seen.Covers(u.seen) }

// equals reports whether both have received the same.
func (t Token) equals(u Token) bool { return t.seen.Equal(u.seen) }

// lacks reports whether a partition at this position has collected tombstones that the
// reader needs.
func (t Token) lacks(o partition.Origin, at partition.Position) bool {
	return at.Collected > max(t.upTo(o), t.floor.At(o))
}
