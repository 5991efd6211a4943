package main

import (
	"fmt"

	"github.com/spf13/cobra"

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
			s, err := openStore(c, newLogger(p.Err, c.Log), store.Options{Init: true})
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
	f.define(cmd)
	return cmd
}
