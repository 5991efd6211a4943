package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/keys"
	"github.com/runnelkv/runnel/config"
)

func newConfig(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check a configuration, or print an example",
		Long:  "Work with configuration files. docs/configuration.md describes every key.",
	}
	cmd.AddCommand(newConfigCheck(p), newConfigExample(p))
	return cmd
}

func newConfigCheck(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "List every problem of a configuration file",
		Long: `Read a configuration file as 'runnel serve' would, without connecting to anything, and print every problem on a line of
its own, as file:line: key: problem. The environment variables and password files that the file names are read as well.
For a valid file, warnings name the requests that are answered without an API key, the origins whose pages may use the
API, prefixes that may match too much, and connections to other machines that are not encrypted or not verified, such as
those to a database with tls=preferred.

Exit status: 0 the file is valid, with or without warnings; 1 the file cannot be read; 2 the file is invalid.`,
		Example: "  runnel config check /etc/runnel.toml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, warnings, err := config.Review(args[0], os.LookupEnv)
			var problems config.Problems
			if errors.As(err, &problems) {
				for _, problem := range problems {
					fmt.Fprintln(p.Err, console.Line(problem.String()))
				}
				return &console.ExitError{Code: console.ExitUsage, Err: console.ErrSilent}
			}
			if err != nil {
				return err
			}
			for _, warning := range warnings {
				warning.Message = "warning: " + warning.Message
				fmt.Fprintln(p.Err, console.Line(warning.String()))
			}
			_, err = fmt.Fprintf(p.Out, "%s is right: %d partitions, masters %v\n", console.Line(args[0]), len(c.Partitions), c.Store.Masters)
			return err
		},
	}
}

func newConfigExample(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "example",
		Short:   "Print a configuration file with every key and its default",
		Example: "  runnel config example > runnel.toml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := fmt.Fprint(p.Out, config.Example)
			return err
		},
	}
}

// newKey returns the commands for API keys.
func newKey(p *program) *cobra.Command {
	var f configFlags
	return keys.New(keys.Options{
		Streams:  p.Streams,
		AddFlags: f.addTo,
		Config: func(mayCreate bool) (*config.Config, error) {
			c, err := f.readConfig()
			if err != nil {
				return nil, err
			}
			if mayCreate {
				return c, f.prepareData()
			}
			return c, f.checkData(c)
		},
	})
}

// configFlags name the configuration of a server command.
type configFlags struct {
	file string // --config
	data string // --data
}

// addTo adds the flags to a command.
func (f *configFlags) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.file, "config", "c", "", "the configuration `FILE` (default: embedded partitions in --data)")
	cmd.Flags().StringVar(&f.data, "data", "data", "the `DIR` of the embedded partitions, when there is no --config")
	cmd.MarkFlagsMutuallyExclusive("config", "data")
}

// readConfig reads the configuration file, or returns the embedded default without a file. An invalid file is a usage error
// that lists every problem.
func (f configFlags) readConfig() (*config.Config, error) {
	if f.file == "" {
		return config.Default(f.data), nil
	}
	c, err := config.Load(f.file, os.LookupEnv)
	if err != nil {
		return nil, &console.ExitError{Code: console.ExitUsage, Err: err}
	}
	return c, nil
}

// dataFlag returns the flag that names the directory to a shell, with a space before; "" for the default.
func (f configFlags) dataFlag() string {
	if f.data == "data" {
		return ""
	}
	return " --data '" + strings.ReplaceAll(f.data, "'", `'\''`) + "'"
}

// readExisting is readConfig for commands that create no store.
func (f configFlags) readExisting() (*config.Config, error) {
	c, err := f.readConfig()
	if err == nil {
		err = f.checkData(c)
	}
	return c, err
}

// checkData rejects a --data directory without a store: only 'runnel serve' creates stores.
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

// prepareData creates the directory of the embedded partitions and checks that files can be created there.
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
