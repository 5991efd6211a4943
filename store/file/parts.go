package file

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"io"
)

// PutPart stores a part of a file, which is not visible before Assemble. Unlike a small file, a part is never kept
// in its manifest. Its digests are those of the part.
func (f *Service) PutPart(ctx context.Context, body io.Reader) (*Manifest, error) {
	copies, err := f.copies(0)
	if err != nil {
		return nil, err
	}
	u := f.newUpload(copies, true)
	u.isPart = true
	return u.m, u.readAll(ctx, body)
}

// KeepPart counts as a use of the chunks of a part, so that they are not collected for another grace time.
func (f *Service) KeepPart(ctx context.Context, m *Manifest) error { return f.touch(ctx, m, m.Copies) }

// Assemble publishes a file from parts, in order. Its content is read and compared with its hashes once more, to compute
// the digests of the whole. The errors are those of Put, and ErrNoCopy.
func (f *Service) Assemble(ctx context.Context, name string, parts []*Manifest, o PutOptions) (*Stored, error) {
	copies, err := f.copies(o.Copies)
	if err != nil {
		return nil, err
	}
	m := &Manifest{ChunkBytes: int64(f.options.ChunkBytes), Copies: copies, Parts: []int64{}}
	m.Meta = o.Meta
	for _, p := range parts {
		if p.Size == 0 {
			continue
		}
		m.Parts = append(m.Parts, p.Size)
		m.Size += p.Size
		m.Chunks = append(m.Chunks, p.Chunks...)
	}
	sum, sum5 := sha256.New(), md5.New()
	whole := &File{Manifest: m, f: f}
	if err := whole.WriteRange(ctx, io.MultiWriter(sum, sum5), 0, m.Size, func() {}); err != nil {
		return nil, err
	}
	m.SHA256, m.MD5 = hex.EncodeToString(sum.Sum(nil)), hex.EncodeToString(sum5.Sum(nil))
	if o.Verify != nil {
		if err := o.Verify(m.Summary); err != nil {
			return nil, err
		}
	}
	if err := f.keepChunks(ctx, m, copies); err != nil {
		return nil, err
	}
	return f.publish(ctx, name, m, copies, o)
}
