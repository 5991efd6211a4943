package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/store/partition"
)

// contents reads the chunks of the files of a backup: from the partition that is backed up, or else from others. contents implements
// backup.Contents.
type contents struct {
	sources []partition.Partition // that are asked in turn
	closed  []partition.Partition // that are opened when a chunk is in no source
	named   map[partition.ChunkHash]bool
	chunks  []chunk // each hash once
	files   []string
	lacking []string        // files of which a chunk is nowhere
	begin   func()          // called before the first chunk is read
	add     func(bytes int) // called after each chunk
	buffer  []byte
}

// chunk is a chunk and the index of a file that names the chunk.
type chunk struct {
	hash partition.ChunkHash
	file int
}

// newContents returns the contents of the files of p.
func (ps partitions) newContents(p partition.Partition) *contents {
	others := slices.DeleteFunc(slices.Clone(ps.all), func(q partition.Partition) bool { return q == p })
	return &contents{sources: []partition.Partition{p}, closed: others, named: make(map[partition.ChunkHash]bool)}
}

// Note implements backup.Contents.
func (c *contents) Note(e *partition.Entry) {
	if e.Deleted || !strings.HasPrefix(string(e.Key), string(store.Files.Key(""))) {
		return
	}
	m, err := file.ParseManifest(e.Value)
	if err != nil { // the value is as it was stored
		c.lacking = append(c.lacking, store.Name(e.Key))
		return
	}
	if len(m.Chunks) == 0 {
		return
	}
	c.files = append(c.files, store.Name(e.Key))
	for _, hash := range m.Chunks {
		if !c.named[hash] {
			c.named[hash] = true
			c.chunks = append(c.chunks, chunk{hash, len(c.files) - 1})
		}
	}
}

// Each implements backup.Contents.
func (c *contents) Each(ctx context.Context, write func(data []byte) error) error {
	c.begin()
	for _, k := range c.chunks {
		data := c.read(ctx, k.hash)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if data == nil {
			if name := c.files[k.file]; !slices.Contains(c.lacking, name) {
				c.lacking = append(c.lacking, name)
			}
			continue
		}
		if err := write(data); err != nil {
			return err
		}
		c.add(len(data))
	}
	return nil
}

// read returns a whole copy of a chunk; nil: no partition that answers has a copy. A partition that does not answer is not asked again.
func (c *contents) read(ctx context.Context, hash partition.ChunkHash) []byte {
	for i := 0; i < len(c.sources) || c.openNext(ctx); {
		data, err := c.sources[i].GetChunk(ctx, hash, c.buffer)
		switch {
		case err == nil && partition.HashChunk(data) == hash:
			c.buffer = data
			return data
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, partition.ErrUnavailable):
			c.sources = slices.Delete(c.sources, i, i+1)
		default:
			i++
		}
	}
	return nil
}

// openNext adds the next partition that can be opened to the sources. false: there is none.
func (c *contents) openNext(ctx context.Context) bool {
	for len(c.closed) > 0 && ctx.Err() == nil {
		p := c.closed[0]
		if c.closed = c.closed[1:]; open(ctx, p) == nil {
			c.sources = append(c.sources, p)
			return true
		}
	}
	return false
}

// mostNames is the number of files that a message names.
const mostNames = 5

// check fails if the content of a file could not be read.
func (c *contents) check() error {
	if len(c.lacking) == 0 {
		return nil
	}
	names := c.lacking[:min(len(c.lacking), mostNames)]
	more := ""
	if n := len(c.lacking) - len(names); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return &console.ExitError{Code: console.ExitFailed, Err: fmt.Errorf(
		"the backup is whole but for the content of files of which no partition that answers has a copy: %q%s", names, more)}
}
