package file

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/runnelkv/runnel/store"
)

// File is a file as of the moment when its manifest was read. Its content cannot change: a later
// upload makes other chunks.
type File struct {
	*Manifest
	Read store.Read // the entry, the partition that answered, and the staleness
	f    *Service
}

// Open reads the manifest of a file. The errors are those of Store.Get, and ErrManifest.
func (f *Service) Open(ctx context.Context, name string, o store.ReadOptions) (*File, store.Read, error) {
	r, err := f.store.Get(ctx, Key(name), o)
	if err != nil {
		return nil, r, err
	}
	m, err := ParseManifest(r.Entry.Value)
	if err != nil {
		return nil, r, fmt.Errorf("%s: %w", r.Entry.Key, err)
	}
	return &File{Manifest: m, Read: r, f: f}, r, nil
}

// readWindow is the number of chunks that are read ahead, from several partitions side by side.
const readWindow = 3

// DownloadBytes is the memory of a download: the chunks of the window, and the chunk that is being
// written.
func (f *File) DownloadBytes() int64 {
	if f.Inline {
		return 0
	}
	return min(f.ChunkBytes*(readWindow+1), f.Size) * 2 // the driver of a database has a copy
}

// chunkRead is a chunk that is being read.
type chunkRead struct {
	done   chan struct{}
	buffer *[]byte // of the service
	data   []byte  // set before done is closed
	err    error
}

// WriteRange writes n bytes of the content from an offset to w: each chunk once its hash was compared.
// The range lies within the content. ready is called before the first byte is written, when the first
// chunk has been read. ErrNoCopy: a chunk cannot be had; nothing of the chunk was written.
func (f *File) WriteRange(ctx context.Context, w io.Writer, offset, n int64, ready func()) error {
	if f.Inline || n == 0 {
		ready()
		_, err := w.Write(f.Content[min(offset, int64(len(f.Content))):min(offset+n, int64(len(f.Content)))])
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	spans := f.spans()
	first, _ := slices.BinarySearchFunc(spans, offset, func(s span, at int64) int {
		if s.end <= at {
			return -1
		}
		return 1
	})
	var window []*chunkRead
	next := first
	for at := first; at < len(spans) && spans[at].begin < offset+n; at++ {
		for ; next < len(spans) && len(window) <= readWindow && spans[next].begin < offset+n; next++ {
			window = append(window, f.startRead(ctx, &reading, next, spans[next]))
		}
		c := window[0]
		window = window[1:]
		<-c.done
		if c.err != nil {
			return c.err
		}
		if at == first {
			ready()
		}
		s := spans[at]
		if _, err := w.Write(c.data[max(offset-s.begin, 0) : min(offset+n, s.end)-s.begin]); err != nil {
			return err
		}
		f.f.buffers.Put(c.buffer)
	}
	return nil
}

// startRead begins to read a chunk.
func (f *File) startRead(ctx context.Context, reading *sync.WaitGroup, i int, s span) *chunkRead {
	c := &chunkRead{done: make(chan struct{}), buffer: f.f.buffers.Get().(*[]byte)}
	reading.Go(func() {
		defer close(c.done)
		c.data, c.err = f.f.getChunk(ctx, f.Chunks[i], s.end-s.begin, f.Copies, *c.buffer)
	})
	return c
}

// Chunk reads the chunk with an index.
func (f *File) Chunk(ctx context.Context, i int) ([]byte, error) {
	if f.Inline {
		return f.Content, nil
	}
	return f.f.getChunk(ctx, f.Chunks[i], f.ChunkSize(i), f.Copies, nil)
}
