package node

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysql"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/store/partition/sqlite"
)

// NewLogger returns a logger that writes to w as the configuration says. No line holds a hidden character.
func NewLogger(w io.Writer, c config.Log) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	w = console.NewGuard(w)
	if c.Format == config.FormatJSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// OpenStore opens the store of a configuration, and connects to nothing yet. Of more, only Init, Promotes,
// OnCommit and OnReach are used.
func OpenStore(c *config.Config, log *slog.Logger, more store.Options) (*store.Store, error) {
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
		Quotas:        quotas(c),
		Init:          more.Init,
		Promotes:      more.Promotes,
		Logger:        log,
		OnCommit:      more.OnCommit,
		OnReach:       more.OnReach,
	})
	if err != nil {
		return nil, errors.Join(err, closeAll(parts))
	}
	return s, nil
}

// quotas returns the quotas of a configuration.
func quotas(c *config.Config) []store.Quota {
	quotas := make([]store.Quota, len(c.Quotas))
	for i, q := range c.Quotas {
		quotas[i] = store.Quota{Prefix: q.Prefix, MaxKeys: int64(q.MaxKeys), MaxBytes: int64(q.MaxBytes)}
	}
	return quotas
}

// sessionWait returns the configured time. The store takes a negative time for 0, since its 0 is the default.
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
		MinFreeDisk:    int64(c.Store.MinFreeDisk),
	}
	if u := section.URL; u.Scheme == config.SQLite {
		return sqlite.Open(u.Path, o)
	}
	return mysql.Open(MySQLConfig(section), o)
}

// MySQLConfig returns address and account of a MySQL or MariaDB partition.
func MySQLConfig(section config.Partition) mysql.Config {
	u := section.URL
	m := mysql.Config{Addr: u.Addr(), User: u.User, Password: u.Password.Reveal(), Database: u.Database, Params: u.Params}
	if file := section.PasswordFile; file != "" {
		m.NewPassword = func() (string, error) {
			password, err := config.ReadPassword(file)
			return password.Reveal(), err
		}
	}
	return m
}

func closeAll(parts []partition.Partition) error {
	var errs []error
	for _, p := range parts {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
