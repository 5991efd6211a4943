package transfer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// position is how far a source has been read. Exactly one way of saying it is used: lines, or a path.
type position struct {
	seq    int64  // the item's number in this run, from 1
	Offset int64  `json:"offset,omitempty"` // bytes of whole lines
	Line   int64  `json:"line,omitempty"`
	Path   string `json:"path,omitempty"` // the last file, in the order of the walk
}

// checkpointState is what a checkpoint file holds.
type checkpointState struct {
	Source string `json:"source"`
	Server string `json:"server"`
	Prefix string `json:"prefix,omitempty"`
	position
}

// saveInterval is the least time between two writes of a checkpoint file.
const saveInterval = time.Second

// checkpoint keeps the position below which every item is stored, in a file if there is one. Items end in any order; one
// that failed holds the position where it is, so that resuming meets it again.
type checkpoint struct {
	file string // empty: nothing is kept
	now  func() time.Time

	mu    sync.Mutex // guards what follows
	state checkpointState
	open  []position     // begun and above the position, in order; none from the first failure on
	ended map[int64]bool // those of open that are done, by seq
	limit int64          // seq of the first that failed; 0 for none
	saved time.Time
}

// load takes up what the file says, if there is one, and refuses one that another import has left.
func (c *checkpoint) load() error {
	c.ended = map[int64]bool{}
	if c.file == "" {
		return nil
	}
	text, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var s checkpointState
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("%s is not a checkpoint: %w", c.file, err)
	}
	if s.Source != c.state.Source || s.Server != c.state.Server || s.Prefix != c.state.Prefix {
		return fmt.Errorf("%s is the checkpoint of another import (of %s, prefix %q) or of another server; remove it to start anew",
			c.file, s.Source, s.Prefix)
	}
	c.state = s
	return nil
}

// from returns where to go on.
func (c *checkpoint) from() position { return c.state.position }

// begin notes that the item that ends at m is about to be sent. Items begin in order.
func (c *checkpoint) begin(m position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit == 0 {
		c.open = append(c.open, m)
	}
}

// done notes that the item that ends at m is stored, and now and then writes the file.
func (c *checkpoint) done(m position) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit != 0 && m.seq > c.limit {
		return nil
	}
	c.ended[m.seq] = true
	for len(c.open) > 0 && c.ended[c.open[0].seq] {
		delete(c.ended, c.open[0].seq)
		c.state.position = c.open[0]
		c.open = c.open[1:]
	}
	if c.now().Sub(c.saved) < saveInterval {
		return nil
	}
	return c.write()
}

// fail notes that the item that ends at m is not stored and will not be in this run.
func (c *checkpoint) fail(m position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit != 0 && m.seq > c.limit {
		return
	}
	c.limit = m.seq
	c.open = slices.DeleteFunc(c.open, func(o position) bool { return o.seq >= m.seq })
	maps.DeleteFunc(c.ended, func(seq int64, _ bool) bool { return seq > m.seq })
}

// save writes the file. No item is in flight.
func (c *checkpoint) save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write()
}

// write replaces the file durably, with mu held.
func (c *checkpoint) write() error {
	if c.file == "" {
		return nil
	}
	c.saved = c.now()
	text, err := json.MarshalIndent(c.state, "", "  ")
	if err != nil {
		return err
	}
	if err := console.ReplaceFile(c.file, bytes.NewReader(append(text, '\n'))); err != nil {
		return fmt.Errorf("save the checkpoint: %w", err)
	}
	return nil
}

// remove drops the file: all is stored.
func (c *checkpoint) remove() error {
	if c.file == "" {
		return nil
	}
	if err := os.Remove(c.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// howToResume says to a person how to go on with an import that did not store everything.
func (c *checkpoint) howToResume() string {
	if c.file == "" {
		return "import it again (what is stored already is stored the same), with --resume FILE to be able to go on from where it stops"
	}
	return fmt.Sprintf("repeat the command to go on from where %s says", c.file)
}
