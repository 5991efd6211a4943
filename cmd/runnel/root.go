package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/files"
	"github.com/runnelkv/runnel/cmd/runnel/internal/ledger"
	"github.com/runnelkv/runnel/cmd/runnel/internal/locks"
	"github.com/runnelkv/runnel/cmd/runnel/internal/terraform"
)

const defaultServer = "http://127.0.0.1:8080"

// globalFlags are the flags that every command accepts.
type globalFlags struct {
	server  string
	key     string
	keyFile string
	caCert  string
	cert    string
	certKey string
	timeout time.Duration
	retry   time.Duration
	verbose bool
}

const rootLong = `Runnel is an eventually consistent, replicated key-value store with an HTTP API.
Write to the master, read from any partition. A sync process copies every change
to every partition.

Results go to standard output, everything else to standard error.

Exit status: 0 success; 1 failure, or no such key; 2 the command line or the
configuration is wrong.

Environment: RUNNEL_SERVER is the URL of the server, RUNNEL_KEY the API key,
RUNNEL_KEY_FILE a file with the key, and RUNNEL_CACERT the authorities of the
server, unless --server, --key, --key-file and --cacert are given.`

// newRoot builds the whole command tree over p.
func newRoot(p *program) *cobra.Command {
	root := &cobra.Command{
		Use:           "runnel",
		Short:         "A replicated key-value store over HTTP",
		Long:          rootLong,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	root.Version = buildVersion().String()
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetHelpCommand(newHelp(root))
	root.SetFlagErrorFunc(flagError)
	addGlobalFlags(p, root)
	root.AddGroup(
		&cobra.Group{ID: groupServer, Title: "Run a server:"},
		&cobra.Group{ID: groupClient, Title: "Use a server:"},
	)
	addGroup(root, groupServer, newServe(p), newSync(p), newInit(p), newBackup(p), newRestore(p), newVerify(p), newMigrate(p), newPlan(p), newMove(p), newPromote(p), newLeases(p), newFailover(p), newVoters(p), newDoctor(p), newKey(p), newConfig(p))
	connect := func() (*client.Client, error) { return p.client("", client.Options{}) }
	addGroup(root, groupClient,
		newGet(p), newPut(p), newTouch(p), newDelete(p), newList(p), newWatch(p), newStatus(p), newTxn(p), locks.NewCommand(p.locks()), newImport(p), newExport(p), newBench(p),
		files.New(files.Program{Streams: &p.Streams, Client: func(o client.Options) (*client.Client, error) { return p.client("", o) }}),
		ledger.New(&p.Streams, connect), terraform.New(&p.Streams, connect))
	root.AddCommand(newVersion(p))
	wrapCommands(p, root)
	return root
}

// newHelp returns the command help. An unknown command is a usage error.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, left, err := root.Find(args)
			if err != nil || len(left) > 0 {
				return console.UsageError("there is no command %q; 'runnel help' lists them", strings.Join(args, " "))
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// flagError names the values that a flag accepts, in place of the parse error of a library.
func flagError(_ *cobra.Command, err error) error {
	invalid, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return console.UsageError("%s", console.Line(err.Error())) // with text of the command line
	}
	forms := map[string]string{
		"duration": "a duration like 500ms, 30s or 12h", "int": "a whole number", "int64": "a whole number", "uint64": "a whole number from 0",
		"bool": "true or false", "stringToString": "NAME=TEXT",
	}
	flag := invalid.GetFlag()
	return console.UsageError("--%s is %s, not %q", flag.Name, cmp.Or(forms[flag.Value.Type()], "a "+flag.Value.Type()), invalid.GetValue())
}

// rejectClientFlags rejects flags about requests for commands that send no requests: those that run a node, or work on
// a configuration.
func rejectClientFlags(cmd *cobra.Command) error {
	top := cmd
	for top.HasParent() && top.Parent().HasParent() {
		top = top.Parent()
	}
	if top.GroupID != groupServer || cmd.Flags().Lookup("now") != nil && cmd.Flags().Changed("now") {
		return nil
	}
	for _, name := range []string{"server", "key", "key-file", "cacert", "cert", "cert-key", "timeout", "retry", "verbose"} {
		if cmd.Flags().Changed(name) {
			return console.UsageError("--%s is about requests to a server, and '%s' sends none", name, cmd.CommandPath())
		}
	}
	return nil
}

const (
	groupServer = "server"
	groupClient = "client"
)

func addGroup(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

func addGlobalFlags(p *program, root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&p.flags.server, "server", "", "the `URL` of the server (default $RUNNEL_SERVER or "+defaultServer+")")
	f.StringVar(&p.flags.key, "key", "", "the API `key` (default $RUNNEL_KEY, which ps does not show)")
	f.StringVar(&p.flags.keyFile, "key-file", "", "the `FILE` with the API key in its first line (default $RUNNEL_KEY_FILE)")
	f.StringVar(&p.flags.caCert, "cacert", "", "the PEM `FILE` of the authorities that sign the server's certificate (default $RUNNEL_CACERT, else those of the system)")
	f.StringVar(&p.flags.cert, "cert", "", "the PEM `FILE` of a certificate to show to the server")
	f.StringVar(&p.flags.certKey, "cert-key", "", "the PEM `FILE` of the certificate's key (default the file of --cert)")
	f.DurationVar(&p.flags.timeout, "timeout", client.DefaultTimeout, "give up when no byte was sent or received for this long")
	f.DurationVar(&p.flags.retry, "retry", client.DefaultRetryFor, "repeat requests for this long where that is safe; 0 sends each once")
	f.BoolVarP(&p.flags.verbose, "verbose", "v", false, "print each request with its id on standard error")
}

// wrapCommands wraps every command below c: a command sets p.started when its own code starts, and saves its session at
// the end. A command that only has subcommands rejects unknown names.
func wrapCommands(p *program, c *cobra.Command) {
	for _, child := range c.Commands() {
		wrapCommands(p, child)
	}
	if c.RunE != nil {
		body := c.RunE
		c.RunE = func(cmd *cobra.Command, args []string) error {
			p.started = true
			if err := rejectClientFlags(cmd); err != nil {
				return err
			}
			err := body(cmd, args)
			if unsaved := p.session.Save(); unsaved != nil {
				return errors.Join(err, unsaved)
			}
			return err
		}
		return
	}
	if c.HasSubCommands() && c.HasParent() && c.Run == nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return console.UsageError("%s has no command %q; see '%s --help'", cmd.CommandPath(), args[0], cmd.CommandPath())
			}
			return cmd.Help()
		}
	}
}

// version is set by the linker: go build -ldflags "-X main.version=v1.2.3".
var version string

// versionInfo describes the source of this binary.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // the source differs from the commit
	CommitAt string `json:"commit_time,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersion(p *program) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this binary",
		Long:    "Print the version of this binary, the commit it was built from, and the Go that built it.",
		Example: "  runnel version\n  runnel version --json | jq -r .commit",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			v := buildVersion()
			if !asJSON {
				_, err := fmt.Fprintln(p.Out, v)
				return err
			}
			e := json.NewEncoder(p.Out)
			e.SetIndent("", "  ")
			return e.Encode(v)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// buildVersion returns the version that the linker set, otherwise the module's version, otherwise "devel".
func buildVersion() versionInfo {
	v := versionInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		v.Version = cmp.Or(v.Version, "devel")
		return v
	}
	if v.Version == "" && info.Main.Version != "" {
		v.Version = strings.Trim(info.Main.Version, "()")
	}
	v.Version = cmp.Or(v.Version, "devel")
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.CommitAt = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// String returns a line like "runnel v1.2.3 (commit 0123abc, go1.26, linux/amd64)".
func (v versionInfo) String() string {
	from := ""
	if v.Commit != "" {
		from = "commit " + v.Commit[:min(12, len(v.Commit))]
		if v.Modified {
			from += " and changes"
		}
		from += ", "
	}
	return fmt.Sprintf("runnel %s (%s%s, %s)", v.Version, from, v.Go, v.Platform)
}
