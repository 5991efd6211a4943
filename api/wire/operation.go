package wire

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Operation is one operation on a key, decoded. Its slices may alias the text that it was decoded from.
type Operation struct {
	Name        string // "put", "get", "delete"; "" if none was given
	Key         []byte
	Value       []byte
	ContentType string
	TTL         []byte // as written, like the two conditions
	IfMatch     []byte
	IfNoneMatch []byte
	Metadata    map[string]string // names in lower case
	ExpiresAt   time.Time         // zero if none was given

	Given Member // the members that are not null
	Err   error  // an *Error: why it is not done; nil if it can be
}

// Member is a set of an operation's members.
type Member uint16

// The members of an operation, and a sign of those that only the line of an entry has.
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
	memberIgnored // what the server sets by itself

	ofPuts = memberIgnored - 1
)

var memberNames = [...]string{"op", "key", "value", "value_base64", "content_type", "ttl", "if_match", "if_none_match", "metadata", "expires_at"}

// membersOf says which members an operation can have.
var membersOf = map[string]Member{
	"get":    MemberOp | MemberKey,
	"delete": MemberOp | MemberKey | MemberIfMatch | MemberIfNoneMatch,
	"put":    ofPuts | memberIgnored,
}

// named finds a member by its name in JSON; 0 if an operation has none.
func named(quoted []byte) Member {
	switch string(quoted) { // does not allocate
	case `"op"`:
		return MemberOp
	case `"key"`:
		return MemberKey
	case `"value"`:
		return MemberValue
	case `"value_base64"`:
		return MemberBase64
	case `"content_type"`:
		return MemberType
	case `"ttl"`:
		return MemberTTL
	case `"if_match"`:
		return MemberIfMatch
	case `"if_none_match"`:
		return MemberIfNoneMatch
	case `"metadata"`:
		return MemberMetadata
	case `"expires_at"`:
		return MemberExpiresAt
	}
	for i, name := range memberNames {
		if text, err := jsontext.AppendUnquote(nil, quoted); err == nil && string(text) == name {
			return 1 << i
		}
	}
	return 0
}

// First is the name of the first member of a set.
func (m Member) First() string {
	for i, name := range memberNames {
		if m&(1<<i) != 0 {
			return name
		}
	}
	return ""
}

// Error is a refusal of text that is no operation.
type Error struct {
	Syntax bool   // it is not JSON
	Member string // at fault; "" for none
	Detail string
}

func (e *Error) Error() string { return e.Detail }

func refuse(member, format string, args ...any) *Error {
	return &Error{Member: member, Detail: fmt.Sprintf(format, args...)}
}
