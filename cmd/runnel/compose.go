package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysql"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/store/partition/sqlite"
)

// configFlags name the configuration a server command runs with.
type configFlags struct {
	file string // --config
	data string // --data
}

// define gives a command the flags.
func (f *configFlags) define(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.file, "config", "c", "", "the configuration `FILE` (default: embedded partitions in --data)")
	cmd.Flags().StringVar(&f.data, "data", "data", "the `DIR` of the embedded partitions, when there is no --config")
	cmd.MarkFlagsMutuallyExclusive("config", "data")
}

// load reads the configuration, or makes the embedded default. A faulty one
// is a usage error that says every problem.
func (f configFlags) load() (*config.Config, error) {
	if f.file == "" {
		return config.Default(f.data), nil
	}
	c, err := config.Load(f.file, os.LookupEnv)
	if err != nil {
		return nil, &console.ExitError{Code: console.ExitUsage, Err: err}
	}
	return c, nil
}

// checkData refuses a --data where there is no store: only 'runnel serve' makes one.
func (f configFlags) checkData(c *config.Config) error {
	if f.file != "" {
		return nil
	}
	for _, section := range c.Partitions {
		if _, err := os.Stat(section.URL.Path); err == nil {
			return nil
		}
	}
	return console.UsageError("there is no store in %s; 'runnel serve --data %s' makes one", f.data, f.data)
}

// prepareData makes the directory of the embedded partitions, and shows that files can be kept there.
func (f configFlags) prepareData() error {
	if f.file != "" {
		return nil
	}
	err := os.MkdirAll(f.data, 0o700)
	if err == nil {
		var probe *os.File
		if probe, err = os.CreateTemp(f.data, ".probe*"); err == nil {
			err = errors.Join(probe.Close(), os.Remove(probe.Name()))
		}
	}
	if err != nil {
		return fmt.Errorf("--data cannot keep a store: %w", err)
	}
	return nil
}

// newLogger writes log lines to w as the configuration asks.
func newLogger(w io.Writer, c config.Log) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.Format == config.FormatJSON {
		return slog.New(slog.NewJSONHandler(console.VisibleWriter{W: w}, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// openStore makes the store of a configuration. It connects to nothing yet.
// Of more, only Init, OnCommit and OnReach are used.
func openStore(c *config.Config, log *slog.Logger, more store.Options) (*store.Store, error) {
	parts, err := openPartitions(c, c.Partitions, log)
	if err != nil {
		return nil, err
	}
	s, err := store.Open(store.Options{
		Partitions:    parts,
		Masters:       c.Store.Masters,
		MaxKeyBytes:   int(c.Store.MaxKeyBytes),
		MaxValueBytes: int64(c.Store.MaxValueBytes),
		BatchEntries:  c.Store.CommitBatchEntries,
		BatchBytes:    int64(c.Store.CommitBatchBytes),
		CacheBytes:    int64(c.Store.CacheBytes),
		Read:          store.ReadChoice(c.Store.Read),
		Local:         c.Store.Local,
		SessionWait:   sessionWait(c.Store.SessionWait),
		Timeout:       c.Store.Timeout,
		Init:          more.Init,
		Logger:        log,
		OnCommit:      more.OnCommit,
		OnReach:       more.OnReach,
	})
	if err != nil {
		return nil, errors.Join(err, closeAll(parts))
	}
	return s, nil
}

// sessionWait is the configured time, of which 0 means none.
func sessionWait(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

func openPartitions(c *config.Config, sections []config.Partition, log *slog.Logger) ([]partition.Partition, error) {
	var parts []partition.Partition
	for _, section := range sections {
		p, err := openPartition(c, section, log)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("partition %s: %w", section.Name, err), closeAll(parts))
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func openPartition(c *config.Config, section config.Partition, log *slog.Logger) (partition.Partition, error) {
	o := sqlengine.Options{
		Name:        section.Name,
		TablePrefix: c.Store.TablePrefix,
		MaxConns:    section.MaxConnections,
		Timeout:     c.Store.Timeout,
		Logger:      log,

		RequireDurable: c.Store.RequireDurable,
	}
	u := section.URL
	if u.Scheme == config.SQLite {
		return sqlite.Open(u.Path, o)
	}
	m := mysql.Config{Addr: u.Addr(), User: u.User, Password: u.Password.Reveal(), Database: u.Database, Params: u.Params}
	if file := section.PasswordFile; file != "" {
		m.NewPassword = func() (string, error) {
			password, err := config.ReadPassword(file)
			return password.Reveal(), err
		}
	}
	return mysql.Open(m, o)
}

func closeAll(parts []partition.Partition) error {
	var errs []error
	for _, p := range parts {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
