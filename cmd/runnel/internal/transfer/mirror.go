package transfer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/api/client"
)

// mirror deletes the keys under the prefix that have no file.
type mirror struct {
	*importer
	keep map[string]bool // the keys that have a file

	deleted, changed atomic.Int64
}

// deleteCandidate is a key to delete, unless it has changed since the list.
type deleteCandidate struct{ key, etag string }

// deleteRest lists the keys, asks unless o.Yes, and deletes each key that has not changed since the list.
func (m *mirror) deleteRest(ctx context.Context) error {
	candidates, err := m.listCandidates(ctx)
	if err != nil {
		return fmt.Errorf("list the keys to delete: %w", err)
	}
	if m.o.DryRun {
		for _, d := range candidates {
			fmt.Fprintf(m.Out, "delete %s\n", m.Name(d.key))
		}
		return nil
	}
	if len(candidates) == 0 {
		return nil
	}
	var keys []string
	for _, d := range candidates {
		keys = append(keys, d.key)
	}
	if !m.o.Yes && !m.ConfirmKeys(keys, fmt.Sprintf("delete these %d keys, which have no file?", len(keys))) {
		return fmt.Errorf("%d keys without a file were kept", len(keys))
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(m.o.Parallel)
	for _, d := range candidates {
		g.Go(func() error { return m.deleteUnchanged(gctx, d) })
	}
	err = g.Wait()
	fmt.Fprintf(m.Err, "deleted %d keys that have no file\n", m.deleted.Load())
	if n := m.changed.Load(); n > 0 {
		fmt.Fprintf(m.Err, "kept %d keys that changed meanwhile\n", n)
	}
	return err
}

func (m *mirror) listCandidates(ctx context.Context) ([]deleteCandidate, error) {
	var keys []deleteCandidate
	for k, err := range m.c.List(ctx, client.ListOptions{Prefix: m.o.Prefix, Read: client.ReadOptions{Consistency: client.Master}}) {
		if err != nil {
			return nil, err
		}
		if m.keep[k.Key] {
			continue
		}
		e, err := k.Entry()
		if err != nil {
			return nil, err
		}
		if e.ETag == "" {
			return nil, fmt.Errorf("key %q is listed without an ETag", k.Key)
		}
		keys = append(keys, deleteCandidate{k.Key, e.ETag})
	}
	return keys, nil
}

func (m *mirror) deleteUnchanged(ctx context.Context, d deleteCandidate) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err := m.c.Delete(ctx, d.key, client.Conditions{IfMatch: d.etag})
	switch {
	case errors.Is(err, client.ErrPreconditionFailed):
		m.changed.Add(1)
	case errors.Is(err, client.ErrNotFound):
		// deleted already
	case err != nil:
		return fmt.Errorf("delete %q: %w", d.key, err)
	default:
		m.deleted.Add(1)
	}
	return nil
}
