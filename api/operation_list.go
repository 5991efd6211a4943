package api

import (
	"bytes"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
)

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
