package api

import (
	"bytes"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// entryDocument is a whole entry, or with no value its head.
type entryDocument struct {
	XMLName     xmlName    `json:"-" xml:"entry"`
	Key         text       `json:"key" xml:"key"`
	Value       *text      `json:"value,omitempty" xml:"value"` // in JSON only if it is valid UTF-8
	ValueBase64 *[]byte    `json:"value_base64,omitempty" xml:"-"`
	ContentType text       `json:"content_type" xml:"content_type"`
	Size        int64      `json:"size" xml:"size"`
	ETag        string     `json:"etag" xml:"etag"`
	Revision    int64      `json:"revision" xml:"revision"`
	Origin      text       `json:"origin" xml:"origin"`
	ModifiedAt  time.Time  `json:"modified_at" xml:"modified_at"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty" xml:"expires_at,omitempty"`
	Metadata    metadata   `json:"metadata,omitempty" xml:"metadata,omitempty"`

	raw []byte
}

// headOf documents an entry without its value.
func headOf(e *store.Entry) *entryDocument {
	d := &entryDocument{
		Key:         text(store.Name(e.Key)),
		ContentType: text(e.ContentType),
		Size:        e.Size,
		ETag:        etagOf(e.Revision, formRaw),
		Revision:    int64(e.Revision),
		Origin:      text(e.Origin),
		ModifiedAt:  e.ModifiedAt.Time(),
		Metadata:    metadataOf(e.Metadata),
	}
	if e.ExpiresAt != 0 {
		at := e.ExpiresAt.Time()
		d.ExpiresAt = &at
	}
	return d
}

// entryOf documents an entry with its value, in the member that holds it
// exactly in the form it is for.
func entryOf(e *store.Entry, f form) *entryDocument {
	d := headOf(e)
	d.raw = e.Value
	if f == formXML || utf8.Valid(e.Value) {
		value := text(e.Value)
		d.Value = &value
	} else {
		d.ValueBase64 = &e.Value
	}
	return d
}

func (d *entryDocument) page() string { return "entry.html" }

// Text is the value for a page; binary says that it is not text.
func (d *entryDocument) Text() string { return string(d.raw) }

// Binary reports whether the value cannot be shown as text.
func (d *entryDocument) Binary() bool { return d.Value == nil }

// Path is the key's path, for links.
func (d *entryDocument) Path() string { return wire.Path(keysPath, string(d.Key)) }

// writeText writes the head like an HTTP header, an empty line, and the value.
func (d *entryDocument) writeText(b *bytes.Buffer) {
	fmt.Fprintf(b, "key: %s\ncontent_type: %s\nsize: %d\netag: %s\nrevision: %d\norigin: %s\nmodified_at: %s\n",
		d.Key, d.ContentType, d.Size, d.ETag, d.Revision, d.Origin, d.ModifiedAt.Format(time.RFC3339Nano))
	if d.ExpiresAt != nil {
		fmt.Fprintf(b, "expires_at: %s\n", d.ExpiresAt.Format(time.RFC3339Nano))
	}
	for _, name := range d.Metadata.names() {
		fmt.Fprintf(b, "metadata.%s: %s\n", name, d.Metadata[name])
	}
	b.WriteByte('\n')
	b.Write(d.raw)
}
