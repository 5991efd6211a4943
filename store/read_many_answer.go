package store

import (
	"context"
	"errors"
)

// freshness says of what moment an answer is.
type answerAge int

const (
	sameMoment   answerAge = iota // that of all the answers
	laterMoment                   // a later one, or another member's
	otherBackend                  // another member's: this one does not answer any more
)

// of is the answer about the first of keys, in the session of o.
func (a *originAnswers) answerFirst(ctx context.Context, keys []Key, o *ReadOptions) (Read, answerAge, error) {
	if a.err != nil {
		return Read{}, sameMoment, a.err
	}
	i, found := a.at[keys[0]]
	if !found {
		return a.read, sameMoment, ErrNotFound
	}
	if e := &a.entries[i]; !isHead(e) || !e.Live(a.now) {
		return a.toRead(ctx, e, sameMoment, o)
	}
	return a.answerLarge(ctx, keys, o)
}

// isHead reports whether the value was left out, as it is large.
func isHead(e *Entry) bool { return e.Value == nil && e.Size > 0 }

// show is the answer that an entry makes. A damaged one is read elsewhere.
func (a *originAnswers) toRead(ctx context.Context, e *Entry, f answerAge, o *ReadOptions) (Read, answerAge, error) {
	r := a.read
	r.Seen = Mark{e.Origin, e.Revision}
	if !e.Live(a.now) {
		return r, f, ErrNotFound
	}
	if !e.Intact() {
		r, err := a.q.s.Get(ctx, e.Key, *o)
		return r, laterMoment, err
	}
	r.Entry = *e
	return r, f, nil
}

// ofLarge is the answer about the first of keys, of which the head was read. If
// it was written since, the answer is what it is by now.
func (a *originAnswers) answerLarge(ctx context.Context, keys []Key, o *ReadOptions) (Read, answerAge, error) {
	head := &a.entries[a.at[keys[0]]]
	e, found, err := a.readWhole(ctx, keys)
	switch {
	case err != nil:
		r, err := a.q.s.Get(ctx, head.Key, *o)
		return r, otherBackend, err
	case !found || e.Revision < head.Revision:
		return a.answerLost(ctx, head, o)
	case e.Revision > head.Revision:
		return a.later.toRead(ctx, &e, laterMoment, o)
	}
	return a.later.toRead(ctx, &e, sameMoment, o)
}

// lost is the answer about an entry that the member does not hold any more: it
// was emptied, or another took its place. Of the others one is asked that has
// the entry, if any does.
func (a *originAnswers) answerLost(ctx context.Context, head *Entry, o *ReadOptions) (Read, answerAge, error) {
	since := *o
	since.Session = o.Session.With(Mark{head.Origin, head.Revision})
	r, err := a.q.s.Get(ctx, head.Key, since)
	if err != nil && !errors.Is(err, ErrNotFound) {
		r, err = a.q.s.Get(ctx, head.Key, *o)
	}
	return r, otherBackend, err
}

// whole is the entry of the first of keys, with its value; not found if there is
// none any more.
func (a *originAnswers) readWhole(ctx context.Context, keys []Key) (e Entry, found bool, err error) {
	if e, found = a.later.takeValue(keys[0]); found && !isHead(&e) {
		return e, true, nil
	}
	for _, some := range [...][]Key{keys, keys[:1]} { // alone if it has grown meanwhile
		if err := a.fetch(ctx, some); err != nil {
			return e, false, err
		}
		if e, found = a.later.takeValue(keys[0]); !found || !isHead(&e) {
			break
		}
	}
	return e, found, nil
}

// take is the entry of a key. It leaves the head: the value is not held for longer.
func (a *originAnswers) takeValue(k Key) (e Entry, found bool) {
	if a == nil {
		return e, false
	}
	i, found := a.at[k]
	if found {
		e, a.entries[i].Value = a.entries[i], nil
	}
	return e, found
}

// fetch reads the first of keys with its value, unless that has grown, and
// others of which there are only the heads, as many as the budget allows. Alone
// it is read however large it is.
func (a *originAnswers) fetch(ctx context.Context, keys []Key) (err error) {
	a.later = nil
	s := a.q.s
	a.later, err = s.readOriginFrom(ctx, a.m, a.group(keys), min(readPatience, s.options.Timeout))
	return err
}

// group is what to read with the first of keys. Each may be as large as the
// largest of the heads is: so the budget is kept even if all have grown since.
func (a *originAnswers) group(keys []Key) keyRequest {
	w := keyRequest{q: a.q}
	in := make(map[Key]bool)
	for _, k := range keys {
		i, found := a.at[k]
		if !found || in[k] || !isHead(&a.entries[i]) || !a.entries[i].Live(a.now) {
			continue
		}
		most := max(w.most, a.entries[i].Size)
		if len(w.keys) > 0 && most*int64(len(w.keys)+1) > a.budget {
			break
		}
		in[k], w.keys, w.most = true, append(w.keys, k), most
	}
	if len(w.keys) == 1 {
		w.most = wholeValues
	}
	return w
}
