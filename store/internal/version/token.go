package version

import (
	"encoding/base64"
	"encoding/binary"
	"errors"

	"github.com/zeebo/xxh3"

	"github.com/runnelkv/runnel/store/partition"
)

// TokenKind is the purpose of a token. A token is valid for its own kind only.
type TokenKind string

// The kinds of token: a letter, and the version of the format.
const (
	SessionToken TokenKind = "s2" // the revisions that a client has read or written
	ChangesToken TokenKind = "c2" // the progress of a reader of the change feed
)

// ClusterTag is a shortened cluster id. Tokens carry the tag, because revisions of a cluster
// have no meaning in another, even if partitions have the same names. The id is made when
// the cluster is founded, and is stored in every partition's cluster row. 0 is no cluster.
type ClusterTag uint32

// TagOf is the tag of a cluster's id: 32 bits of its xxh3 hash.
func TagOf(id string) ClusterTag { return max(1, ClusterTag(xxh3.HashString(id))) }

const (
	maxTokenBytes  = 8 << 10 // the longest text that is parsed
	maxOriginBytes = 64      // of a partition's name
	maxMarks       = 128
	tagBytes       = 4
	checkBytes     = 4
)

var (
	// ErrToken: a text is not a token of the expected kind, or is damaged.
	ErrToken = errors.New("malformed or damaged token")
	// ErrForeignToken: the token is of another cluster.
	ErrForeignToken = errors.New("token of another cluster")
)

// Format of a token: the kind, then in base64url without padding
//
//   - the cluster tag (4 bytes, big endian)
//   - for each mark, in the order of the origins, with numbers as varints: the length of
//     the prefix shared with the previous origin's name, the length of the rest, the rest,
//     and the revision
//   - the lower 32 bits of the xxh3 hash of everything before, kind included
//
// Equal vectors have equal tokens. The hash detects damage; a token is neither secret nor
// proof of anything.
var tokenEncoding = base64.RawURLEncoding.Strict()

// Token is the vector as text: about 15 bytes per mark, plus the names.
func (v Vector) Token(kind TokenKind, of ClusterTag) string {
	return string(v.AppendToken(make([]byte, 0, 512), kind, of))
}

// TokenWith is the token of v.With(m). It spares making that vector.
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
	before := partition.Origin("")
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

// shared is the length of the common prefix of two names.
func shared(a, b partition.Origin) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// ParseToken reverses Token: it returns the vector and the tag of its cluster. Any text that
// Token does not produce for this kind is ErrToken.
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
	if !ok || v.Token(kind, of) != text { // not in the canonical form
		return Vector{}, 0, ErrToken
	}
	return v, of, nil
}

func parseMarks(raw []byte) (marks []Mark, ok bool) {
	before := partition.Origin("")
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
		o := before[:same] + partition.Origin(raw[n:n+int(more)])
		raw = raw[n+int(more):]
		revision, n := binary.Uvarint(raw)
		if n <= 0 || partition.Revision(revision) <= 0 || o <= before || len(o) > maxOriginBytes || len(marks) == maxMarks {
			return nil, false
		}
		raw = raw[n:]
		marks = append(marks, Mark{o, partition.Revision(revision)})
		before = o
	}
	return marks, true
}
