package document

import (
	"encoding/json"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
)

// MaxMetadataBytes bounds the metadata of an entry, encoded as JSON.
const MaxMetadataBytes = 8 << 10

// ReadMetadata returns the metadata headers as a JSON object, nil if there are none.
func ReadMetadata(h http.Header) ([]byte, error) {
	var m wire.Metadata
	for name, values := range h {
		short, ok := strings.CutPrefix(name, wire.MetaHeader)
		if !ok {
			continue
		}
		value := strings.Join(values, ", ")
		if short == "" || !utf8.ValidString(value) {
			return nil, problem.Header(name, "The header %s needs a name behind the last hyphen and a value in UTF-8.", name)
		}
		if m == nil {
			m = wire.Metadata{}
		}
		m[strings.ToLower(short)] = value
	}
	stored, ok, err := StoredMetadata(m)
	if !ok {
		return nil, problem.Header(wire.MetaHeader+"*", "The metadata are larger than %d bytes.", MaxMetadataBytes)
	}
	return stored, err
}

// StoredMetadata encodes metadata for the store, nil for none. ok is false if the result is too large.
func StoredMetadata(m wire.Metadata) (stored []byte, ok bool, err error) {
	if len(m) == 0 {
		return nil, true, nil
	}
	stored, err = json.Marshal(m)
	return stored, len(stored) <= MaxMetadataBytes, err
}

// MetadataOf decodes stored metadata. The result is nil for none, and for bytes that this package did not write.
func MetadataOf(stored []byte) wire.Metadata {
	if len(stored) == 0 {
		return nil
	}
	var m wire.Metadata
	if json.Unmarshal(stored, &m) != nil {
		return nil
	}
	return m
}

// SetMetadata sets the metadata headers.
func SetMetadata(h http.Header, stored []byte) {
	for name, value := range MetadataOf(stored) {
		h.Set(wire.MetaHeader+name, value)
	}
}
