package keys

import (
	"github.com/runnelkv/runnel/api/internal/digest"
	"github.com/runnelkv/runnel/api/internal/document"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/store"
)

// readValue reads the body as a value, and the content type. A body over the limit is refused before the first byte is
// read if the length is announced, and during reading otherwise.
func (s *Service) readValue(w *exchange.Response, r *exchange.Request) (value []byte, contentType string, err error) {
	if contentType, err = write.ContentTypeOf(r.Header); err != nil {
		return nil, "", err
	}
	if value, err = w.ReadBody(r, s.store.MaxValueBytes(), problem.ValueTooLarge); err != nil {
		return nil, "", err
	}
	return value, contentType, digest.Check(r.Header, value)
}

// decodeEntry reads the entry to store under the key of the request.
func (s *Service) decodeEntry(w *exchange.Response, r *exchange.Request) (e store.Entry, err error) {
	e.Key = r.Key
	if e.Metadata, err = document.ReadMetadata(r.Header); err != nil {
		return e, err
	}
	e.Value, e.ContentType, err = s.readValue(w, r)
	return e, err
}
