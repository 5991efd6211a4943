package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runnelkv/runnel/store"
)

// operation is one item of a batch or a transaction, decoded.
type operation struct {
	name   string // "put", "get", "delete"; "" if none was given
	write         // its entry's Key is set for every sort of operation
	given  member
	failed error // why it is not done; nil if it can be

	// What a put that has to be decided, or a delete, wrote; nil for others.
	written *store.Written
}

// reads reports whether the operation changes nothing.
func (o *operation) reads() bool { return o.name == "get" }

// change is a put or a delete as the store takes it.
func (o *operation) change(c *store.Change) {
	c.Entry, c.Decide, c.Created, c.Err = o.entry, nil, false, nil
	if o.name == "put" && o.blind() {
		return
	}
	o.written = new(store.Written)
	if o.name == "delete" {
		c.Decide = o.conditions.deletion(o.entry.Key, &o.written.Entry)
	} else {
		c.Decide = o.decide(o.written)
	}
}

// member is a set of an operation's members.
type member uint16

const (
	memberOp member = 1 << iota
	memberKey
	memberValue
	memberBase64
	memberType
	memberTTL
	memberMatch
	memberNoneMatch
	memberMetadata
)

var memberNames = [...]string{"op", "key", "value", "value_base64", "content_type", "ttl", "if_match", "if_none_match", "metadata"}

// membersOf says which members an operation can have.
var membersOf = map[string]member{
	"get":    memberOp | memberKey,
	"delete": memberOp | memberKey | memberMatch | memberNoneMatch,
	"put":    1<<len(memberNames) - 1,
}

// memberNamed finds a member by its name in JSON; 0 if there is none.
func memberNamed(quoted []byte) member {
	switch string(quoted) { // does not allocate
	case `"op"`:
		return memberOp
	case `"key"`:
		return memberKey
	case `"value"`:
		return memberValue
	case `"value_base64"`:
		return memberBase64
	case `"content_type"`:
		return memberType
	case `"ttl"`:
		return memberTTL
	case `"if_match"`:
		return memberMatch
	case `"if_none_match"`:
		return memberNoneMatch
	case `"metadata"`:
		return memberMetadata
	}
	for i, name := range memberNames {
		if text, err := jsontext.AppendUnquote(nil, quoted); err == nil && string(text) == name {
			return 1 << i
		}
	}
	return 0
}

// first is the name of the first member of a set.
func (m member) first() string {
	for i, name := range memberNames {
		if m&(1<<i) != 0 {
			return name
		}
	}
	return ""
}

// refuseItem refuses an operation for one of its members.
func refuseItem(member, format string, args ...any) *refusal {
	e := refuse(kindInvalidItem, format, args...)
	e.members.Parameter = member
	return e
}

// operations decodes operations. Values and keys may alias what is decoded, so
// that must not be changed afterwards.
type operations struct {
	server   *Server
	decoder  *jsontext.Decoder
	source   bytes.Buffer // what decoder reads
	maxValue int64
	key      []byte
	quoted   []byte // the content type of the operation before …
	typ      string // … and what it was decoded to
}

func (s *Server) newOperations() *operations {
	return &operations{server: s, decoder: jsontext.NewDecoder(new(bytes.Buffer)), maxValue: s.store.MaxValueBytes()}
}

// reset makes text what is decoded next.
func (d *operations) reset(text []byte) {
	d.source = *bytes.NewBuffer(text)
	d.decoder.Reset(&d.source)
}

// read decodes the value that comes next. The error says that it is not JSON;
// all else that is wrong with it is in o.failed.
func (d *operations) read(o *operation) error {
	if d.decoder.PeekKind() != '{' {
		o.failed = refuse(kindInvalidItem, "An operation is an object.")
		return d.decoder.SkipValue()
	}
	if _, err := d.decoder.ReadToken(); err != nil {
		return err
	}
	for d.decoder.PeekKind() != '}' {
		name, err := d.decoder.ReadValue()
		if err != nil {
			return err
		}
		which := memberNamed(name)
		if which == 0 && o.failed == nil {
			o.failed = refuseItem(shorten(name), "There is no member %s of an operation.", shorten(name))
		}
		value, err := d.decoder.ReadValue()
		if err != nil {
			return err
		}
		if o.failed == nil && value.Kind() != 'n' {
			o.given |= which
			o.failed = d.set(o, which, value)
		}
	}
	if _, err := d.decoder.ReadToken(); err != nil {
		return err
	}
	if o.failed == nil {
		o.failed = o.check()
	}
	return nil
}

// end refuses whatever follows the value that was decoded last.
func (d *operations) end() error {
	if _, err := d.decoder.ReadToken(); err != io.EOF {
		return refuse(kindInvalidJSON, "Something follows the end of the JSON.")
	}
	return nil
}

// refuseJSON says where something is not JSON. Any other error it passes on.
func refuseJSON(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return refuse(kindInvalidJSON, "The JSON is cut short.")
	}
	e, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case !ok:
		return err
	case errors.Is(e, jsontext.ErrDuplicateName):
		return refuse(kindInvalidJSON, "A member is given twice at byte %d.", e.ByteOffset)
	}
	return refuse(kindInvalidJSON, "The JSON is malformed at byte %d.", e.ByteOffset)
}

// shorten makes a name from outside fit for an answer.
func shorten(quoted []byte) string {
	const most = 64
	if len(quoted) > most {
		return strings.ToValidUTF8(string(quoted[:most]), "") + "…"
	}
	return string(quoted)
}

// set takes one member. It returns nil as a nil error, so that callers can keep it.
func (d *operations) set(o *operation, m member, value jsontext.Value) error {
	if m == memberMetadata {
		return d.setMetadata(o, value)
	}
	if value.Kind() != '"' {
		return refuseItem(m.first(), "The member %s is a string.", m.first())
	}
	if m == memberType && string(value) == string(d.quoted) {
		o.entry.ContentType = d.typ
		return nil
	}
	text, err := unquote(value)
	if err != nil {
		return refuse(kindInvalidJSON, "A string of the operation is malformed.")
	}
	switch m {
	case memberOp:
		return o.setName(text)
	case memberKey:
		return d.setKey(o, text)
	case memberValue:
		return d.setValue(o, text)
	case memberBase64:
		decoded := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
		n, err := base64.StdEncoding.Decode(decoded, text)
		if err != nil {
			return refuseItem("value_base64", "The member value_base64 is not base64 (RFC 4648, section 4).")
		}
		return d.setValue(o, decoded[:n])
	case memberType:
		return d.setType(o, value, string(text))
	case memberTTL:
		if o.ttl, err = timeToLive(url.Values{"ttl": {string(text)}}); err != nil {
			return refuseItem("ttl", "%s", err.(*refusal).detail)
		}
	case memberMatch:
		o.conditions.match, err = itemTags("if_match", text)
		return err
	case memberNoneMatch:
		o.conditions.noneMatch, err = itemTags("if_none_match", text)
		return err
	}
	return nil
}

// unquote decodes a string, in place where nothing is escaped.
func unquote(value jsontext.Value) ([]byte, error) {
	for _, c := range value {
		if c == '\\' {
			return jsontext.AppendUnquote(make([]byte, 0, len(value)), value)
		}
	}
	return value[1 : len(value)-1 : len(value)-1], nil
}

func (o *operation) setName(text []byte) error {
	switch string(text) {
	case "put":
		o.name = "put"
	case "get":
		o.name = "get"
	case "delete":
		o.name = "delete"
	default:
		return refuseItem("op", "The member op is put, get or delete.")
	}
	return nil
}

func (d *operations) setKey(o *operation, text []byte) error {
	d.key = append(append(append(d.key[:0], store.User...), '/'), text...)
	key := store.Key(d.key)
	if err := d.server.store.CheckName(store.Name(key)); err != nil {
		return err
	}
	o.entry.Key = key
	return nil
}

func (d *operations) setValue(o *operation, value []byte) error {
	if int64(len(value)) > d.maxValue {
		return refuseTooLarge(d.maxValue)
	}
	o.entry.Value = value
	return nil
}

func (d *operations) setType(o *operation, quoted jsontext.Value, typ string) error {
	if !isMediaType(typ) {
		return refuseItem("content_type", "The member content_type is a media type like text/plain, of at most %d ASCII characters.", maxContentTypeBytes)
	}
	d.quoted, d.typ = quoted, typ
	o.entry.ContentType = typ
	return nil
}

// itemTags reads entity tags as the header of that meaning has them.
func itemTags(member string, text []byte) (tags, error) {
	t, err := readTags(http.Header{member: {string(text)}}, member)
	if err != nil {
		return t, refuseItem(member, "%s", err.(*refusal).detail)
	}
	return t, nil
}

// setMetadata takes names and values as headers could carry them.
func (d *operations) setMetadata(o *operation, value jsontext.Value) error {
	var given map[string]string
	if json.Unmarshal(value, &given) != nil {
		return refuseItem("metadata", "The member metadata is an object of strings.")
	}
	m := make(metadata, len(given))
	for name, text := range given {
		if !isToken(name) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return refuseItem("metadata", "Metadata have names of letters, digits and hyphens, and values without control characters.")
		}
		m[strings.ToLower(name)] = text
	}
	if len(m) == 0 {
		return nil
	}
	var err error
	if o.entry.Metadata, err = json.Marshal(m); err != nil {
		return err
	}
	if len(o.entry.Metadata) > maxMetadataBytes {
		return refuseItem("metadata", "The metadata are larger than %d bytes.", maxMetadataBytes)
	}
	return nil
}

// check holds the members against each other.
func (o *operation) check() error {
	switch foreign := o.given &^ membersOf[o.name]; {
	case o.name == "":
		return refuseItem("op", "An operation needs the member op.")
	case o.entry.Key == "":
		return refuseItem("key", "An operation needs the member key.")
	case foreign != 0:
		return refuseItem(foreign.first(), "The member %s does not belong to a %s.", foreign.first(), o.name)
	case o.name == "put" && o.given&(memberValue|memberBase64) == 0:
		return refuseItem("value", "A put needs the member value or value_base64.")
	case o.given&memberValue != 0 && o.given&memberBase64 != 0:
		return refuseItem("value_base64", "A put has either value or value_base64.")
	}
	if o.name == "put" && o.entry.ContentType == "" {
		o.entry.ContentType = defaultContentType
	}
	return nil
}
