package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/api/client"
)

// mirror deletes the keys under a prefix that are not to be kept.
type mirror struct {
	p        *program
	c        *client.Client
	prefix   string
	keep     map[string]bool
	parallel int
	dryRun   bool

	deleted, changed atomic.Int64
}

// doomed is a key that is to go, if it still is what was listed.
type doomed struct{ key, etag string }

// run finds the keys, asks unless yes, and deletes each of them unless it was changed after it was listed.
func (m *mirror) run(ctx context.Context, yes bool) error {
	keys, err := m.find(ctx)
	if err != nil {
		return fmt.Errorf("list the keys to delete: %w", err)
	}
	if len(keys) == 0 {
		return nil
	}
	if m.dryRun {
		for _, d := range keys {
			fmt.Fprintf(m.p.shown(), "delete %s\n", d.key)
		}
		return nil
	}
	if !yes && !m.confirmed(keys) {
		return fmt.Errorf("%d keys without a file were kept", len(keys))
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(m.parallel)
	for _, d := range keys {
		g.Go(func() error { return m.drop(gctx, d) })
	}
	err = g.Wait()
	fmt.Fprintf(m.p.stderr, "deleted %d keys that have no file\n", m.deleted.Load())
	if n := m.changed.Load(); n > 0 {
		fmt.Fprintf(m.p.stderr, "kept %d keys that were changed meanwhile\n", n)
	}
	return err
}

func (m *mirror) find(ctx context.Context) ([]doomed, error) {
	var keys []doomed
	for k, err := range m.c.List(ctx, client.ListOptions{Prefix: m.prefix, Read: client.ReadOptions{Consistency: client.Master}}) {
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
		keys = append(keys, doomed{k.Key, e.ETag})
	}
	return keys, nil
}

// confirmed shows the keys, or the first of them, and asks.
func (m *mirror) confirmed(keys []doomed) bool {
	const shown = 10
	for _, d := range keys[:min(shown, len(keys))] {
		fmt.Fprintf(m.p.stderr, "  %s\n", visible(d.key))
	}
	if len(keys) > shown {
		fmt.Fprintf(m.p.stderr, "  … and %d more\n", len(keys)-shown)
	}
	return m.p.agreed(fmt.Sprintf("delete these %d keys, which have no file?", len(keys)))
}

func (m *mirror) drop(ctx context.Context, d doomed) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err := m.c.Delete(ctx, d.key, client.Conditions{IfMatch: d.etag})
	switch {
	case errors.Is(err, client.ErrPreconditionFailed):
		m.changed.Add(1)
	case errors.Is(err, client.ErrNotFound):
		// gone already
	case err != nil:
		return fmt.Errorf("delete %q: %w", d.key, err)
	default:
		m.deleted.Add(1)
	}
	return nil
}
