package sqlengine

import (
	"context"
	"fmt"
	"strings"

	"github.com/runnelkv/runnel/store/partition"
)

// Commit implements partition.Master.
func (s *Engine) Commit(ctx context.Context, b partition.Batch) (partition.Claim, error) {
	ctx, done, err := s.begin(ctx, "commit")
	if err != nil {
		return partition.Claim{}, err
	}
	defer done()
	if b, err = s.normalize(b); err != nil {
		return partition.Claim{}, s.wrap("commit", err)
	}
	var undecided *error // an error of Decide is returned unchanged
	if b.Decide != nil {
		b.Decide, undecided = s.checkDecide(b.Decide)
	}
	for attempt := 1; ; attempt++ {
		claim, err := s.dialect.Commit(ctx, Batch{b, s.schema.Load().HasGuards()})
		switch {
		case err == nil:
			return claim, nil
		case undecided != nil && *undecided != nil:
			return partition.Claim{}, *undecided
		case !s.shouldRetry(ctx, attempt, err):
			return partition.Claim{}, s.wrap("commit", err)
		}
	}
}

// checkDecide adds a check of sizes to decide. failed is the last error of decide itself.
func (s *Engine) checkDecide(decide func(partition.Claim) ([]partition.Entry, error)) (checked func(partition.Claim) ([]partition.Entry, error), failed *error) {
	failed = new(error)
	return func(c partition.Claim) (entries []partition.Entry, err error) {
		if entries, *failed = decide(c); *failed != nil {
			return nil, *failed
		}
		return entries, s.checkSizes(entries)
	}, failed
}

// normalize refuses a batch that cannot succeed, before the database is asked.
func (s *Engine) normalize(b partition.Batch) (partition.Batch, error) {
	if err := s.checkWritable(); err != nil {
		return b, err
	}
	if s.durable {
		if warnings := s.Warnings(); len(warnings) > 0 {
			return b, fmt.Errorf("%w: require_durable is set, and %s", partition.ErrRefused, strings.Join(warnings, "; "))
		}
	}
	b, err := b.Normalize(s.name, *s.schema.Load())
	if err == nil {
		err = s.checkSizes(b.Write)
	}
	return b, err
}
