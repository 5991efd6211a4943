package keys

import (
	"context"
	"net/url"
	"strconv"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
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

// copyEntry copies a committed entry until copies partitions hold it, and reports success. The write stands in any
// case: errors here do not fail the request, and the copying continues if the client leaves.
func (s *Service) copyEntry(w *exchange.Response, r *exchange.Request, e store.Entry, copies int) bool {
	held, err := s.store.Copy(context.WithoutCancel(r.Context()), e, copies)
	w.SetField("Runnel-Copies", strconv.Itoa(held))
	enough := held >= copies && err == nil
	if !enough {
		s.Logger.Debug("a write has fewer copies than it asked for", "request", w.ID,
			"key", string(e.Key), "wanted", copies, "held", held, "error", err)
	}
	return enough
}
