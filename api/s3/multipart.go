package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"strings"
	"time"

	"github.com/rclone/gofakes3"

	"github.com/runnelkv/runnel/store/file"
)

// upload is an unfinished multipart upload. Its parts are stored; their list is in the memory of this process, so that an
// upload begins and ends at the same process, and ends with it.
type upload struct {
	target
	meta  map[string]string
	owner context.Context // of the request that began the upload, for its grants alone
	parts map[int]*file.Manifest
	used  time.Time
}

// Bounds of unfinished uploads.
const (
	maxUploads  = 1000
	uploadsIdle = 24 * time.Hour // after which an upload ends
)

// CreateMultipartUpload implements gofakes3.MultipartBackend.
func (b *backend) CreateMultipartUpload(ctx context.Context, bucket, object string, meta map[string]string) (gofakes3.UploadID, error) {
	if err := b.requireBucket(ctx, bucket); err != nil {
		return "", err
	}
	u := &upload{target: target{bucket, object}, meta: meta, owner: context.WithValue(context.Background(), senderKey{}, senderOf(ctx)), parts: map[int]*file.Manifest{}, used: time.Now()}
	if err := b.checkName(u.target); err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.uploads) >= maxUploads {
		return "", gofakes3.ErrorMessage(gofakes3.ErrSlowDown, "Too many uploads are unfinished.")
	}
	id := gofakes3.UploadID(rand.Text())
	b.uploads[id] = u
	return id, nil
}

// find returns an upload, and notes its use.
func (b *backend) find(id gofakes3.UploadID) (*upload, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.uploads[id]
	if u == nil {
		return nil, gofakes3.ErrNoSuchUpload
	}
	u.used = time.Now()
	return u, nil
}

// UploadPart implements gofakes3.MultipartBackend.
func (b *backend) UploadPart(ctx context.Context, bucket, object string, id gofakes3.UploadID, number int, length int64, body io.Reader) (string, error) {
	u, err := b.find(id)
	if err != nil {
		return "", err
	}
	part, err := b.o.Files.PutPart(ctx, body)
	if err != nil {
		return "", b.explain(err, object)
	}
	if part.Size != length {
		return "", gofakes3.ErrIncompleteBody
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	u.parts[number], u.used = part, time.Now()
	return `"` + part.MD5 + `"`, nil
}

// CompleteMultipartUpload implements gofakes3.MultipartBackend.
func (b *backend) CompleteMultipartUpload(ctx context.Context, bucket, object string, id gofakes3.UploadID, in *gofakes3.CompleteMultipartUploadRequest) (gofakes3.VersionID, string, error) {
	u, err := b.find(id)
	if err != nil {
		return "", "", err
	}
	parts, err := b.partsOf(u, in)
	if err != nil {
		return "", "", err
	}
	o := putOptions(u.meta)
	o.Decide = b.decide(ctx)
	stored, err := b.o.Files.Assemble(ctx, u.name(), parts, o)
	if err != nil {
		return "", "", b.explain(err, object)
	}
	b.end(id)
	return "", `"` + hex.EncodeToString(tagOf(&stored.Manifest.Summary)) + `"`, nil
}

// partsOf returns the parts that a client lists, in order.
func (b *backend) partsOf(u *upload, in *gofakes3.CompleteMultipartUploadRequest) (parts []*file.Manifest, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := 0
	for _, listed := range in.Parts {
		part := u.parts[listed.PartNumber]
		switch {
		case listed.PartNumber <= last:
			return nil, gofakes3.ErrInvalidPartOrder
		case part == nil || strings.Trim(listed.ETag, `"`) != part.MD5:
			return nil, gofakes3.ErrInvalidPart
		}
		last = listed.PartNumber
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return nil, gofakes3.ErrMalformedXML
	}
	return parts, nil
}

func (b *backend) end(id gofakes3.UploadID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.uploads, id)
}

// AbortMultipartUpload implements gofakes3.MultipartBackend.
func (b *backend) AbortMultipartUpload(_ context.Context, _, _ string, id gofakes3.UploadID) error {
	b.end(id)
	return nil
}

// keepUploads keeps the chunks of unfinished uploads from collection, and ends uploads that were left.
func (b *backend) keepUploads(ctx context.Context) {
	idle, open := b.sortUploads(time.Now().Add(-uploadsIdle))
	for id, u := range idle {
		b.end(id)
		if err := b.forget(u.owner, u.bucket, u.object, id); err != nil {
			b.o.Logger.Debug("an unfinished upload was forgotten already", "object", u.name(), "error", err)
		}
	}
	for _, part := range open {
		if err := b.o.Files.KeepPart(ctx, part); err != nil {
			b.o.Logger.Warn("the parts of an unfinished upload could not be kept", "error", err)
			return
		}
	}
}

// sortUploads returns the uploads without use since a time, and the parts of the rest.
func (b *backend) sortUploads(since time.Time) (idle map[gofakes3.UploadID]*upload, open []*file.Manifest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	idle = map[gofakes3.UploadID]*upload{}
	for id, u := range b.uploads {
		if u.used.Before(since) {
			idle[id] = u
			continue
		}
		for _, part := range u.parts {
			open = append(open, part)
		}
	}
	return idle, open
}
