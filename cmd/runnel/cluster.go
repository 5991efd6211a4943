package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/cmd/runnel/internal/node"
	"github.com/runnelkv/runnel/store"
)

const initLong = `Found the cluster of a configuration on its first master, although not all of its partitions can be reached. 'runnel serve'
and 'runnel sync' found one by themselves once every configured partition was reached and none belongs to a cluster: a
partition that is away may belong to one whose first master came up empty, with a volume that is not mounted or a wrong URL.

If a reachable partition belongs to a cluster already, the others join it and nothing is founded.`

func newInit(p *program) *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use:     "init",
		Short:   "Found the cluster although some partitions are away",
		Long:    initLong,
		Example: "  runnel init --config /etc/runnel.toml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.load()
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
				return fmt.Errorf("no cluster was founded:\n%w", failure)
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

const restoreLong = `Begin a new epoch after databases were set back in time: restored from a backup or a snapshot of a virtual machine, by
Runnel's operator or behind Runnel's back. End every other runnel process first, and start them again afterwards. Every
configured partition must be reachable.

Each partition notes up to where the writes of each master count. Writes beyond that, which clients may have seen before,
are recognised from then on: their ETags match nothing, their sessions are refused with 410 session-lost, and the feed of
changes answers their tokens with 410 resync. No revision is given out twice.

A master that is behind its copies is first given what the others hold of it. So to go back in time on purpose, restore all
partitions, or empty those that are not restored.`

func newRestore(p *program) *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use:     "restore",
		Short:   "Go on after databases were set back in time",
		Long:    restoreLong,
		Example: "  runnel restore --config /etc/runnel.toml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.load()
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
				fmt.Fprintf(p.Out, "%s: %d entries taken back; its revisions up to %d count\n", e.Origin, done.Back[string(e.Origin)], e.Cut)
			}
			fmt.Fprintf(p.Out, "epoch %d begins\n", done.Epoch)
			return nil
		},
	}
	f.addTo(cmd)
	return cmd
}
