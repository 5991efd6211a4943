package wire

import (
	"fmt"
	"time"
)

// Operation is a decoded operation on a key. Its slices may alias the decoded text.
type Operation struct {
	Name        string // "put", "get", "delete"; "" if missing
	Key         []byte
	Value       []byte
	ContentType string
	TTL         []byte // as written, like IfMatch and IfNoneMatch
	IfMatch     []byte
	IfNoneMatch []byte
	Metadata    map[string]string // by lower-case name
	ExpiresAt   time.Time         // zero if missing

	Given Member // members that are present and not null
	Err   error  // an *Error: why the operation is invalid; nil if it is valid
}

// Member is a set of an operation's members.
type Member uint16

// The members of an operation. memberIgnored stands for those that only an exported entry has.
const (
	MemberOp Member = 1 << iota
	MemberKey
	MemberValue
	MemberBase64
	MemberType
	MemberTTL
	MemberIfMatch
	MemberIfNoneMatch
	MemberMetadata
	MemberExpiresAt
	memberIgnored // set by the server

	ofPuts = memberIgnored - 1
)

var memberNames = [...]string{"op", "key", "value", "value_base64", "content_type", "ttl", "if_match", "if_none_match", "metadata", "expires_at"}

// membersOf lists the members that each operation can have.
var membersOf = map[string]Member{
	"get":    MemberOp | MemberKey,
	"delete": MemberOp | MemberKey | MemberIfMatch | MemberIfNoneMatch,
	"put":    ofPuts | memberIgnored,
}

// named returns the member with a quoted name; 0 if there is none.
func named(quoted []byte) Member {
	name, err := Unquote(quoted)
	for i, n := range memberNames {
		if err == nil && string(name) == n { // does not allocate
			return 1 << i
		}
	}
	return 0
}

// First returns the name of the first member in the set.
func (m Member) First() string {
	for i, name := range memberNames {
		if m&(1<<i) != 0 {
			return name
		}
	}
	return ""
}

// Error explains why a text is not an operation.
type Error struct {
	Syntax bool   // the text is not JSON
	Member string // the invalid member; "" for none
	Detail string
}

// Error returns the detail, a sentence.
func (e *Error) Error() string { return e.Detail }

func refuse(member, format string, args ...any) *Error {
	return &Error{Member: member, Detail: fmt.Sprintf(format, args...)}
}
