package api

import "bytes"

// array decodes the operations of an array and appends them to ops. An error
// says that it is none, or has too many.
func (d *operations) array(ops []operation, body []byte) ([]operation, error) {
	d.reset(body)
	if d.decoder.PeekKind() != '[' {
		return ops, refuse(kindInvalidJSON, "The body is not a JSON array.")
	}
	if _, err := d.decoder.ReadToken(); err != nil {
		return ops, refuseJSON(err)
	}
	for d.decoder.PeekKind() != ']' {
		if len(ops) == maxBatchItems {
			return ops, refuse(kindTooLarge, "An array has at most %d operations; lines can be as many as there are.", maxBatchItems)
		}
		ops = append(ops, operation{})
		if err := d.read(&ops[len(ops)-1]); err != nil {
			return ops, refuseJSON(err)
		}
	}
	if _, err := d.decoder.ReadToken(); err != nil {
		return ops, refuseJSON(err)
	}
	return ops, d.end()
}

// appendLine decodes the operation of a line. An empty line has none.
func (d *operations) appendLine(ops []operation, line []byte) []operation {
	if len(bytes.TrimSpace(line)) == 0 {
		return ops
	}
	ops = append(ops, operation{})
	o := &ops[len(ops)-1]
	d.reset(line)
	err := d.read(o)
	if err == nil {
		err = d.end()
	}
	if err != nil {
		*o = operation{failed: refuseJSON(err)}
	}
	return ops
}
