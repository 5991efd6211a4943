package s3

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/rclone/gofakes3"

	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
	"github.com/runnelkv/runnel/store/file"
)

// Options configures a Door. Files and Store are required.
type Options struct {
	Files  *file.Service
	Store  Store
	Keys   Keys   // nil: every request may do everything
	Secret []byte // of the cluster, at least MinSecretBytes; required with Keys
	Domain string // BUCKET.Domain names a bucket in the header Host; "": buckets stand in the path alone
	Logger *slog.Logger
	Audit  *audit.Log // nil: none
	// AuditRequired refuses requests with 503 while the audit log cannot be written.
	AuditRequired bool
	Checks        Checks
	Budget        *budget.Budget // of the memory of all requests
	Body          time.Duration  // for a client to send the next 64 KiB
	Write         time.Duration  // for a client to take the next piece of an answer
}

// Store is the part of the store that buckets use.
type Store interface {
	List(ctx context.Context, o store.ListOptions) (store.Page, error)
	Get(ctx context.Context, key store.Key, o store.ReadOptions) (store.Read, error)
	Update(ctx context.Context, keys []store.Key, o store.UpdateOptions, fn func(*store.Tx) error) error
}

// Keys finds the holder of an API key. *access.Registry implements Keys.
type Keys interface {
	// ByID returns the holder of a key for a request that has proved to come from the holder. While there is no key, that is the
	// sender of every request, with any id.
	ByID(id string) (*access.Identity, error)
	// Authenticate returns the grants of requests without a key, for the token "".
	Authenticate(token string) (*access.Identity, error)
}

// Door is the http.Handler of the protocol.
type Door struct {
	o       Options
	backend *backend
	library http.Handler
}

// New returns a Door. Run it while it serves.
func New(o Options) *Door {
	o.Checks = o.Checks.withDefaults()
	b := &backend{o: o, uploads: make(map[gofakes3.UploadID]*upload)}
	library := gofakes3.New(b, gofakes3.WithUnimplementedPageError(), gofakes3.WithTimeSkewLimit(0), gofakes3.WithUploadOwner(ownerOf))
	b.forget = library.ForgetMultipartUpload
	return &Door{o: o, backend: b, library: library.Server()}
}

// Run keeps the parts of unfinished uploads, and ends uploads that were left, until ctx ends.
func (d *Door) Run(ctx context.Context) error {
	tick := time.NewTicker(max(d.o.Files.Grace()/8, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			d.backend.keepUploads(ctx)
		}
	}
}

// senderKey is the context key of the sender of a request.
type senderKey struct{}

// sender is the holder of the API key of a request, and the id of the request.
type sender struct {
	id      string // "" without a key
	name    string
	grants  *access.Grants
	request string                              // the id of the request
	audit   func(t target, status int) *failure // records an object that a request deletes among others
}

func senderOf(ctx context.Context) sender {
	s, _ := ctx.Value(senderKey{}).(sender)
	return s
}

// ownerOf separates the unfinished uploads of different keys.
func ownerOf(ctx context.Context) string { return senderOf(ctx).id }

// target is the bucket and the object of a request.
type target struct{ bucket, object string }

// name is the name of the file.
func (t target) name() string { return t.bucket + "/" + t.object }

// targetOf splits the path of a request, as the library does.
func targetOf(r *http.Request) target {
	bucket, object, _ := strings.Cut(strings.TrimLeft(r.URL.Path, "/"), "/")
	return target{bucket, object}
}

// withBucketInPath moves a bucket from the header Host to the path.
func (d *Door) withBucketInPath(r *http.Request) *http.Request {
	if d.o.Domain == "" {
		return r
	}
	host, _, _ := strings.Cut(strings.ToLower(r.Host), ":")
	bucket, found := strings.CutSuffix(host, "."+strings.ToLower(d.o.Domain))
	if !found || bucket == "" {
		return r
	}
	moved := r.Clone(r.Context())
	moved.URL.Path, moved.URL.RawPath = "/"+bucket+r.URL.Path, ""
	return moved
}
