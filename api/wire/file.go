package wire

import (
	"encoding/xml"
	"time"
)

// FilesPath is the prefix of the paths of files.
const FilesPath = "/v1/files/"

// File is a file of a list.
type File struct {
	Path        Text      `json:"path" xml:"path"`
	Size        int64     `json:"size" xml:"size"`
	ContentType string    `json:"content_type,omitempty" xml:"content_type,omitempty"`
	SHA256      string    `json:"sha256,omitempty" xml:"sha256,omitempty"` // in hex; absent for files from several parts
	MD5         string    `json:"md5,omitempty" xml:"md5,omitempty"`       // in hex, if it is known
	ETag        string    `json:"etag" xml:"etag"`
	Revision    int64     `json:"revision" xml:"revision"`
	ModifiedAt  time.Time `json:"modified_at" xml:"modified_at"`
	Metadata    Metadata  `json:"metadata,omitempty" xml:"metadata,omitempty"`
}

// FilePage is a page of files.
type FilePage struct {
	XMLName  xml.Name `json:"-" xml:"files"`
	Files    []*File  `json:"files" xml:"file"`
	Prefixes []Text   `json:"prefixes,omitempty" xml:"prefix,omitempty"`
	Next     string   `json:"next,omitempty" xml:"next,omitempty"` // cursor; absent on the last page
}

// FileManifest is the structure of a file, with a page of its chunks.
type FileManifest struct {
	File
	Copies     int          `json:"copies"`
	Inline     bool         `json:"inline"` // the file is kept in its entry, without chunks
	ChunkBytes int64        `json:"chunk_bytes,omitempty"`
	Total      int          `json:"total_chunks"`
	Chunks     []*FileChunk `json:"chunks"`
	Next       int          `json:"next,omitempty"` // after of the next page; absent on the last page
}

// FileChunk is a piece of a file.
type FileChunk struct {
	Index      int      `json:"index"`
	SHA256     string   `json:"sha256"` // in hex
	Size       int64    `json:"size"`
	Partitions []string `json:"partitions"` // that hold the chunk, of those that answered
}

// FileVerification is the outcome of reading every copy of a file.
type FileVerification struct {
	Path     Text     `json:"path"`
	Chunks   int      `json:"chunks"`
	Copies   int      `json:"copies"`         // wanted of each chunk
	Whole    int      `json:"whole"`          // undamaged copies that were read
	Damaged  int      `json:"damaged"`        // copies with other data
	Missing  int      `json:"missing"`        // copies that a partition should have held
	Repaired int      `json:"repaired"`       // damaged and missing copies that were restored
	Lost     []int    `json:"lost,omitempty"` // indexes of chunks without an undamaged copy
	Away     []string `json:"away,omitempty"` // partitions that could not be asked
	Clean    bool     `json:"clean"`          // every chunk has an undamaged copy and nothing is left to restore
}

// StoredFiles are the results of the parts of a form, in order.
type StoredFiles struct {
	Files []*StoredFile `json:"files"`
}

// StoredFile is the result of a part: a file, or a problem.
type StoredFile struct {
	Path    Text     `json:"path"`
	Status  int      `json:"status"`
	Size    int64    `json:"size,omitempty"`
	SHA256  string   `json:"sha256,omitempty"`
	ETag    string   `json:"etag,omitempty"`
	Problem *Problem `json:"problem,omitempty"`
}

// FilesStatus is the state of the work on the chunks of files in the answering process.
type FilesStatus struct {
	Stage      string     `json:"stage" xml:"stage"`   // of the running pass: manifests, chunks, copies, scrub; idle, or standby
	Passes     int64      `json:"passes" xml:"passes"` // that have ended without an error
	LastPass   *time.Time `json:"last_pass,omitempty" xml:"last_pass,omitempty"`
	Chunks     int64      `json:"chunks" xml:"chunks"`                               // that files have, as of the last pass
	Bytes      int64      `json:"bytes" xml:"bytes"`                                 // of these chunks, a single copy each
	Missing    int64      `json:"missing" xml:"missing"`                             // copies still to restore
	Unused     int64      `json:"unused" xml:"unused"`                               // chunks that no file has and that wait for the grace time
	Lost       int64      `json:"lost" xml:"lost"`                                   // chunks that no partition holds
	Copied     int64      `json:"copied" xml:"copied"`                               // copies restored since the start
	Dropped    int64      `json:"dropped" xml:"dropped"`                             // chunks dropped since the start
	Scrubbed   int64      `json:"scrubbed" xml:"scrubbed"`                           // chunks compared in the present round
	VerifiedAt *time.Time `json:"verified_at,omitempty" xml:"verified_at,omitempty"` // when the last complete and clean round began
	Error      Text       `json:"error,omitempty" xml:"error,omitempty"`             // of the last pass
}
