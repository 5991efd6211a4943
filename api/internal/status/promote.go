package status

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// promoteTime bounds the copying of a promotion, before and after the end of leases.
const promoteTime = 2 * time.Minute

// Promote is POST /v1/promote: it makes a partition the master in place of a lost master. A promotion that has begun goes on
// without the client.
func (s *Service) Promote(w *exchange.Response, r *exchange.Request) error {
	q, err := readPromotion(w, r)
	if err != nil {
		return err
	}
	if !s.moving.TryLock() {
		return problem.New(problem.PromotionRefused, "This server carries out another change of the masters. Repeat the request when GET /v1/status shows no move.")
	}
	defer s.moving.Unlock()
	done, err := s.promoteOnce(r.Context(), q)
	switch {
	case err == nil:
	case r.Context().Err() != nil:
		return r.Context().Err()
	case s.Draining.Err() != nil && errors.Is(err, context.Canceled):
		return problem.New(problem.ShuttingDown, "The server is shutting down, and the promotion has not begun.")
	case errors.Is(err, store.ErrPromoteRefused):
		return problem.New(problem.PromotionRefused, "%s.", strings.ReplaceAll(err.Error(), "\n", "; "))
	default:
		return problem.New(problem.PromotionUnfinished, "%s.", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	w.SetWriteDeadline(time.Now().Add(w.Timeouts.Write)) // fails in tests
	w.Header()["Cache-Control"] = exchange.NoStore
	return s.Respond(w, r, http.StatusOK, "lines", &promotionPage{wire.Promotion{
		To: wire.Text(q.To), InPlaceOf: wire.Text(q.Lost), Slots: done.Slots, Epoch: done.Epoch, Cut: int64(done.Cut)}})
}

// promoteOnce makes a promotion, which begins only while the client waits and the server does not stop.
func (s *Service) promoteOnce(client context.Context, q store.PromoteRequest) (store.Promoted, error) {
	begin, cancelBegin := context.WithTimeout(client, beginTime)
	defer cancelBegin()
	defer context.AfterFunc(s.Draining, cancelBegin)()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(client), promoteTime+store.MaxLease)
	defer cancel()
	detach := context.AfterFunc(begin, cancel)
	defer detach()
	return s.store.Promote(ctx, q, func(stage store.PromoteStage) {
		if stage == store.PromoteBegun {
			detach()
		}
	})
}

// promotionPage is a promotion with its HTML page and plain text.
type promotionPage struct{ wire.Promotion }

// Heading, Lines and NextPage are for the templates.
func (p *promotionPage) Heading() string  { return "Promotion" }
func (p *promotionPage) NextPage() string { return "" }
func (p *promotionPage) Lines() []string  { return []string{p.Line()} }

// readPromotion reads the body of a request to replace a lost master.
func readPromotion(w *exchange.Response, r *exchange.Request) (q store.PromoteRequest, err error) {
	err = readObject(w, r, "a promotion", func(name, value jsontext.Value) (err error) {
		switch member := strings.Trim(string(name), `"`); member {
		case "to":
			q.To, _, err = textMember(member, value)
		case "in_place_of":
			q.Lost, _, err = textMember(member, value)
		case "old_master_is_stopped":
			q.Stopped, err = flagMember(member, value)
		default:
			err = problem.Item(wire.Shorten(name), "There is no member %s of a promotion; there are to, in_place_of and old_master_is_stopped.", wire.Shorten(name))
		}
		return err
	})
	switch {
	case err != nil:
		return q, err
	case q.To == "":
		return q, problem.Item("to", "A promotion needs the member to, the partition that becomes the master.")
	case q.Lost == "":
		return q, problem.Item("in_place_of", "A promotion needs the member in_place_of, the lost master.")
	}
	return q, nil
}
