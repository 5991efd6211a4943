package s3

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/rclone/gofakes3"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/store/partition"
)

// backend stores the objects of the library as files.
type backend struct {
	o      Options
	forget func(ctx context.Context, bucket, object string, id gofakes3.UploadID) error

	mu      sync.Mutex // guards uploads and their fields
	uploads map[gofakes3.UploadID]*upload
}

var (
	_ gofakes3.Backend          = (*backend)(nil)
	_ gofakes3.MultipartBackend = (*backend)(nil)
)

// explain turns errors into those of the library.
func (b *backend) explain(err error, object string) error {
	var known gofakes3.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.Is(err, store.ErrNotFound):
		return gofakes3.KeyNotFound(object)
	case errors.Is(err, context.Canceled):
		return err
	}
	if name, ok := errors.AsType[*store.KeyError](err); ok {
		return gofakes3.ErrorMessage(gofakes3.ErrInvalidArgument, "The name "+name.Reason+".")
	}
	for _, away := range []error{file.ErrNoCopy, file.ErrTooFewPartitions, file.ErrTooSlow, store.ErrMasterUnavailable, store.ErrNoPartition, store.ErrOutcomeUnknown,
		store.ErrClosed, partition.ErrUnavailable, context.DeadlineExceeded} {
		if errors.Is(err, away) {
			b.o.Logger.Debug("an S3 request cannot be served now", "object", object, "error", err)
			return gofakes3.ErrorMessage(gofakes3.ErrSlowDown, "Too few partitions answer now. Send the request again.")
		}
	}
	b.o.Logger.Error("an S3 request failed", "object", object, "error", err)
	return gofakes3.ErrInternal
}

// isUnavailable reports whether a read of the master may be tried on a replica.
func isUnavailable(err error) bool {
	return errors.Is(err, store.ErrMasterUnavailable) || errors.Is(err, store.ErrNoPartition)
}

// open reads the manifest of an object: the latest, or while the master is away that of a replica. An object that the sender
// of the request may not read is store.ErrNotFound, whether the object exists or not: the door has judged the names of the
// path and of X-Amz-Copy-Source, and the library reads further names in bodies.
func (b *backend) open(ctx context.Context, t target) (*file.File, error) {
	if g := senderOf(ctx).grants; g != nil && !g.CanRead(t.name()) {
		return nil, store.ErrNotFound
	}
	f, _, err := b.o.Files.Open(ctx, t.name(), store.ReadOptions{Consistency: store.FromMaster})
	if isUnavailable(err) {
		f, _, err = b.o.Files.Open(ctx, t.name(), store.ReadOptions{})
	}
	return f, err
}

// list reads a page of files, as open does.
func (b *backend) list(ctx context.Context, o store.ListOptions) (store.Page, error) {
	o.Consistency = store.FromMaster
	page, err := b.o.Files.List(ctx, o)
	if isUnavailable(err) {
		o.Consistency = store.Any
		page, err = b.o.Files.List(ctx, o)
	}
	return page, err
}

// ListBucket implements gofakes3.Backend.
func (b *backend) ListBucket(ctx context.Context, bucket string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList, error) {
	if err := b.requireBucket(ctx, bucket); err != nil {
		return nil, err
	}
	o := store.ListOptions{Prefix: bucket + "/", Limit: int(min(max(page.MaxKeys, 1), store.MaxLimit))}
	if prefix != nil && prefix.HasPrefix {
		o.Prefix += prefix.Prefix
	}
	if prefix != nil && prefix.HasDelimiter {
		o.Delimiter = prefix.Delimiter
	}
	if page.HasMarker {
		o.After = bucket + "/" + page.Marker
	}
	found, err := b.list(ctx, o)
	if err != nil {
		return nil, b.explain(err, bucket)
	}
	objects := gofakes3.NewObjectList()
	for i := range found.Entries {
		e := &found.Entries[i]
		summary, err := file.SummaryOf(e)
		if err != nil {
			return nil, b.explain(err, string(e.Key))
		}
		objects.Add(&gofakes3.Content{Key: strings.TrimPrefix(store.Name(e.Key), bucket+"/"), LastModified: gofakes3.NewContentTime(e.ModifiedAt.Time()),
			ETag: `"` + hex.EncodeToString(tagOf(&summary)) + `"`, Size: summary.Size, StorageClass: gofakes3.StorageStandard})
	}
	for _, p := range found.Prefixes {
		objects.AddPrefix(strings.TrimPrefix(p, bucket+"/"))
	}
	if found.Next != "" {
		objects.IsTruncated, objects.NextMarker = true, strings.TrimPrefix(found.Next, bucket+"/")
	}
	return objects, nil
}

// tagOf is the entity tag of an object: its MD5, which clients compare, or else its SHA-256.
func tagOf(s *file.Summary) []byte {
	text := s.MD5
	if text == "" {
		text = s.SHA256
	}
	sum, err := hex.DecodeString(text)
	if err != nil {
		return nil
	}
	return sum
}

// objectOf describes a file to the library.
func objectOf(t target, f *file.File) *gofakes3.Object {
	o := &gofakes3.Object{Name: t.object, Size: f.Size, Hash: tagOf(&f.Summary), Contents: http.NoBody, Metadata: map[string]string{
		"Last-Modified": f.Read.Entry.ModifiedAt.Time().Format(http.TimeFormat), "Content-Type": f.Read.Entry.ContentType}}
	for name, text := range f.Meta {
		if field, own := strings.CutPrefix(name, fieldPrefix); own {
			o.Metadata[http.CanonicalHeaderKey(field)] = text
		} else {
			o.Metadata[http.CanonicalHeaderKey("X-Amz-Meta-"+name)] = text
		}
	}
	return o
}

// fieldPrefix begins the names of header fields among the metadata of a file; the rest is metadata of the user.
const fieldPrefix = "s3-"

// putOptions splits the metadata that the library gives.
func putOptions(meta map[string]string) file.PutOptions {
	o := file.PutOptions{ContentType: "binary/octet-stream", MD5: true, Meta: map[string]string{}}
	for name, text := range meta {
		switch lower := strings.ToLower(name); {
		case lower == "content-type" && text != "":
			o.ContentType = text
		case lower == "last-modified", lower == "content-type":
		case strings.HasPrefix(lower, "x-amz-meta-"):
			o.Meta[strings.TrimPrefix(lower, "x-amz-meta-")] = text
		default:
			o.Meta[fieldPrefix+lower] = text
		}
	}
	return o
}

// HeadObject implements gofakes3.Backend.
func (b *backend) HeadObject(ctx context.Context, bucket, object string) (*gofakes3.Object, error) {
	t := target{bucket, object}
	f, err := b.open(ctx, t)
	if err != nil {
		return nil, b.explain(err, object)
	}
	return objectOf(t, f), nil
}

// GetObject implements gofakes3.Backend.
func (b *backend) GetObject(ctx context.Context, bucket, object string, asked *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	t := target{bucket, object}
	f, err := b.open(ctx, t)
	if err != nil {
		return nil, b.explain(err, object)
	}
	o := objectOf(t, f)
	if o.Range, err = asked.Range(f.Size); err != nil {
		return nil, err
	}
	first, n := int64(0), f.Size
	if o.Range != nil {
		first, n = o.Range.Start, o.Range.Length
	}
	if o.Contents, err = content(ctx, f, first, n); err != nil {
		return nil, b.explain(err, object)
	}
	return o, nil
}

// content returns a reader of a range, once the first chunk was read.
func content(ctx context.Context, f *file.File, first, n int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	reader, writer := io.Pipe()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		err := f.WriteRange(ctx, writer, first, n, func() { close(ready) })
		writer.CloseWithError(err) // nil is io.EOF
		ended <- err
	}()
	select {
	case <-ready:
		return &contentReader{reader, cancel, ended}, nil
	case err := <-ended: // before the first byte
		cancel()
		if err == nil {
			return http.NoBody, nil
		}
		return nil, err
	}
}

// contentReader ends the work of its goroutine when it is closed.
type contentReader struct {
	*io.PipeReader
	cancel context.CancelFunc
	ended  chan error
}

// Close implements io.Closer.
func (c *contentReader) Close() error {
	c.cancel()
	err := c.PipeReader.Close()
	<-c.ended
	return err
}

// PutObject implements gofakes3.Backend.
func (b *backend) PutObject(ctx context.Context, bucket, object string, meta map[string]string, body io.Reader, size int64) (gofakes3.PutObjectResult, error) {
	if err := b.requireBucket(ctx, bucket); err != nil {
		return gofakes3.PutObjectResult{}, err
	}
	t := target{bucket, object}
	if err := b.checkName(t); err != nil {
		return gofakes3.PutObjectResult{}, err
	}
	o := putOptions(meta)
	o.Verify = func(s file.Summary) error {
		if size >= 0 && s.Size != size {
			return gofakes3.ErrIncompleteBody
		}
		return nil
	}
	o.Decide = b.decide(ctx)
	_, err := b.o.Files.Put(ctx, t.name(), body, o)
	return gofakes3.PutObjectResult{}, b.explain(err, object)
}

// decide decides the conditions of a write inside its Update.
func (b *backend) decide(ctx context.Context) func(*store.Tx, *store.Entry, bool) error {
	return func(_ *store.Tx, current *store.Entry, exists bool) error {
		tag := ""
		if exists {
			if summary, err := file.SummaryOf(current); err == nil {
				tag = hex.EncodeToString(tagOf(&summary))
			}
		}
		return gofakes3.CheckWriteConditions(ctx, exists, tag)
	}
}

// checkName refuses names that files cannot have.
func (b *backend) checkName(t target) error {
	if strings.HasSuffix(t.object, "/") {
		return gofakes3.ErrorMessage(gofakes3.ErrInvalidArgument, "The name of an object does not end in a slash: directories need no object.")
	}
	return b.explain(store.CheckName(t.name(), store.MaxKeyBytes), t.object)
}

// DeleteObject implements gofakes3.Backend. To delete an absent object is no error.
func (b *backend) DeleteObject(ctx context.Context, bucket, object string) (gofakes3.ObjectDeleteResult, error) {
	if err := b.requireBucket(ctx, bucket); err != nil {
		return gofakes3.ObjectDeleteResult{}, err
	}
	_, err := b.o.Files.Delete(ctx, target{bucket, object}.name(), nil)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return gofakes3.ObjectDeleteResult{}, b.explain(err, object)
}

// DeleteMulti implements gofakes3.Backend. Each name is judged by itself.
func (b *backend) DeleteMulti(ctx context.Context, bucket string, objects ...string) (gofakes3.MultiDeleteResult, error) {
	var result gofakes3.MultiDeleteResult
	for _, object := range objects {
		if failed := b.deleteOne(ctx, target{bucket, object}); failed != nil {
			result.Error = append(result.Error, gofakes3.ErrorResult{Key: object, Code: gofakes3.ErrorCode(failed.code), Message: failed.message})
			continue
		}
		result.Deleted = append(result.Deleted, gofakes3.ObjectID{Key: object})
	}
	return result, nil
}

// deleteOne deletes an object among others, if the sender may, and records the deletion.
func (b *backend) deleteOne(ctx context.Context, t target) *failure {
	who := senderOf(ctx)
	if !who.grants.CanWrite(t.name()) {
		who.audit(t, http.StatusForbidden)
		return denied
	}
	if failed := who.audit(t, 0); failed != nil {
		return failed
	}
	if _, err := b.DeleteObject(ctx, t.bucket, t.object); err != nil {
		failed := &failure{http.StatusInternalServerError, string(gofakes3.ErrInternal), "The object could not be deleted."}
		if known, ok := errors.AsType[gofakes3.Error](err); ok {
			failed = &failure{known.ErrorCode().Status(), string(known.ErrorCode()), known.Error()}
		}
		who.audit(t, failed.status)
		return failed
	}
	who.audit(t, http.StatusNoContent)
	return nil
}

// CopyObject implements gofakes3.Backend.
func (b *backend) CopyObject(ctx context.Context, srcBucket, srcKey, dstBucket, dstKey string, meta map[string]string) (gofakes3.CopyObjectResult, error) {
	if err := b.requireBucket(ctx, dstBucket); err != nil {
		return gofakes3.CopyObjectResult{}, err
	}
	to := target{dstBucket, dstKey}
	if err := b.checkName(to); err != nil {
		return gofakes3.CopyObjectResult{}, err
	}
	f, err := b.open(ctx, target{srcBucket, srcKey})
	if err != nil {
		return gofakes3.CopyObjectResult{}, b.explain(err, srcKey)
	}
	o := putOptions(meta)
	o.Decide = b.decide(ctx)
	stored, err := b.o.Files.Copy(ctx, f, to.name(), o)
	if err != nil {
		return gofakes3.CopyObjectResult{}, b.explain(err, dstKey)
	}
	return gofakes3.CopyObjectResult{ETag: `"` + hex.EncodeToString(tagOf(&stored.Manifest.Summary)) + `"`, LastModified: gofakes3.NewContentTime(stored.Entry.ModifiedAt.Time())}, nil
}
