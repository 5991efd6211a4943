package api

import (
	"bytes"
	"fmt"
	"time"

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
		ETag:        etagOf(e.Revision, negotiate.FormatRaw),
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

func (d *entryDocument) page() string { return "entry.html" }

// Text is the value, for the HTML page.
func (d *entryDocument) Text() string { return string(d.raw) }

// Binary reports that the value is not text, for the HTML page.
func (d *entryDocument) Binary() bool { return d.Value == nil }

// writeText writes the members as header lines, an empty line, and the value.
func (d *entryDocument) writeText(b *bytes.Buffer) {
	fmt.Fprintf(b, "key: %s\ncontent_type: %s\nsize: %d\netag: %s\nrevision: %d\norigin: %s\nmodified_at: %s\n",
		d.Key, d.ContentType, d.Size, d.ETag, d.Revision, d.Origin, d.ModifiedAt.Format(time.RFC3339Nano))
	if d.ExpiresAt != nil {
		fmt.Fprintf(b, "expires_at: %s\n", d.ExpiresAt.Format(time.RFC3339Nano))
	}
	for _, name := range d.Metadata.Names() {
		fmt.Fprintf(b, "metadata.%s: %s\n", name, d.Metadata[name])
	}
	b.WriteByte('\n')
	b.Write(d.raw)
}
