package s3

import (
	"errors"
	"net/http"
	"time"

	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/api/internal/problem"
)

// Checks are the checks that all doors of a server share. A nil function allows everything. The errors are *problem.Error.
type Checks struct {
	// Admit refuses an unknown host, and an address that has sent too many requests.
	Admit func(*http.Request) error
	// AdmitKey refuses an API key with this id that has sent too many requests.
	AdmitKey func(id string) error
	// NoteFailure counts a request without a valid signature, and refuses an address that has sent too many.
	NoteFailure func(*http.Request) error
	// CheckOrigin refuses a change that a browser sends for a page of a different origin.
	CheckOrigin func(*http.Request) error
	// Address returns the address of the client for the audit log.
	Address func(*http.Request) string
	// RequestID returns a new id, or the id that a proxy has given the request. Answers and lines of the audit log have the id.
	RequestID func(*http.Request) string
}

func (c Checks) withDefaults() Checks {
	allow := func(*http.Request) error { return nil }
	for _, f := range []*func(*http.Request) error{&c.Admit, &c.NoteFailure, &c.CheckOrigin} {
		if *f == nil {
			*f = allow
		}
	}
	if c.AdmitKey == nil {
		c.AdmitKey = func(string) error { return nil }
	}
	if c.Address == nil {
		c.Address = func(r *http.Request) string { return r.RemoteAddr }
	}
	if c.RequestID == nil {
		c.RequestID = func(*http.Request) string { return "" }
	}
	return c
}

// identify makes the checks that come before those of the grants, and returns the sender.
func (d *Door) identify(r *http.Request) (sender, *failure) {
	if failure := failureOf(d.o.Checks.Admit(r)); failure != nil {
		return sender{}, failure
	}
	who, failure := d.authenticate(r)
	if failure != nil && failure != slowDown {
		if refused := failureOf(d.o.Checks.NoteFailure(r)); refused != nil {
			return sender{}, refused
		}
	}
	if failure == nil {
		failure = failureOf(d.o.Checks.AdmitKey(who.id))
	}
	if failure == nil {
		failure = failureOf(d.o.Checks.CheckOrigin(r))
	}
	return who, failure
}

// failureOf returns the answer for a refusal by Checks; nil for nil.
func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	refusal, ok := errors.AsType[*problem.Error](err)
	if !ok {
		return slowDown
	}
	f := &failure{status: refusal.Type.Status, code: denied.code, message: refusal.Detail}
	switch f.status {
	case http.StatusTooManyRequests:
		f.code = slowDown.code
	case http.StatusMisdirectedRequest:
		f.code = "InvalidHost"
	}
	return f
}

// record writes a line of the audit log. The error is returned only if the log is required.
func (d *Door) record(who sender, r *http.Request, act audit.Act, status int) *failure {
	if !d.o.Audit.Wants(act) {
		return nil
	}
	return d.write(d.line(who, r, act, status))
}

// line returns the line of a request in the audit log.
func (d *Door) line(who sender, r *http.Request, act audit.Act, status int) audit.Record {
	t := targetOf(r)
	name := t.bucket
	if t.object != "" {
		name = t.name()
	}
	return audit.Record{Time: time.Now(), Act: act, Request: who.request, KeyID: who.id, KeyName: who.name, Address: d.o.Checks.Address(r), Method: r.Method,
		Route: "s3", Name: name, Status: status, Bytes: max(r.ContentLength, 0)}
}

// write writes a line of the audit log.
func (d *Door) write(record audit.Record) *failure {
	err := d.o.Audit.Record(record)
	if err == nil {
		return nil
	}
	d.o.Logger.Error("the audit log cannot be written", "required", d.o.AuditRequired, "error", err)
	if d.o.AuditRequired {
		return unaudited
	}
	return nil
}

// require writes a line before a request is served, if the audit log is required. The failure refuses the request.
func (d *Door) require(who sender, r *http.Request) *failure {
	if !d.o.AuditRequired {
		return nil
	}
	return d.record(who, r, actOf(r.Method), 0)
}

// auditItems returns the function that records the deletion of an object of a request: with the status 0 before the deletion,
// if the audit log is required. The failure refuses the deletion.
func (d *Door) auditItems(who sender, r *http.Request) func(t target, status int) *failure {
	return func(t target, status int) *failure {
		if status == 0 && !d.o.AuditRequired {
			return nil
		}
		act := audit.Delete
		if status == http.StatusForbidden {
			act = audit.Refuse
		}
		record := d.line(who, r, act, status)
		record.Name, record.Bytes = t.name(), 0
		return d.write(record)
	}
}
