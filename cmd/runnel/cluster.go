package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/cmd/runnel/internal/node"
	"github.com/runnelkv/runnel/store"
)

const initLong = `Create the cluster of a configuration on its first master although some partitions are unreachable. 'runnel serve' and
'runnel sync' create a cluster by themselves only after they have reached every configured partition, and if none belongs
to a cluster. An unreachable partition may belong to a cluster whose first master came up empty, for example because of an
unmounted volume or a wrong URL.

If a reachable partition belongs to a cluster, the rest join that cluster, and no new cluster is created.`

func newInit(p *program) *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use:     "init",
		Short:   "Create the cluster although some partitions are unreachable",
		Long:    initLong,
		Example: "  runnel init --config /etc/runnel.toml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.readConfig()
			if err != nil {
				return err
			}
			s, err := node.OpenStore(c, node.NewLogger(p.Err, c.Log), store.Options{Init: true})
			if err != nil {
				return err
			}
			failure := s.Connect(cmd.Context())
			st := s.Status()
			if err := s.Close(); err != nil {
				return err
			}
			if st.ClusterID == "" {
				return fmt.Errorf("no cluster was created:\n%w", failure)
			}
			fmt.Fprintf(p.Out, "cluster %s, epoch %d\n", st.ClusterID, st.Epoch)
			for _, part := range st.Partitions {
				fmt.Fprintln(p.Out, part.Name, part.State)
			}
			return nil
		},
	}
	f.addTo(cmd)
	return cmd
}

const restoreLong = `Begin a new epoch after databases were set back in time by a backup or a snapshot of a virtual machine. Stop every other
runnel process before, and start them afterwards. Every configured partition must be reachable.

Each partition records the last valid revision of each master. Later revisions, which clients may have seen, are recognised
from then on: their ETags match nothing, their sessions are refused with 410 session-lost, and the change feed answers their
tokens with 410 resync. No revision is assigned twice.

A master that is behind its replicas first receives their newer entries. To go back in time on purpose, restore all
partitions, or empty the partitions that you do not restore.`

func newRestore(p *program) *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use:     "restore",
		Short:   "Begin a new epoch after databases were set back in time",
		Long:    restoreLong,
		Example: "  runnel restore --config /etc/runnel.toml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.readConfig()
			if err != nil {
				return err
			}
			s, err := node.OpenStore(c, node.NewLogger(p.Err, c.Log), store.Options{})
			if err != nil {
				return err
			}
			defer s.Close()
			done, err := s.Restore(cmd.Context(), c.Sync.Lease)
			if err != nil {
				return err
			}
			for _, e := range done.Ends {
				fmt.Fprintf(p.Out, "%s: %d entries copied back; revisions up to %d are valid\n", e.Origin, done.Back[string(e.Origin)], e.Cut)
			}
			fmt.Fprintf(p.Out, "epoch %d begins\n", done.Epoch)
			return nil
		},
	}
	f.addTo(cmd)
	return cmd
}
