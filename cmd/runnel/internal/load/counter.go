package load

import "bytes"

// counter counts the occurrences of a short pattern in a body that arrives in pieces. After the first body a counter
// allocates nothing. The pattern must not overlap with itself; "status":20 does not.
type counter struct {
	pattern []byte // empty to count nothing
	n       int
	tail    []byte // the end of the earlier pieces, shorter than the pattern
}

// startBody starts a new body.
func (c *counter) startBody() { c.n, c.tail = 0, c.tail[:0] }

// countIn counts the next piece. An occurrence across the border of two pieces is found in tail: the parts of the pieces there
// are shorter than the pattern, so no occurrence is counted twice.
func (c *counter) countIn(piece []byte) {
	if len(c.pattern) == 0 {
		return
	}
	most := len(c.pattern) - 1
	c.n += bytes.Count(piece, c.pattern)
	c.tail = append(c.tail, piece[:min(len(piece), most)]...)
	c.n += bytes.Count(c.tail, c.pattern)
	if len(piece) > most {
		c.tail = append(c.tail[:0], piece[len(piece)-most:]...)
		return
	}
	c.tail = append(c.tail[:0], c.tail[max(0, len(c.tail)-most):]...)
}
