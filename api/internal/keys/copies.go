package keys

import (
	"context"
	"net/url"
	"strconv"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/store"
)

// copies parses the parameter copies: the number of partitions that must hold a write before the answer; 0 if absent.
func (s *Service) copies(q url.Values) (int, error) {
	if !q.Has("copies") {
		return 0, nil
	}
	most := len(s.store.Status().Partitions)
	if q.Get("copies") == "all" {
		return most, nil
	}
	n, err := strconv.Atoi(q.Get("copies"))
	if err != nil || n < 1 || n > most {
		return 0, problem.Parameter("copies", "copies is all or a number from 1 to that of the partitions, %d, not %q.", most, q.Get("copies"))
	}
	return n, nil
}

// copyWritten copies a committed entry as the parameters of its request ask, and reports whether the copies are there. The
// write stands in any case: errors here do not fail the request, and the copying continues if the client leaves.
func (s *Service) copyWritten(w *exchange.Response, r *exchange.Request, e *store.Entry, copies int) bool {
	enough := copies == 0 || s.copyEntry(w, r, e, copies)
	return s.secure(w, r, e) && enough
}

// secure waits for a majority of the voters if the request asks for that. Its parameters have been checked.
func (s *Service) secure(w *exchange.Response, r *exchange.Request, e *store.Entry) bool {
	if len(r.Query) == 0 {
		return true
	}
	majority, _ := write.Durable(r.Query)
	if !majority {
		return true
	}
	err := s.store.Secure(context.WithoutCancel(r.Context()), store.Mark{Origin: e.Origin, Revision: e.Revision})
	if err != nil {
		s.Logger.Debug("a write is not known to be on a majority of the voters", "request", w.ID, "key", string(e.Key), "error", err)
		w.SetField(exchange.DurableHeader, "master")
		return false
	}
	w.SetField(exchange.DurableHeader, "majority")
	return true
}

// copyEntry copies a committed entry until copies partitions hold it, and reports success.
func (s *Service) copyEntry(w *exchange.Response, r *exchange.Request, e *store.Entry, copies int) bool {
	held, err := s.store.Copy(context.WithoutCancel(r.Context()), *e, copies)
	w.SetField("Runnel-Copies", strconv.Itoa(held))
	enough := held >= copies && err == nil
	if !enough {
		s.Logger.Debug("a write has fewer copies than it asked for", "request", w.ID,
			"key", string(e.Key), "wanted", copies, "held", held, "error", err)
	}
	return enough
}
