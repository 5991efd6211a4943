package wire

import (
	"encoding/xml"
	"time"
)

// ProblemsPath begins the type of every problem. Its last segment is the slug that programs branch on.
const ProblemsPath = "/problems/"

// Problem is the document of an error (RFC 9457).
type Problem struct {
	XMLName  xml.Name `json:"-" xml:"urn:ietf:rfc:7807 problem"`
	Type     string   `json:"type" xml:"type"` // ProblemsPath and the slug
	Title    string   `json:"title" xml:"title"`
	Status   int      `json:"status" xml:"status"`
	Detail   Text     `json:"detail,omitempty" xml:"detail,omitempty"`
	Instance string   `json:"instance,omitempty" xml:"instance,omitempty"` // path of the request
	Request  string   `json:"request_id,omitempty" xml:"request_id,omitempty"`
	ProblemMembers
}

// ProblemMembers are the members that only some types of problem have.
type ProblemMembers struct {
	Parameter string   `json:"parameter,omitempty" xml:"parameter,omitempty"` // the invalid parameter of the query, or member of an operation
	Header    string   `json:"header,omitempty" xml:"header,omitempty"`       // the invalid header
	MaxBytes  int64    `json:"max_bytes,omitempty" xml:"max_bytes,omitempty"`
	Master    string   `json:"master,omitempty" xml:"master,omitempty"` // the unavailable master
	Reason    string   `json:"reason,omitempty" xml:"reason,omitempty"` // "moving": the keys are moving to another master
	Available []string `json:"available,omitempty" xml:"available>type,omitempty"`
	Quota     *Quota   `json:"quota,omitempty" xml:"quota,omitempty"` // that the write would exceed
	Funds     *Funds   `json:"funds,omitempty" xml:"funds,omitempty"` // of the paying account

	// Of the holder of a lock.
	Owner     Text       `json:"owner,omitempty" xml:"owner,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty" xml:"expires_at,omitempty"`
	Info      RawObject  `json:"info,omitempty" xml:"info,omitempty"`

	// Of the lock of a state of Terraform, with the names that the tools read; nil for others.
	*TerraformLock
}

// Funds are the money that an account can pay, and the amount that a transfer needs.
type Funds struct {
	Available Amount `json:"available" xml:"available"`
	Needed    Amount `json:"needed" xml:"needed"`
}

// Quota is the quota that a write would exceed.
type Quota struct {
	Prefix Text   `json:"prefix" xml:"prefix"`
	Unit   string `json:"unit" xml:"unit"` // keys, or bytes of values
	Limit  int64  `json:"limit" xml:"limit"`
	Used   int64  `json:"used" xml:"used"`
}
