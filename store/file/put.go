package file

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// PutOptions says how a file is stored. The zero value is an unconditional upload with the default
// number of copies.
type PutOptions struct {
	ContentType string
	Meta        map[string]string
	Copies      int  // 0: the default
	MD5         bool // compute the MD5 too
	// Verify, if set, is called with the summary of the whole body, before anything is published. An
	// error ends the upload and is returned unchanged.
	Verify func(Summary) error
	// Decide, if set, is called inside the Update with the current entry, without the value. An error
	// ends the upload and is returned unchanged. Decide may be called again.
	Decide func(tx *store.Tx, current *store.Entry, exists bool) error
}

// Stored is a published file.
type Stored struct {
	Manifest *Manifest
	Entry    store.Entry
	Created  bool // there was no such file
	Held     int  // partitions that hold the manifest durably
	Copies   int  // that were asked for
}

// uploadWindow is the number of chunks of an upload that are being stored at the same time.
const uploadWindow = 3

// UploadBytes is the memory of an upload: the chunks of the window, the chunk that is being read, and
// the copies that the driver of a database makes of each chunk in the window.
func (f *Service) UploadBytes() int64 {
	return int64(f.options.ChunkBytes) * (uploadWindow + 1 + 2*uploadWindow)
}

// Put stores a file from a reader of its content. If Put fails, the former file stays as it was, and
// the chunks of the failed upload are collected later; after store.ErrOutcomeUnknown the file is
// the former or the new file.
//
// ErrTooFewPartitions, ErrTooSlow, a *CopiesError, an error of the body, of Options.Verify or Decide,
// or of Store.Update: nothing was published.
func (f *Service) Put(ctx context.Context, name string, body io.Reader, o PutOptions) (*Stored, error) {
	copies, err := f.copies(o.Copies)
	if err != nil {
		return nil, err
	}
	u := f.newUpload(copies, o.MD5)
	if err := u.readAll(ctx, body); err != nil {
		return nil, err
	}
	u.m.Meta = o.Meta
	if o.Verify != nil {
		if err := o.Verify(u.m.Summary); err != nil {
			return nil, err
		}
	}
	if err := u.keep(ctx); err != nil {
		return nil, err
	}
	return f.publish(ctx, name, u.m, copies, o)
}

// upload gathers the manifest of a file.
type upload struct {
	f        *Service
	copies   int
	isPart   bool // nothing is kept in the manifest
	began    time.Time
	m        *Manifest
	sum, md5 hash.Hash // md5 is nil unless asked for
}

func (f *Service) newUpload(copies int, withMD5 bool) *upload {
	u := &upload{f: f, copies: copies, began: time.Now(), sum: sha256.New(),
		m: &Manifest{ChunkBytes: int64(f.options.ChunkBytes), Copies: copies}}
	if withMD5 {
		u.md5 = md5.New()
	}
	return u
}

// readAll stores the chunks of a body while the body is read.
func (u *upload) readAll(ctx context.Context, body io.Reader) error {
	storing, ctx := errgroup.WithContext(ctx)
	storing.SetLimit(uploadWindow)
	err := u.readChunks(ctx, storing, body)
	if failed := storing.Wait(); failed != nil { // the cause of an error of readChunks, if both failed
		return failed
	}
	if err != nil {
		return err
	}
	u.m.SHA256 = hex.EncodeToString(u.sum.Sum(nil))
	if u.md5 != nil {
		u.m.MD5 = hex.EncodeToString(u.md5.Sum(nil))
	}
	return nil
}

// readChunks starts to store each chunk, and waits while the window is full.
func (u *upload) readChunks(ctx context.Context, storing *errgroup.Group, body io.Reader) error {
	for {
		buffer := u.f.buffers.Get().(*[]byte)
		n, last, err := fill(body, *buffer)
		data := (*buffer)[:n]
		if err != nil {
			u.f.buffers.Put(buffer)
			return err
		}
		u.note(data)
		switch {
		case last && u.m.Size <= InlineBytes && len(u.m.Chunks) == 0 && !u.isPart:
			u.m.Inline, u.m.ChunkBytes, u.m.Content = true, 0, append([]byte{}, data...)
			u.f.buffers.Put(buffer)
		case n == 0:
			u.f.buffers.Put(buffer)
		default:
			hash := partition.HashChunk(data)
			u.m.Chunks = append(u.m.Chunks, hash)
			storing.Go(func() error {
				defer u.f.buffers.Put(buffer)
				return u.f.putChunk(ctx, hash, data, u.copies)
			})
		}
		if last || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// fill reads until the buffer is full or the body has ended. io.ReadFull would give the same error for a
// short last chunk and for a body that breaks off.
func fill(body io.Reader, buffer []byte) (n int, end bool, err error) {
	for n < len(buffer) {
		read, err := body.Read(buffer[n:])
		n += read
		switch {
		case err == io.EOF:
			return n, true, nil
		case err != nil:
			return n, false, err
		}
	}
	return n, false, nil
}

// note adds a chunk to size and digests.
func (u *upload) note(data []byte) {
	u.m.Size += int64(len(data))
	u.sum.Write(data)
	if u.md5 != nil {
		u.md5.Write(data)
	}
}

// keep makes sure that no chunk of a long upload is collected before the manifest is published.
func (u *upload) keep(ctx context.Context) error {
	if time.Since(u.began) < u.f.options.Grace/4 {
		return nil // storing the chunks was a use
	}
	return u.f.keepChunks(ctx, u.m, u.copies)
}

// keepChunks touches the chunks of a manifest within a quarter of the grace time.
func (f *Service) keepChunks(ctx context.Context, m *Manifest, copies int) error {
	began := time.Now()
	if err := f.touch(ctx, m, copies); err != nil {
		return err
	}
	if took := time.Since(began); took > f.options.Grace/4 {
		return fmt.Errorf("%w: touching %d chunks took %v", ErrTooSlow, len(m.Chunks), took)
	}
	return nil
}

// publish writes the manifest in one Update, and copies its entry to further partitions. The chunks
// were used less than half of the grace time ago.
func (f *Service) publish(ctx context.Context, name string, m *Manifest, copies int, o PutOptions) (*Stored, error) {
	e, err := m.entry(name, o.ContentType)
	if err != nil {
		return nil, err
	}
	if limit := f.store.MaxValueBytes(); int64(len(e.Value)) > limit {
		return nil, &store.TooLargeError{Limit: m.Size / int64(len(e.Value)) * limit}
	}
	s := &Stored{Manifest: m, Copies: copies}
	bound, cancel := context.WithTimeout(ctx, f.options.Grace/4)
	defer cancel()
	err = f.store.Update(bound, []store.Key{e.Key}, store.UpdateOptions{WithoutValues: true, Bytes: int64(len(e.Value))}, func(tx *store.Tx) error {
		current, exists := tx.Get(e.Key)
		if o.Decide != nil {
			if err := o.Decide(tx, &current, exists); err != nil {
				return err
			}
		}
		s.Entry, s.Created = tx.Put(e), !exists
		return nil
	})
	if err != nil && bound.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrTooSlow, err)
	}
	if err != nil {
		return nil, err
	}
	if s.Held = 1; copies > 1 {
		if s.Held, err = f.store.Copy(ctx, s.Entry, copies); err != nil {
			f.log.Warn("fewer partitions hold a manifest than asked for", "held", s.Held, "asked", copies, "error", err)
		}
	}
	return s, nil
}
