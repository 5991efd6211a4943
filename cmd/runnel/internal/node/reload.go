package node

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/config"
)

// reloadOnSignals reads the configuration again for each SIGHUP, until ctx ends.
func (n *node) reloadOnSignals(ctx context.Context) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-signals:
			n.reload()
		}
	}
}

// reload opens the log files again, reads the certificate again, adds new partitions to the running store, replaces the quotas and the API keys of the file, and logs
// the changed keys of the configuration, which wait for a restart. A faulty file changes nothing.
func (n *node) reload() {
	if err := n.logs.reopen(); err != nil {
		n.log.Error("a log file cannot be opened again: the open file stays in use", "error", err)
	}
	if err := n.audit.Record(audit.Record{Time: time.Now(), Act: audit.Admin, Route: "reload"}); err != nil {
		n.log.Error("the reload cannot be recorded", "error", err)
	}
	if n.certificate != nil {
		n.certificate.readNow()
	}
	if n.file == "" {
		n.log.Info("there is no configuration file to read again")
		return
	}
	c, err := config.Load(n.file, os.LookupEnv)
	if err != nil {
		n.log.Error("the configuration was read again and is faulty: nothing changes", "file", n.file, "error", err)
		return
	}
	difference := config.Changes(n.config, c)
	for _, key := range difference.Restart {
		n.log.Warn("a changed key waits for a restart", "key", key)
	}
	for _, section := range difference.Added {
		if err := n.addPartition(section); err != nil {
			n.log.Error("the new partition cannot join", "partition", section.Name, "error", err)
		}
	}
	if difference.Quotas {
		n.store.SetQuotas(quotas(c))
		n.config.Quotas = c.Quotas
		n.log.Info("the quotas of the configuration were replaced", "quotas", len(c.Quotas))
	}
	if difference.Access {
		n.reloadKeys(c)
	}
	n.log.Info("the configuration was read again", "file", n.file,
		"partitions_added", len(difference.Added), "keys_waiting", len(difference.Restart))
}

func (n *node) addPartition(section config.Partition) error {
	p, err := openPartition(n.config, section, n.log)
	if err != nil {
		return err
	}
	if err := n.store.Add(p); err != nil {
		p.Close()
		return err
	}
	n.config.Partitions = append(n.config.Partitions, section)
	return nil
}
