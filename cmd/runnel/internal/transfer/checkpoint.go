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

// position is a position in a source: lines of a file, or the path of a file in a tree.
type position struct {
	seq    int64  // the item's number in this run, from 1
	Offset int64  `json:"offset,omitempty"` // bytes of whole lines
	Line   int64  `json:"line,omitempty"`
	Path   string `json:"path,omitempty"` // the last file, in the order of fs.WalkDir
}

// checkpointState is the content of a checkpoint file.
type checkpointState struct {
	Source string `json:"source"`
	Server string `json:"server"`
	Prefix string `json:"prefix,omitempty"`
	position
}

// saveInterval is the least time between two writes of a checkpoint file.
const saveInterval = time.Second

// checkpoint records the position up to which every item is stored, and writes the position to a file if there is a
// file. Items may end in any order. A failed item holds the position back, so that a resumed import tries the item again.
type checkpoint struct {
	file string // empty for no file
	now  func() time.Time

	mu    sync.Mutex // guards the fields below
	state checkpointState
	open  []position     // started items behind the position, in order, up to the first failure
	ended map[int64]bool // the stored items of open, by seq
	limit int64          // seq of the first failed item; 0 without a failure
	saved time.Time
}

// restore reads the file, if it exists. The checkpoint of another import is an error.
func (c *checkpoint) restore() error {
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
		return fmt.Errorf("%s is the checkpoint of another import (of %s, prefix %q) or of another server; remove the file to start again",
			c.file, s.Source, s.Prefix)
	}
	c.state = s
	return nil
}

// resumeAt returns the position from which to continue.
func (c *checkpoint) resumeAt() position { return c.state.position }

// noteStarted records that the item that ends at m is about to be sent. Items start in order.
func (c *checkpoint) noteStarted(m position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit == 0 {
		c.open = append(c.open, m)
	}
}

// noteStored records that the item that ends at m is stored, and writes the file at most once in saveInterval.
func (c *checkpoint) noteStored(m position) error {
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
	return c.writeState()
}

// noteFailed records that the item that ends at m will not be stored in this run.
func (c *checkpoint) noteFailed(m position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit != 0 && m.seq > c.limit {
		return
	}
	c.limit = m.seq
	c.open = slices.DeleteFunc(c.open, func(o position) bool { return o.seq >= m.seq })
	maps.DeleteFunc(c.ended, func(seq int64, _ bool) bool { return seq > m.seq })
}

// save writes the file at the end, when no item is in flight.
func (c *checkpoint) save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeState()
}

// writeState replaces the file durably. The caller holds mu.
func (c *checkpoint) writeState() error {
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

// removeFile deletes the file after everything is stored.
func (c *checkpoint) removeFile() error {
	if c.file == "" {
		return nil
	}
	if err := os.Remove(c.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// howToResume returns advice for continuing an incomplete import.
func (c *checkpoint) howToResume() string {
	if c.file == "" {
		return "import again (entries that are stored already stay the same); with --resume FILE an import can continue where it stopped"
	}
	return fmt.Sprintf("repeat the command to continue from %s", c.file)
}
