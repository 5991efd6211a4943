package wire

import (
	"encoding/xml"
	"time"
	"unicode/utf8"
)

// Entry is the document of an entry, with or without its value: in lists, exports, changes, and the answer to
// entry=true. In JSON a value stands in Value if it is valid UTF-8, otherwise in ValueBase64; both are nil in a
// document without the value.
type Entry struct {
	XMLName     xml.Name   `json:"-" xml:"entry"`
	Key         Text       `json:"key" xml:"key"`
	Value       *Text      `json:"value,omitempty" xml:"value"`
	ValueBase64 *[]byte    `json:"value_base64,omitempty" xml:"-"`
	ContentType Text       `json:"content_type" xml:"content_type"`
	Size        int64      `json:"size" xml:"size"` // of the value, in bytes
	ETag        string     `json:"etag" xml:"etag"` // of the stored value, with its quotes
	Revision    int64      `json:"revision" xml:"revision"`
	Origin      Text       `json:"origin" xml:"origin"` // the master that committed the revision
	ModifiedAt  time.Time  `json:"modified_at" xml:"modified_at"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty" xml:"expires_at,omitempty"` // nil: never
	Metadata    Metadata   `json:"metadata,omitempty" xml:"metadata,omitempty"`
}

// SetValue puts a value into the member that JSON can hold it in. The document keeps value: do not change it.
func (e *Entry) SetValue(value []byte) {
	e.Size = int64(len(value))
	if utf8.Valid(value) {
		text := Text(value)
		e.Value, e.ValueBase64 = &text, nil
		return
	}
	e.Value, e.ValueBase64 = nil, &value
}

// KeyPage is a page of GET /v1/keys.
type KeyPage struct {
	XMLName  xml.Name `json:"-" xml:"keys"`
	Keys     []*Entry `json:"keys" xml:"entry"`
	Prefixes []Text   `json:"prefixes" xml:"prefix"`               // groups that the delimiter formed, in order
	Next     string   `json:"next,omitempty" xml:"next,omitempty"` // cursor of the next page; "" on the last page
}

// Change is the latest state of a key that changed.
type Change struct {
	*Entry
	Deleted bool   `json:"deleted" xml:"deleted"`
	Next    string `json:"next,omitempty" xml:"-"` // in a stream: the token that continues after this change
}

// ChangePage is a page of GET /v1/changes.
type ChangePage struct {
	XMLName xml.Name  `json:"-" xml:"changes"`
	Changes []*Change `json:"changes" xml:"entry"`
	Next    string    `json:"next" xml:"next"` // the token that continues after this page
	More    bool      `json:"more" xml:"more"` // the next page has changes already
}

// Deletion is the answer to DELETE /v1/keys.
type Deletion struct {
	XMLName xml.Name `json:"-" xml:"deleted"`
	Deleted int      `json:"deleted" xml:"count"`                 // keys that this request deleted
	Next    string   `json:"next,omitempty" xml:"next,omitempty"` // cursor that continues the deletion; "" at the end
}
