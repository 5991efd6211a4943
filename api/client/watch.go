package client

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/runnelkv/runnel/api/wire"
)

// Now is the WatchOptions.Since of a reader that wants only changes from now on.
const Now = "now"

// WatchOptions choose changes.
type WatchOptions struct {
	Prefix string // of the keys; empty for all
	Since  string // a Change.Token, Now, or empty for every key that exists and then its changes
	Values bool   // with the values
	// OnReconnect is called before Watch connects again, with the error that ended the stream, or nil if the server
	// ended it; nil for no calls.
	OnReconnect func(error)
}

// Change is a new state of a key. Of a key that changes often some states may be left out, never the last.
type Change struct {
	Key      string `json:"key"` // empty for a line that only brings a token
	Deleted  bool   `json:"deleted"`
	Revision int64  `json:"revision"`
	// Token continues behind this change on any server of the cluster. Keep the token after processing the change.
	// Empty if the change brings none.
	Token string `json:"next"`
	// Raw is the JSON that the server sent.
	Raw json.RawMessage `json:"-"`
}

// Entry decodes the entry of a change that is no deletion; its value only if the watch was asked for values.
func (c Change) Entry() (Entry, error) { return Item{Key: c.Key, Raw: c.Raw}.Entry() }

// watchSilence is the least time without a line after which a stream counts as lost: twice as long as a server is
// silent.
const watchSilence = 30 * time.Second

// Watch yields changes without end. It connects again, however often, after a failure that may pass, and continues
// behind the last token; a change may then be yielded again, and none is left out. Watch ends with the error of ctx, or
// with a refusal, such as ErrResync for a token that is too old.
func (c *Client) Watch(ctx context.Context, o WatchOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		s := &watchStream{c: c, o: o, yield: yield}
		for pauses := newPauses(); ; {
			s.progressed = false
			err := s.readStream(ctx)
			if s.stopped {
				return
			}
			lasting := err != nil && (!errors.Is(err, ErrServer) || errors.Is(err, ErrNotRunnel) || errors.Is(err, ErrUnauthorized))
			if ctx.Err() != nil {
				err, lasting = ctx.Err(), true
			}
			if lasting {
				yield(Change{}, err)
				return
			}
			if s.progressed {
				pauses.Reset()
			}
			if o.OnReconnect != nil {
				o.OnReconnect(err)
			}
			if err := sleep(ctx, pauses.NextBackOff()); err != nil {
				yield(Change{}, err)
				return
			}
		}
	}
}

// watchStream reads changes across lost connections.
type watchStream struct {
	c          *Client
	o          WatchOptions // Since moves on
	yield      func(Change, error) bool
	progressed bool // this connection has brought a line
	stopped    bool // the consumer wants no more
}

// readStream reads a stream to its end.
func (s *watchStream) readStream(ctx context.Context) error {
	q := url.Values{"since": {s.o.Since}}
	setNonEmpty(q, "prefix", s.o.Prefix)
	if s.o.Values {
		q.Set("values", "true")
	}
	resp, err := s.c.attempt(ctx, request{method: http.MethodGet, path: "/v1/changes", query: q, accept: mediaLines, silence: watchSilence})
	if err != nil {
		return err
	}
	return eachLine(resp.Body, s.yieldLine)
}

// yieldLine yields a line, and then moves Since behind the line.
func (s *watchStream) yieldLine(line []byte) (more bool, err error) {
	var in struct {
		Change
		wire.Problem
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return false, &ConnectionError{Err: malformed("change", err)}
	}
	if in.Key == "" && in.Status != 0 {
		return false, &Error{Problem: in.Problem}
	}
	in.Raw = line
	s.stopped = !s.yield(in.Change, nil)
	s.progressed = true
	if in.Token != "" {
		s.o.Since = in.Token
	}
	return !s.stopped, nil
}
