package wire

import (
	"encoding/xml"
	"time"
	"unicode/utf8"
)

// Entry is the document of an entry: in lists, exports, changes, and answers to entry=true. JSON holds a value in Value
// if the value is valid UTF-8, otherwise in ValueBase64. Both are nil in a document without a value.
type Entry struct {
	XMLName     xml.Name   `json:"-" xml:"entry"`
	Key         Text       `json:"key" xml:"key"`
	Value       *Text      `json:"value,omitempty" xml:"value"`
	ValueBase64 *[]byte    `json:"value_base64,omitempty" xml:"-"`
	ContentType Text       `json:"content_type" xml:"content_type"`
	Size        int64      `json:"size" xml:"size"` // of the value in bytes
	ETag        string     `json:"etag" xml:"etag"` // of the stored value, quoted
	Revision    int64      `json:"revision" xml:"revision"`
	Origin      Text       `json:"origin" xml:"origin"` // the master that committed the revision
	ModifiedAt  time.Time  `json:"modified_at" xml:"modified_at"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty" xml:"expires_at,omitempty"` // nil: never
	Metadata    Metadata   `json:"metadata,omitempty" xml:"metadata,omitempty"`
}

// SetValue sets Size and either Value or ValueBase64. The document aliases value: do not change the bytes afterwards.
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

// Change is the latest state of a changed key.
type Change struct {
	*Entry
	Deleted bool   `json:"deleted" xml:"deleted"`
	Next    string `json:"next,omitempty" xml:"-"` // in streams: token to continue after this change
}

// ChangePage is a page of GET /v1/changes.
type ChangePage struct {
	XMLName xml.Name  `json:"-" xml:"changes"`
	Changes []*Change `json:"changes" xml:"entry"`
	Next    string    `json:"next" xml:"next"` // token to continue after this page
	More    bool      `json:"more" xml:"more"` // more changes are available now
}

// Deletion is the answer to DELETE /v1/keys.
type Deletion struct {
	XMLName xml.Name `json:"-" xml:"deleted"`
	Deleted int      `json:"deleted" xml:"count"`                 // keys that this request deleted
	Next    string   `json:"next,omitempty" xml:"next,omitempty"` // cursor that continues the deletion; "" at the end
}
