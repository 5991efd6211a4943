package main

import (
	"context"
	"os"

	"github.com/runnelkv/runnel/config"
)

// reloadOn reads the configuration again for each signal, until ctx ends.
func (n *node) reloadOn(ctx context.Context, signals <-chan os.Signal, f configFlags) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-signals:
			n.reload(f)
		}
	}
}

// reload takes new partitions into the running store, and says what else
// changed and waits for a restart. A faulty file changes nothing.
func (n *node) reload(f configFlags) {
	if f.file == "" {
		n.log.Info("there is no configuration file to read again")
		return
	}
	c, err := f.load()
	if err != nil {
		n.log.Error("the configuration was read again and is faulty: nothing changes", "file", f.file, "error", err)
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
	n.log.Info("the configuration was read again", "file", f.file,
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
