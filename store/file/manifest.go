package file

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// Manifest is the value of a file's entry: a line of JSON, followed by the content of an inline file
// or by the hashes of the chunks.
type Manifest struct {
	Summary
	Inline     bool    `json:"inline,omitempty"`
	ChunkBytes int64   `json:"chunk_bytes,omitempty"` // of every chunk except the last of a part
	Parts      []int64 `json:"parts,omitempty"`       // sizes; nil: a single part
	Copies     int     `json:"copies,omitempty"`      // of each chunk

	Chunks  []partition.ChunkHash `json:"-"` // in the order of the content
	Content []byte                `json:"-"` // of an inline file
}

// Summary is the part of a manifest that stands in the metadata of its entry too, for listings.
type Summary struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"` // in hex; "" if unknown
	MD5    string `json:"md5,omitempty"`    // in hex, with -N after it for N parts; "" if unknown
	// Meta is the metadata of the client.
	Meta map[string]string `json:"meta,omitempty"`
}

// entry returns the entry of the manifest.
func (m *Manifest) entry(name, contentType string) (store.Entry, error) {
	head, err := json.Marshal(m)
	if err != nil {
		return store.Entry{}, err
	}
	summary, err := json.Marshal(m.Summary)
	if err != nil {
		return store.Entry{}, err
	}
	value := append(head, '\n')
	value = slices.Grow(value, len(m.Content)+len(m.Chunks)*len(partition.ChunkHash{}))
	value = append(value, m.Content...)
	for i := range m.Chunks {
		value = append(value, m.Chunks[i][:]...)
	}
	return store.Entry{Key: Key(name), ContentType: contentType, Metadata: summary, Value: value}, nil
}

// ParseManifest reverses entry. The error is ErrManifest.
func ParseManifest(value []byte) (*Manifest, error) {
	head, rest, found := bytes.Cut(value, []byte{'\n'})
	m := new(Manifest)
	if !found {
		return nil, fmt.Errorf("%w: no head", ErrManifest)
	}
	if err := json.Unmarshal(head, m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if m.Inline {
		if m.Content = rest; int64(len(rest)) != m.Size {
			return nil, fmt.Errorf("%w: %d bytes of %d", ErrManifest, len(rest), m.Size)
		}
		return m, nil
	}
	const size = len(partition.ChunkHash{})
	if m.ChunkBytes < 1 || len(rest)%size != 0 {
		return nil, fmt.Errorf("%w: chunks of %d bytes, and %d bytes of hashes", ErrManifest, m.ChunkBytes, len(rest))
	}
	m.Chunks = make([]partition.ChunkHash, len(rest)/size)
	for i := range m.Chunks {
		m.Chunks[i] = partition.ChunkHash(rest[i*size:])
	}
	if spans := m.spans(); len(spans) != len(m.Chunks) || len(spans) > 0 && spans[len(spans)-1].end != m.Size {
		return nil, fmt.Errorf("%w: %d chunks for %d bytes", ErrManifest, len(m.Chunks), m.Size)
	}
	return m, nil
}

// SummaryOf reads the summary in the metadata of an entry.
func SummaryOf(e *store.Entry) (s Summary, err error) {
	if err := json.Unmarshal(e.Metadata, &s); err != nil {
		return s, fmt.Errorf("%w of %s: %w", ErrManifest, e.Key, err)
	}
	return s, nil
}

// span is the place of a chunk in the content: the bytes from begin, without end.
type span struct{ begin, end int64 }

// spans returns the place of each chunk.
func (m *Manifest) spans() (spans []span) {
	parts := m.Parts
	if parts == nil {
		parts = []int64{m.Size}
	}
	at := int64(0)
	for _, size := range parts {
		for end := at + size; at < end; {
			next := min(at+m.ChunkBytes, end)
			spans = append(spans, span{at, next})
			at = next
		}
	}
	return spans
}

// ChunkSize returns the size of the chunk with an index.
func (m *Manifest) ChunkSize(i int) int64 {
	s := m.spans()[i]
	return s.end - s.begin
}

// Digest returns the SHA-256 of the content; nil if unknown.
func (s *Summary) Digest() []byte {
	sum, err := hex.DecodeString(s.SHA256)
	if err != nil || len(sum) == 0 {
		return nil
	}
	return sum
}
