package status

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

const (
	maxMoveBytes = 16 << 10         // of the body of a request
	beginTime    = time.Minute      // within which the moves of a request begin
	endTime      = 20 * time.Second // of a move after it has begun, more than its own bounds
)

// Move is POST /v1/move: it moves slots to another master, or plans to, and reports the moves. A move that has begun goes
// on without the client; the following moves do not begin.
func (s *Service) Move(w *exchange.Response, r *exchange.Request) error {
	q, plan, err := readMove(w, r)
	if err != nil {
		return err
	}
	if !plan {
		if !s.moving.TryLock() {
			return problem.New(problem.MoveRefused, "This server carries out another request to move slots. Repeat the request when GET /v1/status shows no move.")
		}
		defer s.moving.Unlock()
	}
	moves, err := s.store.PlanMoves(q)
	if err != nil {
		return moveProblem(err, 0, 0)
	}
	report := &wire.MoveReport{Moves: make([]wire.Move, len(moves))}
	for i, m := range moves {
		report.Moves[i] = wire.Move{From: wire.Text(m.From), To: wire.Text(m.To), Slots: s.slotsOf(m)}
	}
	if !plan {
		if err := s.carryOut(r.Context(), moves, report.Moves); err != nil {
			return err
		}
		w.SetWriteDeadline(time.Now().Add(w.Timeouts.Write)) // fails in tests
	}
	w.Header()["Cache-Control"] = exchange.NoStore
	return s.Respond(w, r, http.StatusOK, "lines", &movePage{*report})
}

// movePage is a report with its HTML page and plain text.
type movePage struct{ wire.MoveReport }

// Heading, Lines and NextPage are for the templates.
func (p *movePage) Heading() string  { return "Move of slots" }
func (p *movePage) NextPage() string { return "" }
func (p *movePage) Lines() (lines []string) {
	for i := range p.Moves {
		lines = append(lines, p.Moves[i].Line())
	}
	return lines
}

// slotsOf returns the number of slots of a planned move.
func (s *Service) slotsOf(m store.MoveRequest) int {
	if m.Slots != nil {
		return len(m.Slots)
	}
	for _, master := range s.store.ClusterMap().Masters {
		if master.Name == m.From {
			return master.Slots
		}
	}
	return 0
}

// carryOut makes the moves, one after another, and notes in done how long writes waited for each.
func (s *Service) carryOut(client context.Context, moves []store.MoveRequest, done []wire.Move) error {
	begin, cancel := context.WithTimeout(client, beginTime)
	defer cancel()
	defer context.AfterFunc(s.Draining, cancel)()
	for i, m := range moves {
		waited, err := s.moveOnce(begin, m)
		switch {
		case err == nil:
			ms := milliseconds(waited)
			done[i].WaitedMS = &ms
		case client.Err() != nil:
			return client.Err()
		case s.Draining.Err() != nil && !errors.Is(err, store.ErrMoveAborted):
			return problem.New(problem.ShuttingDown, "The server is shutting down; %d of %d moves were made.", i, len(moves))
		default:
			return moveProblem(err, i, len(moves))
		}
	}
	return nil
}

// moveOnce makes a move, which begins only while the context lasts, and returns how long writes to the slots waited.
func (s *Service) moveOnce(begin context.Context, m store.MoveRequest) (time.Duration, error) {
	if err := begin.Err(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(begin), beginTime+endTime)
	defer cancel()
	detach := context.AfterFunc(begin, cancel)
	defer detach()
	var began, ended time.Time
	err := s.store.Move(ctx, m, func(stage store.MoveStage) {
		switch stage {
		case store.MoveBegun:
			detach()
			began = time.Now()
		case store.MoveDone:
			ended = time.Now()
		}
	})
	return ended.Sub(began), err
}

// moveProblem maps the error of a move, after some of the moves of its request were made.
func moveProblem(err error, made, of int) error {
	t := problem.MoveUnfinished
	switch {
	case errors.Is(err, store.ErrMoveAborted):
		t = problem.MoveAborted
	case errors.Is(err, store.ErrMoveRefused):
		t = problem.MoveRefused
	}
	e := problem.New(t, "%s.", strings.ReplaceAll(err.Error(), "\n", "; "))
	if made > 0 {
		e = problem.New(t, "%s %d of %d moves were made before.", e.Detail, made, of)
	}
	return e
}

// readMove reads the body of a request to move slots.
func readMove(w *exchange.Response, r *exchange.Request) (q store.MoveRequest, plan bool, err error) {
	err = readObject(w, r, "a move", func(name, value jsontext.Value) error { return setMoveMember(&q, &plan, name, value) })
	switch {
	case err != nil:
		return q, false, err
	case q.From == "" && q.To == "":
		return q, false, problem.Item("from", "A move needs the member from, the member to, or both.")
	case q.Slots != nil && (q.From == "" || q.To == ""):
		return q, false, problem.Item("slots", "The member slots needs the members from and to.")
	}
	return q, plan, nil
}

// readObject reads the body of a request, a JSON object that stands for subject, and calls set for each member.
func readObject(w *exchange.Response, r *exchange.Request, subject string, set func(name, value jsontext.Value) error) error {
	if r.Header["Content-Encoding"] != nil {
		return problem.New(problem.Encoding, "The body of %s has no Content-Encoding.", subject)
	}
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Header["Content-Type"] != nil && (err != nil || mediaType != "application/json") {
		e := problem.New(problem.MediaType, "The body of %s is a JSON object, application/json.", subject)
		e.Members.Available = []string{"application/json"}
		return e
	}
	body, err := w.ReadBody(r, maxMoveBytes, problem.BodyTooLarge)
	if err != nil {
		return err
	}
	d := wire.NewDecoder()
	d.Reset(body)
	if d.PeekKind() != '{' {
		return problem.New(problem.InvalidJSON, "The body is not a JSON object.")
	}
	err = d.Object(func(name jsontext.Value) error {
		value, err := d.ReadValue()
		if err == nil {
			err = set(name, value)
		}
		return err
	})
	if err == nil {
		err = d.End()
	}
	if err != nil {
		return wire.Syntax(err)
	}
	return nil
}

// textMember decodes a member that is a string; null stands for a missing member.
func textMember(member string, value jsontext.Value) (text string, given bool, err error) {
	if value.Kind() == 'n' {
		return "", false, nil
	}
	if value.Kind() == '"' {
		unquoted, err := wire.Unquote(value)
		if err != nil {
			return "", false, err
		}
		text = string(unquoted)
	}
	if text == "" {
		return "", false, problem.Item(member, "The member %s is a string that is not empty.", member)
	}
	return text, true, nil
}

// flagMember decodes a member that is true or false; null stands for false.
func flagMember(member string, value jsontext.Value) (bool, error) {
	if value.Kind() != 't' && value.Kind() != 'f' && value.Kind() != 'n' {
		return false, problem.Item(member, "The member %s is true or false.", member)
	}
	return value.Kind() == 't', nil
}

// setMoveMember decodes a member of a move.
func setMoveMember(q *store.MoveRequest, plan *bool, name, value jsontext.Value) (err error) {
	member, text, given := strings.Trim(string(name), `"`), "", false
	switch member {
	case "from", "to", "slots":
		if text, given, err = textMember(member, value); err != nil || !given {
			return err
		}
	}
	switch member {
	case "from":
		q.From = text
	case "to":
		q.To = text
	case "slots":
		if q.Slots, err = store.ParseSlots(text); err != nil {
			return problem.Item(member, "The member slots is invalid: %s.", err)
		}
	case "plan":
		*plan, err = flagMember(member, value)
		return err
	default:
		return problem.Item(wire.Shorten(name), "There is no member %s of a move; there are from, to, slots and plan.", wire.Shorten(name))
	}
	return nil
}
