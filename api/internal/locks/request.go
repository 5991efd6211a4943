package locks

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store/lock"
)

// maxBodyBytes bounds the body of a request.
const maxBodyBytes = 32 << 10

// body is a decoded request for a lock, or for several.
type body struct {
	lock.Request
	names []string
	given []string // members
}

// readRequest reads the body of a request.
func readRequest(w *exchange.Response, r *exchange.Request) (b body, err error) {
	if r.Header["Content-Encoding"] != nil {
		return b, problem.New(problem.Encoding, "The body of a request for a lock has no Content-Encoding.")
	}
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Header["Content-Type"] != nil && (err != nil || mediaType != "application/json") {
		e := problem.New(problem.MediaType, "A request for a lock is a JSON object, application/json.")
		e.Members.Available = []string{"application/json"}
		return b, e
	}
	text, err := w.ReadBody(r, maxBodyBytes, problem.BodyTooLarge)
	if err != nil {
		return b, err
	}
	d := wire.NewDecoder()
	d.Reset(text)
	if d.PeekKind() != '{' {
		return b, problem.New(problem.InvalidJSON, "The body is not a JSON object.")
	}
	err = d.Object(func(name jsontext.Value) error {
		value, err := d.ReadValue()
		if err == nil && value.Kind() != 'n' {
			err = b.decodeMember(name, value.Clone())
		}
		return err
	})
	if err == nil {
		err = d.End()
	}
	if err == nil && !slices.Contains(b.given, "ttl") {
		return b, problem.Item("ttl", `The member ttl is missing; it is a duration such as "30s".`)
	}
	if err != nil {
		return b, wire.Syntax(err)
	}
	return b, nil
}

// decodeMember decodes a member.
func (b *body) decodeMember(name, value jsontext.Value) error {
	member := strings.Trim(string(name), `"`)
	b.given = append(b.given, member)
	switch member {
	case "owner", "request_id", "ttl":
		text, err := textOf(member, value)
		if err != nil {
			return err
		}
		return b.decodeText(member, text)
	case "info":
		if value.Kind() != '{' {
			return problem.Item(member, "The member info is an object.")
		}
		b.Info = json.RawMessage(value)
	case "protects":
		if value.Kind() != 't' && value.Kind() != 'f' {
			return problem.Item(member, "The member protects is true or false.")
		}
		b.Protects = value.Kind() == 't'
	case "names":
		if err := json.Unmarshal(value, &b.names); err != nil {
			return problem.Item(member, "The member names is an array of strings.")
		}
	default:
		return problem.Item(wire.Shorten(name), "There is no member %s of a request for a lock; there are owner, ttl, request_id, info, protects and names.", wire.Shorten(name))
	}
	return nil
}

func textOf(member string, value jsontext.Value) (string, error) {
	if value.Kind() != '"' {
		return "", problem.Item(member, "The member %s is a string.", member)
	}
	text, err := wire.Unquote(value)
	return string(text), err
}

func (b *body) decodeText(member, text string) (err error) {
	switch member {
	case "owner":
		b.Owner = text
	case "request_id":
		b.RequestID = text
	case "ttl":
		if b.TTL, err = time.ParseDuration(text); err != nil {
			return problem.Item(member, `The member ttl is a duration such as "30s", not %q.`, text)
		}
	}
	return nil
}

// readWait reads how long the client waits for a lock: Prefer: wait=SECONDS (RFC 7240).
func readWait(h http.Header) (time.Duration, error) {
	for _, line := range h["Prefer"] {
		for preference := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(preference), "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`))
			if err != nil || n < 0 || time.Duration(n)*time.Second > lock.MaxWait {
				return 0, problem.Header("Prefer", "Prefer: wait is a number of seconds, at most %d.", int(lock.MaxWait/time.Second))
			}
			return time.Duration(n) * time.Second, nil
		}
	}
	return 0, nil
}

// patiently runs f without the deadlines of short answers. The context ends when the client leaves, the key of the request
// is no longer valid, or the server drains.
func (s *Service) patiently(w *exchange.Response, r *exchange.Request, f func(context.Context) error) error {
	guarded, unguard, err := s.Guard(w, r)
	if err != nil {
		return err
	}
	defer unguard()
	ctx, cancel := context.WithCancel(guarded)
	defer cancel()
	defer context.AfterFunc(s.Draining, cancel)()
	// Deadlines fail in tests. The read deadline would end the request; reads only notice that the client leaves.
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	w.SetWriteDeadline(time.Time{})
	err = f(ctx)
	w.SetWriteDeadline(time.Now().Add(s.Timeouts.Write))
	switch {
	case err == nil || ctx.Err() == nil:
		return err
	case exchange.Ended(ctx) != nil:
		return exchange.Ended(ctx)
	case s.Draining.Err() != nil && r.Context().Err() == nil:
		return problem.New(problem.ShuttingDown, "The server is shutting down.")
	}
	return err
}
