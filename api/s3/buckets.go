package s3

import (
	"context"
	"errors"
	"strings"

	"github.com/rclone/gofakes3"

	"github.com/runnelkv/runnel/store"
)

// bucketSpace holds an entry for each bucket that was created. A first segment of a file's name is a bucket without an
// entry, too.
const bucketSpace store.Space = "bucket"

// ListBuckets implements gofakes3.Backend. It lists at most store.MaxLimit buckets of each kind.
func (b *backend) ListBuckets(ctx context.Context) ([]gofakes3.BucketInfo, error) {
	created, err := b.o.Store.List(ctx, store.ListOptions{Space: bucketSpace, Limit: store.MaxLimit})
	if err != nil {
		return nil, b.explain(err, "")
	}
	var buckets []gofakes3.BucketInfo
	known := map[string]bool{}
	grants := senderOf(ctx).grants
	add := func(name string, at gofakes3.ContentTime) {
		if !known[name] && grants != nil && grants.CanReadAll(name+"/") {
			known[name] = true
			buckets = append(buckets, gofakes3.BucketInfo{Name: name, CreationDate: at})
		}
	}
	for _, e := range created.Entries {
		add(store.Name(e.Key), gofakes3.NewContentTime(e.ModifiedAt.Time()))
	}
	used, err := b.list(ctx, store.ListOptions{Delimiter: "/", Limit: store.MaxLimit})
	if err != nil {
		return nil, b.explain(err, "")
	}
	for _, prefix := range used.Prefixes {
		add(strings.TrimSuffix(prefix, "/"), gofakes3.NewContentTime(store.Instant(1).Time()))
	}
	return buckets, nil
}

// requireBucket returns ErrNoSuchBucket unless the bucket exists.
func (b *backend) requireBucket(ctx context.Context, name string) error {
	exists, err := b.BucketExists(ctx, name)
	if err == nil && !exists {
		err = gofakes3.BucketNotFound(name)
	}
	return err
}

// BucketExists implements gofakes3.Backend.
func (b *backend) BucketExists(ctx context.Context, name string) (bool, error) {
	o := store.ReadOptions{Consistency: store.FromMaster}
	_, err := b.o.Store.Get(ctx, bucketSpace.Key(name), o)
	if isUnavailable(err) {
		_, err = b.o.Store.Get(ctx, bucketSpace.Key(name), store.ReadOptions{})
	}
	if err == nil || !errors.Is(err, store.ErrNotFound) {
		return err == nil, b.explain(err, name)
	}
	used, err := b.hasObjects(ctx, name)
	return used, b.explain(err, name)
}

func (b *backend) hasObjects(ctx context.Context, bucket string) (bool, error) {
	page, err := b.list(ctx, store.ListOptions{Prefix: bucket + "/", Limit: 1})
	return len(page.Entries) > 0, err
}

// CreateBucket implements gofakes3.Backend.
func (b *backend) CreateBucket(ctx context.Context, name string) error {
	key := bucketSpace.Key(name)
	err := b.o.Store.Update(ctx, []store.Key{key}, store.UpdateOptions{}, func(tx *store.Tx) error {
		if _, exists := tx.Get(key); exists {
			return gofakes3.ResourceError(gofakes3.ErrBucketAlreadyExists, name)
		}
		tx.Put(store.Entry{Key: key, ContentType: "application/json", Value: []byte("{}")})
		return nil
	})
	return b.explain(err, name)
}

// DeleteBucket implements gofakes3.Backend.
func (b *backend) DeleteBucket(ctx context.Context, name string) error {
	if err := b.requireBucket(ctx, name); err != nil {
		return err
	}
	used, err := b.hasObjects(ctx, name)
	if err == nil && used {
		return gofakes3.ResourceError(gofakes3.ErrBucketNotEmpty, name)
	}
	key := bucketSpace.Key(name)
	if err == nil {
		err = b.o.Store.Update(ctx, []store.Key{key}, store.UpdateOptions{}, func(tx *store.Tx) error {
			tx.Delete(key)
			return nil
		})
	}
	return b.explain(err, name)
}
