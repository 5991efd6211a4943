package store

import (
	"encoding/base64"
	"encoding/binary"
	"errors"

	"github.com/zeebo/xxh3"
)

// TokenKind is what a token is for. Tokens of one kind are not taken for
// another's.
type TokenKind string

// The kinds of token: a letter, and the version of the form.
const (
	SessionToken TokenKind = "s2" // what a client has seen or written
	ChangesToken TokenKind = "c2" // how far a reader of the change feed has come
)

// ClusterTag is a cluster's id, shortened for tokens: revisions of one cluster
// say nothing in another, though its partitions have the same names. The id is
// made when the cluster is founded and stands in every partition's cluster row.
// 0 is of no cluster.
type ClusterTag uint32

// tagOf is the tag of a cluster's id: 32 bits of its xxh3 hash.
func tagOf(id string) ClusterTag { return max(1, ClusterTag(xxh3.HashString(id))) }

const (
	maxTokenBytes  = 8 << 10 // longer ones cannot have been made here
	maxOriginBytes = 64      // of a partition's name
	maxMarks       = 128
	tagBytes       = 4
	checkBytes     = 4
)

var (
	// ErrToken: a text is not a token of the kind that is asked for, or not whole.
	ErrToken = errors.New("not a token, or not a whole one")
	// ErrForeignToken: the token is of another cluster.
	ErrForeignToken = errors.New("a token of another cluster")
)

// A token is its kind and then, in base64url without padding, the tag of its
// cluster, and for each mark in the order of the origins: how many bytes of
// the name are those of the one before it, how many follow, these, and the
// revision (numbers as varints); then 4 bytes of the xxh3 hash of all that. Equal vectors have equal tokens.
// The hash finds damage: a token is no secret and no proof of anything.
var tokenEncoding = base64.RawURLEncoding.Strict()

// Token is the vector in text. It is at most some 15 bytes a mark and the names.
func (v Vector) Token(kind TokenKind, of ClusterTag) string {
	return string(v.AppendToken(make([]byte, 0, 512), kind, of))
}

// TokenWith is the token of v.With(m), without making that vector.
func (v Vector) TokenWith(kind TokenKind, of ClusterTag, m Mark) string {
	if len(v.marks) > 0 || m.Revision <= 0 {
		return v.With(m).Token(kind, of)
	}
	marks := [1]Mark{m}
	return string(appendToken(make([]byte, 0, 128), kind, of, marks[:]))
}

// AppendToken appends the token to b.
func (v Vector) AppendToken(b []byte, kind TokenKind, of ClusterTag) []byte {
	return appendToken(b, kind, of, v.marks)
}

func appendToken(b []byte, kind TokenKind, of ClusterTag, marks []Mark) []byte {
	var space [512]byte
	raw := binary.BigEndian.AppendUint32(append(space[:0], kind...), uint32(of))
	raw = appendMarks(raw, marks)
	raw = binary.BigEndian.AppendUint32(raw, uint32(xxh3.Hash(raw)))
	return tokenEncoding.AppendEncode(append(b, kind...), raw[len(kind):])
}

func appendMarks(raw []byte, marks []Mark) []byte {
	before := Origin("")
	for _, m := range marks {
		same := shared(before, m.Origin)
		raw = binary.AppendUvarint(raw, uint64(same))
		raw = binary.AppendUvarint(raw, uint64(len(m.Origin)-same))
		raw = append(raw, m.Origin[same:]...)
		raw = binary.AppendUvarint(raw, uint64(m.Revision))
		before = m.Origin
	}
	return raw
}

// shared is how many bytes two names have in common at their beginnings.
func shared(a, b Origin) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// ParseToken is the vector that Token wrote for this kind, with the tag of its
// cluster, and nothing but that: ErrToken for any other text.
func ParseToken(kind TokenKind, text string) (v Vector, of ClusterTag, err error) {
	if len(text) > maxTokenBytes || len(text) < len(kind) || text[:len(kind)] != string(kind) {
		return Vector{}, 0, ErrToken
	}
	raw, err := tokenEncoding.AppendDecode([]byte(kind), []byte(text[len(kind):]))
	from, end := len(kind)+tagBytes, len(raw)-checkBytes
	if err != nil || end < from || binary.BigEndian.Uint32(raw[end:]) != uint32(xxh3.Hash(raw[:end])) {
		return Vector{}, 0, ErrToken
	}
	of = ClusterTag(binary.BigEndian.Uint32(raw[len(kind):]))
	marks, ok := parseMarks(raw[from:end])
	v = Vector{marks}
	if !ok || v.Token(kind, of) != text { // there is one form only
		return Vector{}, 0, ErrToken
	}
	return v, of, nil
}

func parseMarks(raw []byte) (marks []Mark, ok bool) {
	before := Origin("")
	for len(raw) > 0 {
		same, n := binary.Uvarint(raw)
		if n <= 0 || same > uint64(len(before)) {
			return nil, false
		}
		raw = raw[n:]
		more, n := binary.Uvarint(raw)
		if n <= 0 || more > uint64(len(raw)-n) {
			return nil, false
		}
		o := before[:same] + Origin(raw[n:n+int(more)])
		raw = raw[n+int(more):]
		revision, n := binary.Uvarint(raw)
		if n <= 0 || Revision(revision) <= 0 || o <= before || len(o) > maxOriginBytes || len(marks) == maxMarks {
			return nil, false
		}
		raw = raw[n:]
		marks = append(marks, Mark{o, Revision(revision)})
		before = o
	}
	return marks, true
}
