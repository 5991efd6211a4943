package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/cmd/runnel/internal/archive"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/migrate"
	"github.com/runnelkv/runnel/cmd/runnel/internal/moves"
	"github.com/runnelkv/runnel/cmd/runnel/internal/node"
	"github.com/runnelkv/runnel/config"
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

const restoreLong = `Restore backups that 'runnel backup' has written, or begin a new epoch after databases were set back in time by other
means. Stop every other runnel process before, and start them afterwards.

With FILE, a full backup and the incremental backups that follow it are copied to an empty partition: with --partition
to that partition, with --new-cluster to every master, while all other partitions are empty too. An interrupted restore
continues when it is repeated; until it is complete, no process uses the database. A replica then catches up from where
the backup ends. A master needs a new epoch: restore every master that you want to restore, then run 'runnel restore'
without FILE. --new-cluster does that itself.

Without FILE, a new epoch begins. Every configured partition must be reachable. Each partition records the last valid
revision of each master. Later revisions, which clients may have seen, are recognised from then on: their ETags match
nothing, their sessions are refused with 410 session-lost, and the change feed answers their tokens with 410 resync. No
revision is assigned twice.

A master that is behind its replicas first receives their newer entries. To go back in time on purpose, restore all
partitions, or empty the partitions that you do not restore.`

func newRestore(p *program) *cobra.Command {
	var f configFlags
	var o archive.RestoreOptions
	cmd := &cobra.Command{
		Use:   "restore [FILE|-]...",
		Short: "Restore backups, or begin a new epoch after databases were set back in time",
		Long:  restoreLong,
		Example: `  runnel restore --config /etc/runnel.toml
  runnel restore --config /etc/runnel.toml --partition replica-1 monday.backup tuesday.backup
  runnel restore --config /etc/runnel.toml --new-cluster monday.backup`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Files = args
			switch targeted := o.NewCluster || o.Partition != ""; {
			case targeted && len(args) == 0:
				return console.UsageError("--partition and --new-cluster need the FILE of a backup")
			case len(args) > 0 && !targeted:
				return console.UsageError("name the target: --partition NAME, or --new-cluster")
			case len(args) > 0:
				return p.restoreFiles(cmd.Context(), f, o)
			}
			return p.beginEpoch(cmd.Context(), f)
		},
	}
	f.addTo(cmd)
	cmd.Flags().StringVar(&o.Partition, "partition", "", "restore FILE to the empty partition `NAME`")
	cmd.Flags().BoolVar(&o.NewCluster, "new-cluster", false, "restore FILE to all masters, while all partitions are empty, and begin a new epoch")
	cmd.MarkFlagsMutuallyExclusive("partition", "new-cluster")
	return cmd
}

const migrateLong = `Change the tables of the partitions for this binary, while servers run. A binary works on the tables of its own schema and
of the schema before, so an upgrade takes three steps:

1. Replace the binary of each process, one after another. Starting changes no tables that are in use.
2. 'runnel migrate --run' makes the missing changes, partition by partition. Processes of the schema before continue
   during the changes and afterwards.
3. 'runnel migrate --finish', after the last old process has stopped, shuts older binaries out. From then on there is no
   way back to the older binary.

Each may be interrupted and repeated. Two of them never change a partition at the same time.`

func newMigrate(p *program) *cobra.Command {
	var f configFlags
	var plan, run, finish bool
	cmd := &cobra.Command{
		Use:     "migrate",
		Short:   "Change the tables of the partitions for a newer binary",
		Long:    migrateLong,
		Example: "  runnel migrate --plan --config /etc/runnel.toml\n  runnel migrate --run --config /etc/runnel.toml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.readExisting()
			if err != nil {
				return err
			}
			parts, closeAll, err := node.OpenPartitions(c, node.NewLogger(p.Err, c.Log))
			if err != nil {
				return err
			}
			switch {
			case run:
				err = migrate.Run(cmd.Context(), p.Out, p.Err, parts)
			case finish:
				err = migrate.Finish(cmd.Context(), p.Out, parts)
			default:
				err = migrate.Plan(cmd.Context(), p.Out, parts)
			}
			return errors.Join(err, closeAll())
		},
	}
	f.addTo(cmd)
	cmd.Flags().BoolVar(&plan, "plan", false, "print the schema of each partition and the missing changes (the default)")
	cmd.Flags().BoolVar(&run, "run", false, "make the missing changes")
	cmd.Flags().BoolVar(&finish, "finish", false, "shut out binaries of older schemas")
	cmd.MarkFlagsMutuallyExclusive("plan", "run", "finish")
	return cmd
}

const planLong = `Print the cluster map: the masters with their slots, the voters, and a move under way; then how the configured masters
differ from the map. The configuration's masters count only when the cluster is created: later, 'runnel move' changes the
masters.`

func newPlan(p *program) *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use:     "plan",
		Short:   "Print the cluster map, and how the configured masters differ from it",
		Long:    planLong,
		Example: "  runnel plan --config /etc/runnel.toml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withStore(cmd.Context(), f, func(s *store.Store, c *config.Config) error {
				return moves.Describe(p.Out, s, c.Store.Masters)
			})
		},
	}
	f.addTo(cmd)
	return cmd
}

const moveLong = `Change the masters while servers run, without losing a write.

  --to NAME               makes a partition a master with its share of the slots
  --from NAME             takes all slots from a master and gives them to the remaining masters
  --from NAME --to NAME   moves all slots, or those of --slots, from a master to another partition

The new master must be filled and nearly level. Both masters and a majority of the voters must be reachable; the first move
makes all configured partitions voters, and needs every one of them. Writes to the moving slots wait for a moment, all other
writes go on. A move that cannot be completed within ten seconds is aborted. If this command is killed, a running server
completes the move, or aborts it.

All processes must be of this schema, and older binaries shut out: see 'runnel migrate --finish'.`

func newMove(p *program) *cobra.Command {
	var f configFlags
	var q store.MoveRequest
	var slots string
	var plan bool
	cmd := &cobra.Command{
		Use:     "move",
		Short:   "Change the masters while servers run",
		Long:    moveLong,
		Example: "  runnel move --to partition-1 --config /etc/runnel.toml\n  runnel move --from partition-0 --to partition-1 --slots 0-511 --plan",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if q.Slots, err = store.ParseSlots(slots); err != nil {
				return console.UsageError("--slots: %v", err)
			}
			if q.From == "" && q.To == "" || q.Slots != nil && (q.From == "" || q.To == "") {
				return console.UsageError("name the masters: --from, --to or both; --slots needs both")
			}
			return p.withStore(cmd.Context(), f, func(s *store.Store, _ *config.Config) error {
				if plan {
					return moves.Print(p.Out, s, q)
				}
				return moves.Run(cmd.Context(), p.Out, p.Err, s, q)
			})
		},
	}
	f.addTo(cmd)
	cmd.Flags().StringVar(&q.From, "from", "", "the master `NAME` that gives slots away")
	cmd.Flags().StringVar(&q.To, "to", "", "the partition `NAME` that becomes their master")
	cmd.Flags().StringVar(&slots, "slots", "", "`SLOTS` to move, such as 0-511,600 (default all of --from)")
	cmd.Flags().BoolVar(&plan, "plan", false, "print the moves and make none")
	return cmd
}

const promoteLong = `Make the partition NAME the master of all slots of a master that is lost.

First NAME copies what reachable partitions hold of the lost master's writes. Then a majority of the voters accepts that the
lost master has no slots, and takes no further copies of its writes. Once no process can write to the lost master any more,
NAME copies what this majority holds, and becomes the master. Writes that only the lost master holds do not count any more:
sessions that have seen them are refused with 410 session-lost, and change tokens with 410 resync.

  --in-place-of OLD            processes have master leases ('runnel leases'): the command waits until every lease has ended that
                               the lost master's processes can have
  --old-master-is-stopped OLD  the server of OLD is stopped, and stays stopped: nobody waits. Without leases this is the only
                               way: a process that could still write to OLD would accept writes that do not count

This command refuses while the lost master answers; 'runnel move' then takes its slots without losing a write. A majority of
the voters must be reachable; with --old-master-is-stopped, of two voters the other is enough. Running servers use the new
master within seconds. If this command is killed after 'begun', a running server completes the promotion. A lost master that
returns meanwhile gives its slots away without losing a write. When it returns later, it becomes a replica, unless it holds
writes that do not count: then it is refused until its database is emptied.`

func newPromote(p *program) *cobra.Command {
	var f configFlags
	var inPlaceOf, stopped string
	cmd := &cobra.Command{
		Use:     "promote NAME {--in-place-of OLD|--old-master-is-stopped OLD}",
		Short:   "Replace a master that is lost",
		Long:    promoteLong,
		Example: "  runnel promote partition-1 --in-place-of partition-0 --config /etc/runnel.toml\n  runnel promote partition-1 --old-master-is-stopped partition-0 --config /etc/runnel.toml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := store.PromoteRequest{Lost: cmp.Or(inPlaceOf, stopped), To: args[0], Stopped: stopped != ""}
			if q.Lost == "" {
				return console.UsageError("name the lost master with --in-place-of, or, if its server is stopped, with --old-master-is-stopped")
			}
			return p.withStore(cmd.Context(), f, func(s *store.Store, _ *config.Config) error {
				return moves.Promote(cmd.Context(), p.Out, p.Err, s, q)
			})
		},
	}
	f.addTo(cmd)
	cmd.Flags().StringVar(&inPlaceOf, "in-place-of", "", "the lost master `OLD`, whose processes have leases")
	cmd.Flags().StringVar(&stopped, "old-master-is-stopped", "", "the lost master `OLD`, whose server is stopped")
	cmd.MarkFlagsMutuallyExclusive("in-place-of", "old-master-is-stopped")
	return cmd
}

const leasesLong = `Give the processes master leases of a length from 4 seconds to 5 minutes, such as 10s, or take them away with off; without an
argument, print them.

With master leases a process takes writes, and answers reads that need a master, only while a majority of the voters has answered the
process within the length of a lease. So 'runnel promote NAME --in-place-of OLD' excludes a process that still reaches a lost
master, without the word of an operator, by waiting for the length of a lease. The price: a process that reaches no majority
of the partitions takes no writes, although it reaches a master.

Three voters or more are needed, and all masters must be reachable. The first change makes all configured partitions voters.
All processes must be of this schema, and older binaries shut out: see 'runnel migrate --finish'.`

func newLeases(p *program) *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use:     "leases [LENGTH|off]",
		Short:   "Let processes take writes only while they reach a majority",
		Long:    leasesLong,
		Example: "  runnel leases 10s --config /etc/runnel.toml\n  runnel leases off --config /etc/runnel.toml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var length time.Duration
			if len(args) > 0 && args[0] != "off" {
				var err error
				if length, err = time.ParseDuration(args[0]); err != nil || length <= 0 {
					return console.UsageError("%q is neither a length of a lease, such as 10s, nor off", args[0])
				}
			}
			return p.withStore(cmd.Context(), f, func(s *store.Store, _ *config.Config) error {
				if len(args) > 0 {
					if err := s.SetLeases(cmd.Context(), length); err != nil {
						return err
					}
				}
				return moves.DescribeLeases(p.Out, s)
			})
		},
	}
	f.addTo(cmd)
	return cmd
}

const failoverLong = `Let sync processes replace lost masters by themselves, end that, or end the cooldown of such a replacement; without an
argument, print the setting.

  auto  a sync process promotes a partition in place of a master that it has not reached for --after, while no other process
        reports to reach the master, a majority of the voters answers, and a voter holds a whole copy
  off   only 'runnel promote' replaces masters
  ack   ends the cooldown: another master may be replaced at once

After such a replacement no other is made within --cooldown, or before 'runnel failover ack'. Three voters and master leases
('runnel leases') are needed. A master that answers but takes no writes, as with a full disk, is not replaced.`

func newFailover(p *program) *cobra.Command {
	var f configFlags
	var after, cooldown time.Duration
	cmd := &cobra.Command{
		Use:       "failover [auto|off|ack]",
		Short:     "Let sync processes replace lost masters by themselves",
		Long:      failoverLong,
		Example:   "  runnel failover auto --after 30s --cooldown 10m --config /etc/runnel.toml\n  runnel failover off --config /etc/runnel.toml",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"auto", "off", "ack"},
		RunE: func(cmd *cobra.Command, args []string) error {
			isAuto := len(args) > 0 && args[0] == "auto"
			if !isAuto && (cmd.Flags().Changed("after") || cmd.Flags().Changed("cooldown")) {
				return console.UsageError("--after and --cooldown go with auto")
			}
			if isAuto && after <= 0 {
				return console.UsageError("--after %s is not a time, such as 30s", after)
			}
			return p.withStore(cmd.Context(), f, func(s *store.Store, _ *config.Config) (err error) {
				switch {
				case len(args) == 0:
				case isAuto:
					err = s.SetFailover(cmd.Context(), after, cooldown)
				case args[0] == "off":
					err = s.SetFailover(cmd.Context(), 0, 0)
				default:
					err = s.AcknowledgeFailover(cmd.Context())
				}
				if err != nil {
					return err
				}
				return moves.DescribeFailover(p.Out, s)
			})
		},
	}
	f.addTo(cmd)
	cmd.Flags().DurationVar(&after, "after", 30*time.Second, "how `LONG` nobody has reached a lost master, from 15s to 1h")
	cmd.Flags().DurationVar(&cooldown, "cooldown", 10*time.Minute, "how `LONG` no other master is replaced afterwards, from --after to 168h")
	return cmd
}

const votersLong = `Print the voters, or change them: a majority of the voters decides about changes of the cluster map, and holds the writes
of durable=majority.

  add NAME     gives a configured partition a vote
  remove NAME  takes the vote from a partition, which may be lost, and is no master

A majority of the former and of the new voters must be reachable. Change one voter after another: between two changes the
sync process must have copied all earlier writes to a majority, which the command awaits for a moment. To replace a lost partition by a new
one, add the new one first.`

func newVoters(p *program) *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use:     "voters [add NAME|remove NAME]",
		Short:   "Print or change the partitions that decide about the cluster map",
		Long:    votersLong,
		Example: "  runnel voters add partition-3 --config /etc/runnel.toml\n  runnel voters remove partition-0 --config /etc/runnel.toml",
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 || len(args) == 2 && args[0] != "add" && args[0] != "remove" {
				return console.UsageError("say add NAME or remove NAME")
			}
			return p.withStore(cmd.Context(), f, func(s *store.Store, _ *config.Config) (err error) {
				switch {
				case len(args) == 0:
				case args[0] == "add":
					err = s.AddVoter(cmd.Context(), args[1])
				default:
					err = s.RemoveVoter(cmd.Context(), args[1])
				}
				if err != nil {
					return err
				}
				return moves.DescribeVoters(p.Out, s)
			})
		},
	}
	f.addTo(cmd)
	return cmd
}

// withStore calls f with the store of a configuration, after trying to reach each partition.
func (p *program) withStore(ctx context.Context, flags configFlags, f func(*store.Store, *config.Config) error) error {
	c, err := flags.readExisting()
	if err != nil {
		return err
	}
	log := node.NewLogger(p.Err, c.Log)
	s, err := node.OpenStore(c, log, store.Options{})
	if err != nil {
		return err
	}
	if err := s.Connect(ctx); err != nil {
		log.Warn("not every partition can be used", "error", err)
	}
	return errors.Join(f(s, c), s.Close())
}

// beginEpoch begins a new epoch and prints the last valid revisions of the earlier epochs.
func (p *program) beginEpoch(ctx context.Context, flags configFlags) error {
	c, err := flags.readConfig()
	if err != nil {
		return err
	}
	s, err := node.OpenStore(c, node.NewLogger(p.Err, c.Log), store.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	done, err := s.Restore(ctx, c.Sync.Lease)
	if err != nil {
		return err
	}
	for _, e := range done.Ends {
		fmt.Fprintf(p.Out, "%s: %d entries copied back; revisions up to %d are valid\n", e.Origin, done.Back[string(e.Origin)], e.Cut)
	}
	fmt.Fprintf(p.Out, "epoch %d begins\n", done.Epoch)
	return nil
}
