package document

import (
	"github.com/runnelkv/runnel/api/internal/etag"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// Entry is an entry with or without its value.
type Entry struct {
	wire.Entry
	raw []byte
}

// NewHead returns the document of an entry without its value.
func NewHead(e *store.Entry) *Entry {
	d := &Entry{Entry: wire.Entry{
		Key:         wire.Text(store.Name(e.Key)),
		ContentType: wire.Text(e.ContentType),
		Size:        e.Size,
		ETag:        etag.Of(e.Revision, negotiate.FormatRaw),
		Revision:    int64(e.Revision),
		Origin:      wire.Text(e.Origin),
		ModifiedAt:  e.ModifiedAt.Time(),
		Metadata:    MetadataOf(e.Metadata),
	}}
	if e.ExpiresAt != 0 {
		at := e.ExpiresAt.Time()
		d.ExpiresAt = &at
	}
	return d
}

// NewEntry returns the document of an entry with its value, encoded for the format.
func NewEntry(e *store.Entry, f negotiate.Format) *Entry {
	d := NewHead(e)
	d.raw = e.Value
	if d.SetValue(e.Value); f == negotiate.FormatXML {
		value := wire.Text(e.Value)
		d.Value, d.ValueBase64 = &value, nil
	}
	return d
}

// Text is the value, for page and plain text.
func (d *Entry) Text() string { return string(d.raw) }

// Binary reports that the value is not text, for the HTML page.
func (d *Entry) Binary() bool { return d.Value == nil }

// NewListed returns the document of an entry in a list.
func NewListed(e *store.Entry, values bool, f negotiate.Format) *Entry {
	if values {
		return NewEntry(e, f)
	}
	return NewHead(e)
}

// Texts converts names for a document.
func Texts(names []string) []wire.Text {
	out := make([]wire.Text, len(names))
	for i, name := range names {
		out[i] = wire.Text(name)
	}
	return out
}
