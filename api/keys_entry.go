package api

import (
	"github.com/runnelkv/runnel/api/internal/etag"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// entryDocument is an entry with or without its value.
type entryDocument struct {
	wire.Entry
	raw []byte
}

// newHead returns the document of an entry without its value.
func newHead(e *store.Entry) *entryDocument {
	d := &entryDocument{Entry: wire.Entry{
		Key:         wire.Text(store.Name(e.Key)),
		ContentType: wire.Text(e.ContentType),
		Size:        e.Size,
		ETag:        etag.Of(e.Revision, negotiate.FormatRaw),
		Revision:    int64(e.Revision),
		Origin:      wire.Text(e.Origin),
		ModifiedAt:  e.ModifiedAt.Time(),
		Metadata:    metadataOf(e.Metadata),
	}}
	if e.ExpiresAt != 0 {
		at := e.ExpiresAt.Time()
		d.ExpiresAt = &at
	}
	return d
}

// newEntry returns the document of an entry with its value, encoded for the format.
func newEntry(e *store.Entry, f negotiate.Format) *entryDocument {
	d := newHead(e)
	d.raw = e.Value
	if d.SetValue(e.Value); f == negotiate.FormatXML {
		value := wire.Text(e.Value)
		d.Value, d.ValueBase64 = &value, nil
	}
	return d
}

// Text is the value, for page and plain text.
func (d *entryDocument) Text() string { return string(d.raw) }

// Binary reports that the value is not text, for the HTML page.
func (d *entryDocument) Binary() bool { return d.Value == nil }
