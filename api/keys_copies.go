package api

import (
	"context"
	"net/url"
	"strconv"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// copies reads the parameter copies: how many partitions shall hold a write
// before it is answered; 0 without one.
func (s *Server) copies(q url.Values) (int, error) {
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

// copied brings a committed entry to as many partitions as were asked for, and
// reports whether it got there. It stands either way, so nothing that happens
// here makes the write fail, and the client's leaving does not stop it.
func (s *Server) copied(w *response, r *request, e store.Entry, copies int) bool {
	held, err := s.store.Copy(context.WithoutCancel(r.Context()), e, copies)
	w.set("Runnel-Copies", strconv.Itoa(held))
	enough := held >= copies && err == nil
	if !enough {
		s.options.Logger.Debug("a write has fewer copies than it asked for", "request", w.id,
			"key", string(e.Key), "wanted", copies, "held", held, "error", err)
	}
	return enough
}
