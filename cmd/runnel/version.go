package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is set by the linker: go build -ldflags "-X main.version=v1.2.3".
var version string

// versionInfo says what this binary was built from.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // the commit is not all of it
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
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}

// buildVersion is the version that the linker was given, or the module's, or "devel".
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

// String is "runnel v1.2.3 (commit 0123abc, go1.26, linux/amd64)".
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
