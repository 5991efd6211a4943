package file

import (
	"context"

	"github.com/runnelkv/runnel/store"
)

// List reads a page of the names of files. Of the options, Space and Values are ignored.
func (f *Service) List(ctx context.Context, o store.ListOptions) (store.Page, error) {
	o.Space, o.Values = store.Files, false
	return f.store.List(ctx, o)
}

// Delete deletes a file; its chunks are collected later. decide is as PutOptions.Decide.
// store.ErrNotFound: there is no such file.
func (f *Service) Delete(ctx context.Context, name string, decide func(tx *store.Tx, current *store.Entry, exists bool) error) (tombstone store.Entry, err error) {
	key := Key(name)
	err = f.store.Update(ctx, []store.Key{key}, store.UpdateOptions{WithoutValues: true}, func(tx *store.Tx) error {
		current, exists := tx.Get(key)
		if decide != nil {
			if err := decide(tx, &current, exists); err != nil {
				return err
			}
		}
		if !exists {
			return store.ErrNotFound
		}
		tombstone, _ = tx.Delete(key)
		return nil
	})
	return tombstone, err
}

// Copy stores a file under another name without moving its content. Of the options, Verify and MD5
// are ignored; ContentType "" and Meta nil keep those of the file.
func (f *Service) Copy(ctx context.Context, from *File, name string, o PutOptions) (*Stored, error) {
	copies, err := f.copies(o.Copies)
	if err != nil {
		return nil, err
	}
	m := *from.Manifest
	m.Copies = copies
	if o.Meta != nil {
		m.Meta = o.Meta
	}
	if o.ContentType == "" {
		o.ContentType = from.Read.Entry.ContentType
	}
	if err := f.keepChunks(ctx, &m, copies); err != nil {
		return nil, err
	}
	return f.publish(ctx, name, &m, copies, o)
}
