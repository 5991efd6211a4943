package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
)

// maxMetadataBytes bounds the metadata of an entry, encoded as JSON.
const maxMetadataBytes = 8 << 10

// readMetadata returns the metadata headers as a JSON object, nil if there are none.
func readMetadata(h http.Header) ([]byte, error) {
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
	stored, ok, err := storedMetadata(m)
	if !ok {
		return nil, problem.Header(wire.MetaHeader+"*", "The metadata are larger than %d bytes.", maxMetadataBytes)
	}
	return stored, err
}

// storedMetadata encodes metadata for the store, nil for none. ok is false if the result is too large.
func storedMetadata(m wire.Metadata) (stored []byte, ok bool, err error) {
	if len(m) == 0 {
		return nil, true, nil
	}
	stored, err = json.Marshal(m)
	return stored, len(stored) <= maxMetadataBytes, err
}

// metadataOf decodes stored metadata. It returns nil for none, and for bytes that this package did not write.
func metadataOf(stored []byte) wire.Metadata {
	if len(stored) == 0 {
		return nil
	}
	var m wire.Metadata
	if json.Unmarshal(stored, &m) != nil {
		return nil
	}
	return m
}

// setMetadata sets the metadata headers.
func setMetadata(h http.Header, stored []byte) {
	for name, value := range metadataOf(stored) {
		h.Set(wire.MetaHeader+name, value)
	}
}
