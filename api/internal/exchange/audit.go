package exchange

import (
	"iter"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// Audit is the audit log of a server.
type Audit struct {
	Log      *audit.Log                 // nil: none
	Required bool                       // nothing is done of which no line can be written
	Client   func(*http.Request) string // the address for the lines

	reported atomic.Int64 // time of the last failure that was logged, in nanoseconds since 1970
}

// maxItems bounds the items of a batch whose lines wait for a single write.
const maxItems = 256

// auditTrail is the part of the audit log that belongs to a response.
type auditTrail struct {
	shared   *Shared   // nil: nothing is recorded
	act      audit.Act // of the request; "": the request is not recorded
	items    []audit.Record
	itemised bool  // the items of the request are recorded, and not the request
	revision int64 // of the written or read entry
}

// beginAudit decides how the request is recorded. If the audit log is required, a line is written before anything is
// done; the error refuses the request.
func (s *Shared) beginAudit(w *Response, r *Request, n Need) error {
	if s.Audit.Log == nil {
		return nil
	}
	w.trail = auditTrail{shared: s, act: n.act(r.Method), itemised: n.name == PerItem.name || n.name == AllItems.name}
	if !s.Audit.Required || w.trail.act == "" || !s.Audit.Log.Wants(w.trail.act) {
		return nil
	}
	return s.require(s.record(w, r, w.trail.act))
}

// require writes the lines of records before anything is done. The error refuses what the records are about.
func (s *Shared) require(records ...audit.Record) error {
	if err := s.Audit.Log.Record(records...); err != nil {
		s.reportAudit(err)
		return problem.New(problem.AuditUnavailable, "The audit log cannot be written.")
	}
	return nil
}

// Item is an operation of a batch or a transaction, for the audit log.
type Item struct {
	Act audit.Act
	Key store.Key
}

// RequireItems writes a line for each item before the items are done, if the audit log is required. The error refuses all of them.
func (w *Response) RequireItems(items iter.Seq[Item]) error {
	s := w.trail.shared
	if s == nil || !s.Audit.Required {
		return nil
	}
	var records []audit.Record
	for i := range items {
		if s.Audit.Log.Wants(i.Act) {
			record := s.record(w, &w.Request, i.Act)
			record.Name = store.Name(i.Key)
			records = append(records, record)
		}
	}
	return s.require(records...)
}

// act returns the kind of a request with the method; "" if such requests are not recorded.
func (n Need) act(method string) audit.Act {
	switch n.name {
	case Open.name:
		return ""
	case ReadKey.name, readPrefix, Monitor.name, "read(account)":
		return audit.Read
	case Admin.name:
		return audit.Admin
	case AnyKey.name:
		return audit.SignIn
	}
	if method == http.MethodDelete {
		return audit.Delete
	}
	return audit.Write
}

// EndAudit records the request after its answer, unless its items were recorded. A refused request is always recorded.
func (s *Shared) EndAudit(w *Response, r *http.Request) {
	if s.Audit.Log == nil {
		return
	}
	act := w.trail.act
	switch {
	case w.Status == http.StatusUnauthorized, w.Status == http.StatusForbidden:
		act = audit.Refuse
	case w.trail.itemised:
		act = audit.Read
	}
	records := w.trail.items
	if act != "" && s.Audit.Log.Wants(act) {
		w.Request.Request = r
		records = append(records, s.record(w, &w.Request, act))
		last := &records[len(records)-1]
		last.Status, last.Revision, last.Bytes = w.Status, w.trail.revision, w.Bytes
	}
	s.recordAll(records)
}

// RecordItem records an item of a batch or a transaction, unless the item reads and reads are not recorded.
func (w *Response) RecordItem(act audit.Act, key store.Key, e *store.Entry, status int) {
	s := w.trail.shared
	if s == nil {
		return
	}
	if status == http.StatusForbidden {
		act = audit.Refuse
	}
	if !s.Audit.Log.Wants(act) {
		return
	}
	item := s.record(w, &w.Request, act)
	item.Name, item.Status, item.Revision, item.Bytes = store.Name(key), status, int64(e.Revision), int64(len(e.Value))
	w.trail.items = append(w.trail.items, item)
	if len(w.trail.items) < maxItems {
		return
	}
	s.recordAll(w.trail.items)
	w.trail.items = w.trail.items[:0]
}

// recordAll writes the lines of records. A failure is logged.
func (s *Shared) recordAll(records []audit.Record) {
	if err := s.Audit.Log.Record(records...); err != nil {
		s.reportAudit(err)
	}
}

// record returns the parts of a record that are known before the answer.
func (s *Shared) record(w *Response, r *Request, act audit.Act) audit.Record {
	record := audit.Record{Time: time.Now(), Act: act, Request: w.ID, Address: s.Audit.Client(r.Request), Method: r.Method, Route: w.Route, Name: r.Query.Get("prefix")}
	if r.Key != "" {
		record.Name = store.Name(r.Key)
	}
	if i := r.Identity; i != nil {
		record.KeyID, record.KeyName, record.SAN = i.KeyID, i.Name, r.SAN
	}
	return record
}

// NoteRevision sets the revision in the audit line of a request whose answer has no Runnel-Revision.
func (w *Response) NoteRevision(r store.Revision) { w.trail.revision = int64(r) }

// noteRevision remembers the revision of the answer's header.
func (t *auditTrail) noteRevision(h http.Header) {
	if v := h["Runnel-Revision"]; t.act != "" && len(v) == 1 {
		t.revision, _ = strconv.ParseInt(v[0], 10, 64)
	}
}

// auditErrorEvery is the least time between two log lines of a failing audit log.
const auditErrorEvery = 10 * time.Second

func (s *Shared) reportAudit(err error) {
	now, last := time.Now().UnixNano(), s.Audit.reported.Load()
	if now-last >= int64(auditErrorEvery) && s.Audit.reported.CompareAndSwap(last, now) {
		s.Logger.Error("the audit log cannot be written", "required", s.Audit.Required, "error", err)
	}
}
