package load

import "bytes"

// A counter counts how often a short pattern stands in a body that comes in pieces. It allocates nothing once it
// has seen a body. No pattern may overlap with itself; "status":20 does not.
type counter struct {
	pattern []byte // empty: nothing is counted
	n       int
	tail    []byte // the end of what was seen, shorter than the pattern
}

func (c *counter) begin() { c.n, c.tail = 0, c.tail[:0] }

// see takes the next piece. What lies across the border to the last one is too short to hold the pattern on either side of it.
func (c *counter) see(piece []byte) {
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
