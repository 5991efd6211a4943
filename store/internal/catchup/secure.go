package catchup

import (
	"context"
	"errors"
	"fmt"

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

// secureOn returns nil once a voter holds everything of an origin up to a revision, by position. A voter that has accepted a
// map by which these writes do not count takes no copies of them (see partition.Copy.Epoch), and a voter that holds them
// refuses such a map.
func (c *Copier) secureOn(ctx context.Context, voter string, o partition.Origin, upTo partition.Revision) error {
	if voter == string(o) {
		return nil // it has committed the write
	}
	b := c.backends.Named(voter)
	if b == nil {
		return fmt.Errorf("%s: %w", voter, backend.ErrUnknownPartition)
	}
	if !b.IsReadable() {
		return b.Unavailable(nil)
	}
	return c.reach(ctx, b, o, upTo)
}
