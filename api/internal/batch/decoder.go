package batch

import (
	"bytes"
	"iter"
	"net/http"
	"net/url"

	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/api/internal/document"
	"github.com/runnelkv/runnel/api/internal/etag"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
	"github.com/runnelkv/runnel/store/partition"
)

// op is an operation of a batch or a transaction.
type op struct {
	name          string // "put", "get", "delete"; "" if missing
	write.Request        // entry.Key is set for every operation
	given         wire.Member
	failed        error // why the operation cannot run; nil if it can

	// Result of a put with conditions or ttl, or of a delete; nil for other operations.
	written *store.PutResult
}

// reads reports whether the operation is a get.
func (o *op) reads() bool { return o.name == "get" }

// act is the kind of the operation in the audit log.
func (o *op) act() audit.Act {
	switch o.name {
	case "get":
		return audit.Read
	case "delete":
		return audit.Delete
	}
	return audit.Write
}

// itemsOf yields the operations that were not refused, for the audit log.
func itemsOf(ops []op) iter.Seq[exchange.Item] {
	return func(yield func(exchange.Item) bool) {
		for i := range ops {
			if o := &ops[i]; o.failed == nil && !yield(exchange.Item{Act: o.act(), Key: o.Entry.Key}) {
				return
			}
		}
	}
}

// allowedBy reports whether the grants allow the operation.
func (o *op) allowedBy(g *access.Grants) bool {
	if o.reads() {
		return g.CanRead(store.Name(o.Entry.Key))
	}
	return g.CanWrite(store.Name(o.Entry.Key))
}

// fillWrite sets c to the put or delete for the store.
func (o *op) fillWrite(c *store.Write) {
	c.Entry, c.Update, c.Created, c.Err = o.Entry, nil, false, nil
	if o.name == "put" && o.Unconditional() {
		return
	}
	o.written = new(store.PutResult)
	if o.name == "delete" {
		c.Update = o.Conditions.DeleteFunc(o.Entry.Key, &o.written.Entry)
	} else {
		c.Update = o.PutFunc(o.written)
	}
}

// opDecoder decodes operations. Keys and values may alias the decoded text: do not change the text afterwards.
type opDecoder struct {
	*wire.Decoder
	service  *Service
	maxValue int64
	grants   *access.Grants // of the sender; nil: the caller judges the operations
	key      []byte
	typ      string // the last valid content type
}

// newOpDecoder returns a decoder that refuses operations beyond the grants; nil: the caller judges the operations.
func (s *Service) newOpDecoder(g *access.Grants) *opDecoder {
	return &opDecoder{Decoder: wire.NewDecoder(), service: s, maxValue: s.store.MaxValueBytes(), grants: g}
}

// readNext decodes the next value. The error says that the text is not JSON; all other errors are in o.failed.
func (d *opDecoder) readNext(o *op) error {
	var item wire.Operation
	if err := d.Read(&item); err != nil {
		return err
	}
	d.fill(o, &item)
	return nil
}

// fill sets o to the decoded operation, or o.failed to the reason why it is invalid.
func (d *opDecoder) fill(o *op, item *wire.Operation) {
	o.name, o.given = item.Name, item.Given
	if o.failed = item.Err; o.failed == nil {
		o.failed = d.validate(o, item)
	}
	if o.failed == nil && d.grants != nil && !o.allowedBy(d.grants) {
		o.failed = exchange.Forbidden()
	}
}

// validate applies the limits of the store. On success it returns an untyped nil, which callers may store.
func (d *opDecoder) validate(o *op, item *wire.Operation) (err error) {
	if o.Entry.Key, err = d.keyOf(item.Key); err != nil {
		return err
	}
	if item.Given&wire.MemberIfMatch != 0 {
		if o.Conditions.Match, err = itemTags("if_match", item.IfMatch); err != nil {
			return err
		}
	}
	if item.Given&wire.MemberIfNoneMatch != 0 {
		if o.Conditions.NoneMatch, err = itemTags("if_none_match", item.IfNoneMatch); err != nil {
			return err
		}
	}
	if o.name != "put" {
		return nil
	}
	if item.Given&wire.MemberTTL != 0 {
		if o.TTL, err = write.TimeToLive(url.Values{"ttl": {string(item.TTL)}}); err != nil {
			return problem.Item("ttl", "%s", err.(*problem.Error).Detail)
		}
	}
	return d.validateEntry(&o.Entry, item)
}

func (d *opDecoder) validateEntry(e *store.Entry, item *wire.Operation) error {
	if int64(len(item.Value)) > d.maxValue {
		return problem.ValueTooLarge(d.maxValue)
	}
	e.Value, e.ContentType = item.Value, item.ContentType
	switch {
	case item.Given&wire.MemberType == 0:
		e.ContentType = write.DefaultContentType
	case e.ContentType == "", e.ContentType != d.typ && !write.IsMediaType(e.ContentType):
		return problem.Item("content_type", "The member content_type is a media type like text/plain, of at most %d ASCII characters.", write.MaxContentTypeBytes)
	default:
		d.typ = e.ContentType
	}
	if item.Given&wire.MemberExpiresAt != 0 {
		e.ExpiresAt = partition.InstantOf(item.ExpiresAt)
	}
	stored, ok, err := document.StoredMetadata(item.Metadata)
	if !ok {
		return problem.Item("metadata", "The metadata are larger than %d bytes.", document.MaxMetadataBytes)
	}
	e.Metadata = stored
	return err
}

func (d *opDecoder) keyOf(text []byte) (store.Key, error) {
	d.key = append(append(append(d.key[:0], store.User...), '/'), text...)
	key := store.Key(d.key)
	return key, d.service.store.CheckName(store.Name(key))
}

// itemTags parses a member like the header of the same meaning.
func itemTags(member string, text []byte) (etag.Tags, error) {
	t, err := etag.Parse(http.Header{member: {string(text)}}, member)
	if err != nil {
		return t, problem.Item(member, "%s", err.(*problem.Error).Detail)
	}
	return t, nil
}

// array appends the operations of an array to ops. The error says that the text is not an array or too long.
func (d *opDecoder) array(ops []op, body []byte) ([]op, error) {
	d.Reset(body)
	if d.PeekKind() != '[' {
		return ops, problem.New(problem.InvalidJSON, "The body is not a JSON array.")
	}
	err := d.Array(func() error {
		if len(ops) == maxBatchItems {
			return problem.New(problem.TooLarge, "An array has at most %d operations; lines can be as many as there are.", maxBatchItems)
		}
		ops = append(ops, op{})
		return d.readNext(&ops[len(ops)-1])
	})
	if err != nil {
		return ops, wire.Syntax(err)
	}
	return ops, d.End()
}

// appendLine appends the operation of a line to ops, nothing for an empty line.
func (d *opDecoder) appendLine(ops []op, line []byte) []op {
	if len(bytes.TrimSpace(line)) == 0 {
		return ops
	}
	ops = append(ops, op{})
	o := &ops[len(ops)-1]
	var item wire.Operation
	d.Line(line, &item)
	d.fill(o, &item)
	return ops
}
