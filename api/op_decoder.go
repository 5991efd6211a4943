package api

import (
	"bytes"
	"net/http"
	"net/url"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// operation is one item of a batch or a transaction, decoded.
type operation struct {
	name   string // "put", "get", "delete"; "" if none was given
	write         // its entry's Key is set for every sort of operation
	given  wire.Member
	failed error // why it is not done; nil if it can be

	// What a put that has to be decided, or a delete, wrote; nil for others.
	written *store.PutResult
}

// reads reports whether the operation changes nothing.
func (o *operation) reads() bool { return o.name == "get" }

// change is a put or a delete as the store takes it.
func (o *operation) change(c *store.Write) {
	c.Entry, c.Update, c.Created, c.Err = o.entry, nil, false, nil
	if o.name == "put" && o.blind() {
		return
	}
	o.written = new(store.PutResult)
	if o.name == "delete" {
		c.Update = o.conditions.deletion(o.entry.Key, &o.written.Entry)
	} else {
		c.Update = o.decide(o.written)
	}
}

// operations decodes operations. Values and keys may alias what is decoded, so
// that must not be changed afterwards.
type operations struct {
	*wire.Decoder
	server   *Server
	maxValue int64
	key      []byte
	typ      string // the last content type that was found right
}

func (s *Server) newOperations() *operations {
	return &operations{Decoder: wire.NewDecoder(), server: s, maxValue: s.store.MaxValueBytes()}
}

// read decodes the value that comes next. The error says that it is not JSON;
// all else that is wrong with it is in o.failed.
func (d *operations) read(o *operation) error {
	var item wire.Operation
	if err := d.Read(&item); err != nil {
		return err
	}
	d.take(o, &item)
	return nil
}

// take makes o of an item, or says in o.failed why it is none.
func (d *operations) take(o *operation, item *wire.Operation) {
	o.name, o.given = item.Name, item.Given
	if o.failed = item.Err; o.failed == nil {
		o.failed = d.accept(o, item)
	}
}

// accept fills o in as far as the store takes what it is given. It returns nil
// as a nil error, so that callers can keep it.
func (d *operations) accept(o *operation, item *wire.Operation) (err error) {
	if o.entry.Key, err = d.keyOf(item.Key); err != nil {
		return err
	}
	if item.Given&wire.MemberIfMatch != 0 {
		if o.conditions.match, err = itemTags("if_match", item.IfMatch); err != nil {
			return err
		}
	}
	if item.Given&wire.MemberIfNoneMatch != 0 {
		if o.conditions.noneMatch, err = itemTags("if_none_match", item.IfNoneMatch); err != nil {
			return err
		}
	}
	if o.name != "put" {
		return nil
	}
	if item.Given&wire.MemberTTL != 0 {
		if o.ttl, err = timeToLive(url.Values{"ttl": {string(item.TTL)}}); err != nil {
			return problem.Item("ttl", "%s", err.(*problem.Error).Detail)
		}
	}
	return d.acceptEntry(&o.entry, item)
}

func (d *operations) acceptEntry(e *store.Entry, item *wire.Operation) error {
	if int64(len(item.Value)) > d.maxValue {
		return problem.ValueTooLarge(d.maxValue)
	}
	e.Value, e.ContentType = item.Value, item.ContentType
	switch {
	case item.Given&wire.MemberType == 0:
		e.ContentType = defaultContentType
	case e.ContentType == "", e.ContentType != d.typ && !isMediaType(e.ContentType):
		return problem.Item("content_type", "The member content_type is a media type like text/plain, of at most %d ASCII characters.", maxContentTypeBytes)
	default:
		d.typ = e.ContentType
	}
	if item.Given&wire.MemberExpiresAt != 0 {
		e.ExpiresAt = partition.InstantOf(item.ExpiresAt)
	}
	stored, ok, err := storedMetadata(item.Metadata)
	if !ok {
		return problem.Item("metadata", "The metadata are larger than %d bytes.", maxMetadataBytes)
	}
	e.Metadata = stored
	return err
}

func (d *operations) keyOf(text []byte) (store.Key, error) {
	d.key = append(append(append(d.key[:0], store.User...), '/'), text...)
	key := store.Key(d.key)
	return key, d.server.store.CheckName(store.Name(key))
}

// itemTags reads entity tags as the header of that meaning has them.
func itemTags(member string, text []byte) (tags, error) {
	t, err := readTags(http.Header{member: {string(text)}}, member)
	if err != nil {
		return t, problem.Item(member, "%s", err.(*problem.Error).Detail)
	}
	return t, nil
}

// array decodes the operations of an array and appends them to ops. An error
// says that it is none, or has too many.
func (d *operations) array(ops []operation, body []byte) ([]operation, error) {
	d.Reset(body)
	if d.PeekKind() != '[' {
		return ops, problem.New(problem.InvalidJSON, "The body is not a JSON array.")
	}
	if _, err := d.ReadToken(); err != nil {
		return ops, wire.Syntax(err)
	}
	for d.PeekKind() != ']' {
		if len(ops) == maxBatchItems {
			return ops, problem.New(problem.TooLarge, "An array has at most %d operations; lines can be as many as there are.", maxBatchItems)
		}
		ops = append(ops, operation{})
		if err := d.read(&ops[len(ops)-1]); err != nil {
			return ops, wire.Syntax(err)
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return ops, wire.Syntax(err)
	}
	return ops, d.End()
}

// appendLine decodes the operation of a line. An empty line has none.
func (d *operations) appendLine(ops []operation, line []byte) []operation {
	if len(bytes.TrimSpace(line)) == 0 {
		return ops
	}
	ops = append(ops, operation{})
	o := &ops[len(ops)-1]
	var item wire.Operation
	d.Line(line, &item)
	d.take(o, &item)
	return ops
}
