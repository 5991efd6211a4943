package wire

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"time"
)

// LocksPath is the path of the list of locks. A lock's path follows it, after a slash.
const LocksPath = "/v1/locks"

// Lock is a held lock.
type Lock struct {
	XMLName   xml.Name  `json:"-" xml:"lock"`
	Name      Text      `json:"name" xml:"name"`
	Owner     Text      `json:"owner" xml:"owner"`
	Fence     int64     `json:"fence" xml:"fence"`
	ExpiresAt time.Time `json:"expires_at" xml:"expires_at"` // by the clock of the master
	TTL       string    `json:"ttl" xml:"ttl"`
	Protects  bool      `json:"protects" xml:"protects"`
	Waiting   int       `json:"waiting" xml:"waiting"` // clients in the queue
	Info      RawObject `json:"info,omitempty" xml:"info,omitempty"`
}

// Line describes the lock for people.
func (l *Lock) Line() string {
	line := fmt.Sprintf("%q is held by %q until %s, fence %d", l.Name, l.Owner, l.ExpiresAt.Format(time.RFC3339), l.Fence)
	if l.Protects {
		line += ", protects its key"
	}
	if l.Waiting > 0 {
		line += fmt.Sprintf(", %d waiting", l.Waiting)
	}
	return line
}

// LockPage is a page of a list of locks.
type LockPage struct {
	XMLName xml.Name `json:"-" xml:"locks"`
	Locks   []*Lock  `json:"locks" xml:"lock"`
	Next    string   `json:"next,omitempty" xml:"next,omitempty"`
}

// LockRequest asks for a lock, or for the locks Names together.
type LockRequest struct {
	Names     []string  `json:"names,omitempty"`
	Owner     string    `json:"owner,omitempty"`
	TTL       string    `json:"ttl,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	Protects  bool      `json:"protects,omitempty"`
	Info      RawObject `json:"info,omitempty"`
}

// RawObject is an object of JSON as a client sent it. XML carries the text of the object.
type RawObject json.RawMessage

// MarshalJSON implements json.Marshaler.
func (o RawObject) MarshalJSON() ([]byte, error) { return json.RawMessage(o).MarshalJSON() }

// UnmarshalJSON implements json.Unmarshaler.
func (o *RawObject) UnmarshalJSON(text []byte) error {
	*o = append(RawObject(nil), text...)
	return nil
}

// MarshalXML implements xml.Marshaler.
func (o RawObject) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	return Text(o).MarshalXML(e, start)
}
