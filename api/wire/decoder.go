package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Decoder decodes operations. Operations alias the decoded text: do not change the text while they are in use.
type Decoder struct {
	*jsontext.Decoder
	source  bytes.Buffer // the text
	entries bool         // decode entries, not operations
	quoted  []byte       // the previous content type as quoted in the text …
	typ     string       // … and unquoted
}

// NewDecoder returns a decoder without a text.
func NewDecoder() *Decoder { return &Decoder{Decoder: jsontext.NewDecoder(new(bytes.Buffer))} }

// Reset makes text the next text to decode.
func (d *Decoder) Reset(text []byte) {
	d.source = *bytes.NewBuffer(text)
	d.Decoder.Reset(&d.source)
}

// Line decodes a line that holds exactly one operation. Errors are in o.Err.
func (d *Decoder) Line(line []byte, o *Operation) {
	d.Reset(line)
	err := d.Read(o)
	if err == nil {
		err = d.End()
	}
	if err != nil {
		*o = Operation{Err: Syntax(err)}
	}
}

// Entry decodes the line of an entry: a put without the member op, perhaps with the members that only exports have.
func (d *Decoder) Entry(line []byte) (o Operation, err error) {
	d.entries = true
	d.Line(line, &o)
	return o, o.Err
}

// Read decodes the next value of the text. It returns an error only if the text is not JSON; everything else that is
// wrong with the operation is in o.Err.
func (d *Decoder) Read(o *Operation) error {
	if d.PeekKind() != '{' {
		o.Err = refuse("", "An operation is an object.")
		return d.SkipValue()
	}
	err := d.Object(func(name jsontext.Value) error {
		which := d.named(name)
		if which == 0 && o.Err == nil {
			o.Err = refuse(Shorten(name), "There is no member %s of an operation.", Shorten(name))
		}
		value, err := d.ReadValue()
		if err == nil && o.Err == nil && value.Kind() != 'n' {
			o.Given |= which
			o.Err = d.setMember(o, which, value)
		}
		return err
	})
	if err != nil {
		return err
	}
	if d.entries && o.Name == "" {
		o.Name = "put"
	}
	if o.Err == nil {
		o.Err = d.validate(o)
	}
	return nil
}

// Object decodes the object that comes next. It calls member with each quoted name, and member decodes the value.
func (d *Decoder) Object(member func(name jsontext.Value) error) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadValue()
		if err == nil {
			err = member(name)
		}
		if err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// Array decodes the array that comes next. It calls element for each element.
func (d *Decoder) Array(element func() error) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != ']' {
		if err := element(); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// End returns an error if anything follows the last decoded value.
func (d *Decoder) End() error {
	if _, err := d.ReadToken(); err != io.EOF {
		return &Error{Syntax: true, Detail: "Something follows the end of the JSON."}
	}
	return nil
}

// Syntax turns a syntax error of jsontext into an *Error with the position, and returns every other error unchanged.
func Syntax(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return &Error{Syntax: true, Detail: "The JSON is cut short."}
	}
	e, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case !ok:
		return err
	case errors.Is(e, jsontext.ErrDuplicateName):
		return syntax("A member is given twice at byte %d.", e.ByteOffset)
	}
	return syntax("The JSON is malformed at byte %d.", e.ByteOffset)
}

func syntax(format string, args ...any) *Error {
	e := refuse("", format, args...)
	e.Syntax = true
	return e
}

// Shorten cuts a name from outside to at most 64 bytes, to quote it in an answer.
func Shorten(quoted []byte) string {
	const most = 64
	if len(quoted) > most {
		return strings.ToValidUTF8(string(quoted[:most]), "") + "…"
	}
	return string(quoted)
}

func (d *Decoder) named(quoted []byte) Member {
	which := named(quoted)
	if which == 0 && d.entries {
		switch string(quoted) {
		case `"size"`, `"etag"`, `"revision"`, `"origin"`, `"modified_at"`:
			return memberIgnored
		}
	}
	return which
}

// setMember stores one member. On success it returns an untyped nil, which callers may store.
func (d *Decoder) setMember(o *Operation, m Member, value jsontext.Value) error {
	switch {
	case m == MemberMetadata:
		return o.setMetadata(value)
	case m == memberIgnored:
		return nil
	case value.Kind() != '"':
		return refuse(m.First(), "The member %s is a string.", m.First())
	case m == MemberType && string(value) == string(d.quoted):
		o.ContentType = d.typ
		return nil
	}
	text, err := Unquote(value)
	if err != nil {
		return syntax("A string of the operation is malformed.")
	}
	switch m {
	case MemberOp:
		return o.setName(text)
	case MemberKey:
		o.Key = text
	case MemberValue:
		o.Value = text
	case MemberBase64:
		return o.setBase64(text)
	case MemberType:
		d.quoted, d.typ = value, string(text)
		o.ContentType = d.typ
	case MemberTTL:
		o.TTL = text
	case MemberIfMatch:
		o.IfMatch = text
	case MemberIfNoneMatch:
		o.IfNoneMatch = text
	case MemberExpiresAt:
		return o.setExpiry(text)
	}
	return nil
}

// Unquote decodes a JSON string, in place unless it contains escapes.
func Unquote(value jsontext.Value) ([]byte, error) {
	if bytes.IndexByte(value, '\\') >= 0 {
		return jsontext.AppendUnquote(make([]byte, 0, len(value)), value)
	}
	return value[1 : len(value)-1 : len(value)-1], nil
}

func (o *Operation) setName(text []byte) error {
	for _, name := range [...]string{"put", "get", "delete"} {
		if string(text) == name {
			o.Name = name
			return nil
		}
	}
	return refuse("op", "The member op is put, get or delete.")
}

func (o *Operation) setBase64(text []byte) error {
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(decoded, text)
	if err != nil {
		return refuse("value_base64", "The member value_base64 is not base64 (RFC 4648, section 4).")
	}
	o.Value = decoded[:n]
	return nil
}

func (o *Operation) setExpiry(text []byte) (err error) {
	if o.ExpiresAt, err = time.Parse(time.RFC3339, string(text)); err != nil {
		return refuse("expires_at", "The member expires_at is a time like 2026-01-31T12:00:00Z.")
	}
	return nil
}

// setMetadata accepts only names and values that headers could carry.
func (o *Operation) setMetadata(value jsontext.Value) error {
	var given map[string]string
	if json.Unmarshal(value, &given) != nil {
		return refuse("metadata", "The member metadata is an object of strings.")
	}
	o.Metadata = make(map[string]string, len(given))
	for name, text := range given {
		if err := CheckMetadata(name, text); err != nil {
			return err
		}
		o.Metadata[strings.ToLower(name)] = text
	}
	return nil
}

// validate validates the combination of members.
func (d *Decoder) validate(o *Operation) error {
	foreign := o.Given &^ membersOf[o.Name]
	switch {
	case o.Name == "":
		return refuse("op", "An operation needs the member op.")
	case d.entries && o.Name != "put":
		return refuse("op", "An entry is stored by a put, not a %s.", o.Name)
	case o.Given&MemberKey == 0, d.entries && len(o.Key) == 0:
		return refuse("key", "An operation needs the member key.")
	case foreign != 0:
		return refuse(foreign.First(), "The member %s does not belong to a %s.", foreign.First(), o.Name)
	case o.Name == "put" && o.Given&(MemberValue|MemberBase64) == 0:
		return refuse("value", "A put needs the member value or value_base64.")
	case o.Given&MemberValue != 0 && o.Given&MemberBase64 != 0:
		return refuse("value_base64", "A put has either value or value_base64.")
	case o.Given&MemberTTL != 0 && o.Given&MemberExpiresAt != 0:
		return refuse("expires_at", "A put has either ttl or expires_at.")
	}
	return nil
}
