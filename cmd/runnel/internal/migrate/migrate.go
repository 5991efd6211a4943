package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// known is the schema version of this binary.
const known = partition.SchemaVersion

// Plan writes the state of each partition's tables and the missing steps to out. An error names the partitions that
// cannot be read.
func Plan(ctx context.Context, out io.Writer, parts []partition.Partition) error {
	fmt.Fprintf(out, "this binary is of schema %d and works on %d and %d\n", known, known-1, known)
	return each(parts, func(p partition.Partition) error {
		schema, err := read(ctx, p)
		if err != nil {
			return err
		}
		steps, err := p.Steps(schema.Version)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %s\n", p.Name(), describe(schema))
		for _, step := range steps {
			fmt.Fprintf(out, "  --run makes step %d, %s\n", step.Version, step.Name)
			for line := range strings.Lines(step.SQL) {
				fmt.Fprintf(out, "    %s\n", strings.TrimRight(line, "\n"))
			}
		}
		if len(steps) > 0 && schema.Version > 0 {
			fmt.Fprintf(out, "  processes of schema %d continue during --run and afterwards\n", max(schema.OldestReader, known-1))
		}
		if schema.OldestReader < known {
			fmt.Fprintf(out, "  --finish shuts out processes before schema %d\n", known)
		}
		return nil
	})
}

// Run runs the missing steps of each partition, writes each step to progress when it begins, and the results to out. A
// partition that fails does not stop the rest, and Run may be repeated.
func Run(ctx context.Context, out, progress io.Writer, parts []partition.Partition) error {
	err := each(parts, func(p partition.Partition) error {
		if ctx.Err() != nil {
			return nil
		}
		began, steps := time.Now(), 0
		err := p.Migrate(ctx, func(step partition.Step) {
			steps++
			fmt.Fprintf(progress, "%s: step %d, %s\n", p.Name(), step.Version, step.Name)
		})
		if err != nil {
			return explain(err)
		}
		schema, err := read(ctx, p)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %s; %d steps, %v\n", p.Name(), describe(schema), steps, time.Since(began).Round(time.Millisecond))
		return nil
	})
	if ctx.Err() != nil {
		return errors.New("interrupted; repeat the command to continue")
	}
	return err
}

// Finish shuts out the binaries before this one, and writes the results to out. If a partition cannot be reached, or
// has not been migrated, nothing changes anywhere.
func Finish(ctx context.Context, out io.Writer, parts []partition.Partition) error {
	err := each(parts, func(p partition.Partition) error {
		schema, err := read(ctx, p)
		if err == nil {
			err = schema.CheckFinish()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("nothing was changed, because every partition must be migrated first ('runnel migrate --run'):\n%w", err)
	}
	return each(parts, func(p partition.Partition) error {
		if err := p.Finish(ctx); err != nil {
			return err
		}
		schema, err := read(ctx, p)
		if err == nil {
			fmt.Fprintf(out, "%s: %s\n", p.Name(), describe(schema))
		}
		return err
	})
}

// each calls f for all partitions, and joins the errors.
func each(parts []partition.Partition, f func(partition.Partition) error) error {
	var errs []error
	for _, p := range parts {
		if err := f(p); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.Name(), err))
		}
	}
	return errors.Join(errs...)
}

func read(ctx context.Context, p partition.Partition) (partition.Schema, error) {
	schema, err := p.Schema(ctx)
	return schema, explain(err)
}

// explain adds to an error about a missing database that a start creates databases.
func explain(err error) error {
	if errors.Is(err, partition.ErrNotPrepared) {
		return fmt.Errorf("there is no database yet, and the first start creates one: %w", err)
	}
	return err
}

func describe(s partition.Schema) string {
	switch {
	case s.Version == 0:
		return "no tables yet, and the first start creates them"
	case s.OldestWriter > s.OldestReader:
		return fmt.Sprintf("schema %d, for binaries of schema %d and later (to write: %d)", s.Version, s.OldestReader, s.OldestWriter)
	}
	return fmt.Sprintf("schema %d, for binaries of schema %d and later", s.Version, s.OldestReader)
}
