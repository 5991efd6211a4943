package catchup

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
)

// Secure makes voters catch up with a write until a majority of them holds the write and everything that the master wrote
// before, and returns nil then; see Store.Secure.
func (c *Copier) Secure(ctx context.Context, o partition.Origin, upTo partition.Revision, voters []string) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel() // the copying goes on, for other writes that wait for the same partitions
	outcomes := make(chan error, len(voters))
	for _, name := range voters {
		go func() { outcomes <- c.secureOn(ctx, name, o, upTo) }()
	}
	need := len(voters)/2 + 1
	var errs []error
	for held := 0; held < need; {
		if err := <-outcomes; err == nil {
			held++
		} else if errs = append(errs, err); len(errs) > len(voters)-need {
			return fmt.Errorf("%d of %d voters have to hold revision %d of %s: %w", need, len(voters), upTo, o, errors.Join(errs...))
		}
	}
	return nil
}

// secureOn returns nil once a voter holds the write by position, and after that still follows the master in the epoch of the
// write: a voter that has accepted a later map may have done so before the write reached it.
func (c *Copier) secureOn(ctx context.Context, voter string, o partition.Origin, upTo partition.Revision) error {
	if voter == string(o) {
		return nil // it has committed the write in that epoch
	}
	b := c.backends.Named(voter)
	if b == nil {
		return fmt.Errorf("%s: %w", voter, backend.ErrUnknownPartition)
	}
	if !b.IsReadable() {
		return b.Unavailable(nil)
	}
	if err := c.reach(ctx, b, o, upTo); err != nil {
		return err
	}
	row, err := b.ConfirmedMap(ctx)
	if err == nil && (row.EpochOf(string(o)) != upTo.Epoch() || !slices.Contains(row.Masters, string(o))) {
		err = fmt.Errorf("%w: %s follows %s in epoch %d, not %d", partition.ErrStaleEpoch, voter, o, row.EpochOf(string(o)), upTo.Epoch())
	}
	return err
}
