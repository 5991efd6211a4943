package audit

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Act is the kind of an audited act.
type Act string

// The kinds of acts.
const (
	Read   Act = "read"   // of an entry, a list, the changes or the status
	Write  Act = "write"  // of an entry
	Delete Act = "delete" // of an entry
	Admin  Act = "admin"  // of an operator
	Refuse Act = "refuse" // 401 or 403

	SignIn Act = "sign-in" // of a browser, with an API key
)

// Record describes an act. Empty fields are left out of the line.
type Record struct {
	Time     time.Time
	Act      Act
	Request  string // the request id
	KeyID    string // of the API key
	KeyName  string // of the API key
	SAN      string // of the client's certificate, if the certificate stands for the key
	Address  string // of the client
	Method   string
	Route    string
	Name     string // of the entry, or the prefix
	Status   int
	Revision int64 // of the write
	Bytes    int64 // of the value or the answer
}

// line is the JSON form of a Record.
type line struct {
	Time     string `json:"time"`
	Act      Act    `json:"act"`
	Request  string `json:"request,omitempty"`
	KeyID    string `json:"key_id,omitempty"`
	KeyName  string `json:"key_name,omitempty"`
	SAN      string `json:"san,omitempty"`
	Address  string `json:"address,omitempty"`
	Method   string `json:"method,omitempty"`
	Route    string `json:"route,omitempty"`
	Name     string `json:"key,omitempty"`
	Status   int    `json:"status,omitempty"`
	Revision int64  `json:"revision,omitempty"`
	Bytes    int64  `json:"bytes,omitempty"`
}

// appendTo appends the line of the record. json.Marshal escapes control characters and invalid UTF-8; names keep all
// their bytes, quoted as in Go, in ASCII.
func (r *Record) appendTo(b []byte) []byte {
	text, err := json.Marshal(line{
		r.Time.UTC().Format(time.RFC3339Nano), r.Act, r.Request, r.KeyID, ascii(r.KeyName), ascii(r.SAN), r.Address, ascii(r.Method), r.Route,
		quoted(r.Name), r.Status, r.Revision, r.Bytes,
	})
	if err != nil {
		panic(err) // all fields are texts and numbers
	}
	return append(append(b, text...), '\n')
}

func quoted(name string) string {
	if name == "" {
		return ""
	}
	return strconv.QuoteToASCII(name)
}

// ascii is the text with everything but printable ASCII escaped.
func ascii(text string) string {
	q := strconv.QuoteToASCII(text)
	return q[1 : len(q)-1]
}

// Log is an audit log. A nil Log records nothing and never fails. A Log is safe for concurrent use.
type Log struct {
	mu     sync.Mutex
	w      io.Writer // guarded by mu
	buffer []byte    // guarded by mu
	torn   bool      // the last write ended within a line; guarded by mu
	failed atomic.Pointer[Error]
	reads  bool
}

// Options configure a Log.
type Options struct {
	Reads bool // record reads too
}

// New returns a log that writes lines to w. Each line is a single Write.
func New(w io.Writer, o Options) *Log { return &Log{w: w, reads: o.Reads} }

// Error says that a line could not be written.
type Error struct{ Err error }

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("write the audit log: %v", e.Err) }

// Unwrap returns the error of the writer.
func (e *Error) Unwrap() error { return e.Err }

// Wants reports whether acts of this kind are recorded.
func (l *Log) Wants(act Act) bool { return l != nil && (act != Read || l.reads) }

// Record writes the lines of the records, in order, with a single write. The error is an *Error.
func (l *Log) Record(records ...Record) error {
	if l == nil || len(records) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buffer = l.buffer[:0]
	if l.torn {
		l.buffer = append(l.buffer, '\n')
	}
	for i := range records {
		l.buffer = records[i].appendTo(l.buffer)
	}
	return l.write()
}

// Ready returns nil if the last line was written. Otherwise Ready tries to end the log's last line, and returns an
// *Error if that fails too. A server that must audit everything asks Ready before it touches the store.
func (l *Log) Ready() error {
	if l == nil || l.failed.Load() == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buffer = append(l.buffer[:0], '\n') // readers skip empty lines
	return l.write()
}

// write writes the buffer; mu is held.
func (l *Log) write() error {
	n, err := l.w.Write(l.buffer)
	if err == nil && n < len(l.buffer) {
		err = io.ErrShortWrite
	}
	if err == nil {
		l.torn = false
		l.failed.Store(nil)
		return nil
	}
	l.torn = l.torn || n > 0
	failure := &Error{Err: err}
	l.failed.Store(failure)
	return failure
}
