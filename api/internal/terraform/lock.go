package terraform

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runnelkv/runnel/api/internal/digest"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/lock"
	"github.com/runnelkv/runnel/store/terraform"
)

// maxLockBytes bounds the body of a request about a lock.
const maxLockBytes = 32 << 10

// Lock is LOCK /v1/terraform/{name}, and POST and PUT of the path of the lock: acquire the lock that the body describes. The tools
// accept no status of success but 200.
func (s *Service) Lock(w *exchange.Response, r *exchange.Request) error {
	l, err := readLock(w, r)
	if err != nil {
		return err
	}
	if l.ID == "" {
		return problem.Item("ID", "The lock has no member ID, a string that is not empty.")
	}
	info, err := json.Marshal(l)
	if err != nil {
		return err
	}
	err = s.states.Lock(r.Context(), store.Name(r.Key), terraform.LockRequest{ID: string(l.ID), Who: string(l.Who), Info: info})
	if err != nil {
		return asProblem(err)
	}
	w.Header()["Cache-Control"] = exchange.NoStore
	return s.Respond(w, r, http.StatusOK, "lines", &lockDocument{TerraformLock: *l})
}

// Unlock is UNLOCK /v1/terraform/{name}, and DELETE of the path of the lock: end the lock with the ID in the body or in the query.
// Without an ID, as force-unlock of Terraform sends the request, Unlock ends the lock of any holder, which needs the right force.
func (s *Service) Unlock(w *exchange.Response, r *exchange.Request) error {
	id := r.Query.Get("ID")
	if r.ContentLength != 0 {
		l, err := readLock(w, r)
		if err != nil {
			return err
		}
		if id != "" && id != string(l.ID) {
			return problem.Item("ID", "The member ID of the lock is not the parameter ID of the query.")
		}
		id = string(l.ID)
	}
	name := store.Name(r.Key)
	var err error
	switch {
	case id != "":
		err = s.states.Unlock(r.Context(), name, id)
	case !r.Grants.MayForce():
		return problem.New(problem.Forbidden, "The request names no ID of a lock; to end the lock of any holder needs the right force.")
	default:
		err = s.states.ForceUnlock(r.Context(), name)
	}
	if err != nil {
		return asProblem(err)
	}
	return respondEmpty(w)
}

// readLock reads the description of a lock. Members that no tool sends are ignored.
func readLock(w *exchange.Response, r *exchange.Request) (*wire.TerraformLock, error) {
	if r.Header["Content-Encoding"] != nil {
		return nil, problem.New(problem.Encoding, "The description of a lock has no Content-Encoding.")
	}
	text, err := w.ReadBody(r, maxLockBytes, problem.BodyTooLarge)
	if err != nil {
		return nil, err
	}
	if err := digest.Check(r.Header, text); err != nil {
		return nil, err
	}
	d := wire.NewDecoder()
	d.Reset(text)
	if d.PeekKind() != '{' {
		return nil, problem.New(problem.InvalidJSON, "The description of a lock is not a JSON object.")
	}
	l := &wire.TerraformLock{}
	err = d.Object(func(name jsontext.Value) error {
		value, err := d.ReadValue()
		if err == nil {
			err = setMember(l, strings.Trim(string(name), `"`), value)
		}
		return err
	})
	if err == nil {
		err = d.End()
	}
	if err != nil {
		return nil, wire.Syntax(err)
	}
	return l, nil
}

// setMember decodes a member of a lock.
func setMember(l *wire.TerraformLock, member string, value jsontext.Value) error {
	field := map[string]*wire.Text{"ID": &l.ID, "Operation": &l.Operation, "Info": &l.Info, "Who": &l.Who, "Version": &l.Version, "Path": &l.Path}[member]
	if field == nil && member != "Created" {
		return nil
	}
	text, err := memberText(member, value)
	if err != nil {
		return err
	}
	if field != nil {
		*field = wire.Text(text)
		return nil
	}
	if l.Created, err = time.Parse(time.RFC3339, text); err != nil {
		return problem.Item(member, "The member Created is a time like 2026-01-31T12:00:00Z, not %s.", wire.Shorten(value))
	}
	return nil
}

// lockOf describes the holder of a lock to the tools, also one that is no tool.
func lockOf(e *store.LockedError) *wire.TerraformLock {
	l := &wire.TerraformLock{}
	if json.Unmarshal(e.Holder.Info, l) == nil && l.ID != "" {
		return l
	}
	return &wire.TerraformLock{
		ID: wire.Text(terraform.LockID(e.Holder.Info, e.Holder.Fence)), Operation: "lock", Who: wire.Text(e.Holder.Owner), Path: wire.Text(e.Name),
		Info: "The lock was not acquired by Terraform or OpenTofu.",
	}
}

// asProblem maps the errors of states and their locks; nil for nil.
func asProblem(err error) error {
	if locked, ok := errors.AsType[*store.LockedError](err); ok {
		l := lockOf(locked)
		e := problem.New(problem.LockHeld, "%q has locked the state %q, with the ID %q.", locked.Holder.Owner, locked.Name, l.ID)
		expires := locked.Holder.ExpiresAt.Time()
		e.Retry, e.Members.Owner, e.Members.ExpiresAt, e.Members.TerraformLock = locked.RetryAfter, wire.Text(locked.Holder.Owner), &expires, l
		return e
	}
	if lost, ok := errors.AsType[*terraform.LostError](err); ok {
		return problem.New(problem.StaleFence, "The state %q is not locked with the ID %q any more.", lost.Name, lost.ID)
	}
	if e, ok := errors.AsType[*lock.InvalidError](err); ok {
		member := map[string]string{"request_id": "ID", "info": "Info"}[e.Field]
		return problem.Item(member, "The member %s of the lock %s.", member, e.Reason)
	}
	if conflict, ok := errors.AsType[*terraform.ConflictError](err); ok {
		return conflictProblem(conflict)
	}
	if standing, ok := errors.AsType[*terraform.StandingError](err); ok {
		e := problem.New(problem.StateConflict, "The state %q was stored again meanwhile.", standing.Name)
		e.Members.Reason = "stands"
		return e
	}
	if large, ok := errors.AsType[*store.TooLargeError](err); ok {
		return tooLarge(large.Limit)
	}
	if errors.Is(err, store.ErrNotFound) {
		return problem.New(problem.NoState, "There is no such state.")
	}
	return err
}

// conflictProblem explains why a state cannot follow the version that stands.
func conflictProblem(c *terraform.ConflictError) *problem.Error {
	v := &c.Standing
	text := map[terraform.Reason]string{
		terraform.DifferentLineage: "belongs to a different lineage",
		terraform.LowerSerial:      "has a lower serial",
		terraform.SameSerial:       "has the same serial and a different content",
	}[c.Reason]
	e := problem.New(problem.StateConflict, "The sent state %s: the state that stands has serial %d and lineage %s.", text, v.Serial, problem.Printable(v.Lineage))
	e.Members.Reason = string(c.Reason)
	return e
}

// isNoState reports whether an error says that there is no such state.
func isNoState(err error) bool {
	e, ok := errors.AsType[*problem.Error](err)
	return ok && e.Type == problem.NoState
}
