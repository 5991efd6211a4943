package store

import "github.com/runnelkv/runnel/store/internal/version"

// Mark stands for all changes of an Origin up to a Revision, its two fields.
type Mark = version.Mark

// Vector is a set of marks, at most one per origin. A session is the vector of the revisions that it has read or
// written. The zero value is empty. A Vector is immutable; With and Merge return larger vectors, and Token the text
// for a client.
type Vector = version.Vector

// VectorOf is the vector of the marks. Of several marks of an origin the highest counts; marks at or below 0 are ignored.
func VectorOf(marks ...Mark) Vector { return version.Of(marks...) }

// TokenKind is the purpose of a token. A token is valid for its own kind only.
type TokenKind = version.TokenKind

// The kinds of token.
const (
	SessionToken = version.SessionToken // the revisions that a client has read or written
	ChangesToken = version.ChangesToken // the progress of a reader of the change feed
)

// ClusterTag is a shortened cluster id. Tokens carry the tag, because revisions of a cluster have no meaning in another.
// 0 is no cluster.
type ClusterTag = version.ClusterTag

var (
	// ErrToken: a text is not a token of the expected kind, or is damaged.
	ErrToken = version.ErrToken
	// ErrForeignToken: the token is of another cluster.
	ErrForeignToken = version.ErrForeignToken
)

// ParseToken reverses Vector.Token: it returns the vector and the tag of its cluster. Any text that Token does not
// produce for this kind is ErrToken.
func ParseToken(kind TokenKind, text string) (v Vector, of ClusterTag, err error) {
	return version.ParseToken(kind, text)
}
