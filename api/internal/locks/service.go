package locks

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/runnelkv/runnel/api/internal/etag"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/lock"
)

// Path begins the path of each lock.
const Path = wire.LocksPath + "/"

// Service serves locks.
type Service struct {
	*exchange.Shared
	locks *lock.Locks
}

// New returns a Service.
func New(s *exchange.Shared, locks *lock.Locks) *Service { return &Service{s, locks} }

// Get is GET /v1/locks/{name}, answered by the master.
func (s *Service) Get(w *exchange.Response, r *exchange.Request) error {
	held, err := s.locks.Get(r.Context(), store.Name(r.Key))
	if err != nil {
		return asProblem(err)
	}
	return s.respondLock(w, r, http.StatusOK, held)
}

// Put is PUT /v1/locks/{name}: it acquires the lock, or with If-Match renews the lock.
func (s *Service) Put(w *exchange.Response, r *exchange.Request) error {
	fence, isRenewal, err := readFence(r.Header)
	if err != nil {
		return err
	}
	wait, err := readWait(r.Header)
	if err != nil {
		return err
	}
	body, err := readRequest(w, r)
	if err != nil {
		return err
	}
	name := store.Name(r.Key)
	if isRenewal {
		if given := body.Owner + body.RequestID; given != "" || body.Info != nil || body.Protects {
			return problem.Item("ttl", "A renewal has the member ttl alone.")
		}
		held, err := s.locks.Renew(r.Context(), name, fence, body.TTL)
		if err != nil {
			return asProblem(err)
		}
		return s.respondLock(w, r, http.StatusOK, held)
	}
	body.Name = name
	held, isNew, err := s.acquireLock(w, r, body.Request, wait)
	if err != nil {
		return asProblem(err)
	}
	if !isNew {
		return s.respondLock(w, r, http.StatusOK, held)
	}
	w.SetField("Location", wire.Path(Path, name))
	return s.respondLock(w, r, http.StatusCreated, held)
}

// acquireLock acquires a lock, and waits for at most wait.
func (s *Service) acquireLock(w *exchange.Response, r *exchange.Request, q lock.Request, wait time.Duration) (held lock.Lock, isNew bool, err error) {
	if wait == 0 {
		return s.locks.Acquire(r.Context(), q)
	}
	err = s.patiently(w, r, func(ctx context.Context) error {
		held, isNew, err = s.locks.Wait(ctx, q, wait)
		return err
	})
	return held, isNew, err
}

// Delete is DELETE /v1/locks/{name}: it releases the lock of the fence in If-Match, or with force=true that of any holder.
func (s *Service) Delete(w *exchange.Response, r *exchange.Request) error {
	force, err := exchange.Flag(r.Query, "force")
	if err != nil {
		return err
	}
	fence, given, err := readFence(r.Header)
	name := store.Name(r.Key)
	switch {
	case err != nil:
		return err
	case force && given:
		return problem.Header("If-Match", "A lock is released by the fence in If-Match, or with force=true, not by both.")
	case !force && !given:
		return problem.Header("If-Match", `A lock is released with its fence: If-Match: "1099511627777". The right force allows force=true.`)
	case force:
		var held lock.Lock
		held, err = s.locks.Force(r.Context(), name)
		fence = held.Fence
	default:
		err = s.locks.Release(r.Context(), name, fence)
	}
	if err != nil {
		return asProblem(err)
	}
	w.NoteRevision(fence)
	w.Header()["Cache-Control"] = exchange.NoStore
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// MayDelete is the need of Delete.
var MayDelete = exchange.ForceIf("write(key), or force", func(r *exchange.Request) (bool, error) { return exchange.Flag(r.Query, "force") })

// readFence reads If-Match, which holds one fence.
func readFence(h http.Header) (fence store.Revision, given bool, err error) {
	tags, err := etag.Parse(h, "If-Match")
	if err != nil || !tags.Given {
		return 0, false, err
	}
	if !tags.Any && len(tags.List) == 1 {
		n, err := strconv.ParseInt(trimQuotes(h["If-Match"][0]), 10, 64)
		if err == nil && n > 0 {
			return store.Revision(n), true, nil
		}
	}
	return 0, false, problem.Header("If-Match", `If-Match is the fence of the lock in quotes, as in "1099511627777", not %s.`, problem.Printable(h["If-Match"][0]))
}

func trimQuotes(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return ""
}

// respondLock answers with a lock.
func (s *Service) respondLock(w *exchange.Response, r *exchange.Request, status int, held lock.Lock) error {
	h := w.Header()
	h["Etag"] = []string{`"` + strconv.FormatInt(int64(held.Fence), 10) + `"`}
	h["Cache-Control"] = exchange.NoStore
	w.NoteRevision(held.Fence)
	return s.Respond(w, r, status, "lines", &lockDocument{*document(held)})
}

// lockDocument is a lock with its HTML page and plain text.
type lockDocument struct{ wire.Lock }

// Heading, Lines and NextPage are for the templates.
func (d *lockDocument) Heading() string  { return "Lock" }
func (d *lockDocument) Lines() []string  { return []string{d.Line()} }
func (d *lockDocument) NextPage() string { return "" }

func document(l lock.Lock) *wire.Lock {
	return &wire.Lock{Name: wire.Text(l.Name), Owner: wire.Text(l.Owner), Fence: int64(l.Fence), ExpiresAt: l.ExpiresAt.Time(), TTL: l.TTL.String(),
		Protects: l.Protects, Waiting: l.Waiting, Info: wire.RawObject(l.Info)}
}

// asProblem maps the errors of package lock.
func asProblem(err error) error {
	if e, ok := errors.AsType[*lock.InvalidError](err); ok {
		return problem.Item(e.Field, "The member %s %s.", e.Field, e.Reason)
	}
	if e, ok := errors.AsType[*lock.ProtectionError](err); ok {
		return problem.New(problem.Protection, "%s.", e.Err)
	}
	if e, ok := errors.AsType[*lock.QueueError](err); ok {
		return problem.New(problem.LockQueue, "%d clients wait for the lock %q.", lock.MaxWaiting, e.Name)
	}
	if _, ok := errors.AsType[*lock.UnsecuredError](err); ok {
		return errors.Join(problem.New(problem.OutcomeUnknown, "The lock may be held: its master has granted or renewed it, and a majority of the voters did not confirm this in time. Repeat the request unchanged, with its owner and request_id, to learn the fence."), err)
	}
	if errors.Is(err, store.ErrNotFound) {
		return problem.New(problem.NoLock, "Nobody holds the lock.")
	}
	return err
}
