package doctor

import (
	"context"
	"fmt"

	"github.com/runnelkv/runnel/config"
)

// State is the result of a check.
type State string

// The values of State.
const (
	Skip State = "skip" // not checked: the configuration has nothing of the kind, or the check needs a process or a database that is missing
	OK   State = "ok"
	Warn State = "warn" // a risk that may be accepted
	Fail State = "fail" // a risk that should not be accepted
)

// Finding is the result of a check for a subject.
type Finding struct {
	Check   string `json:"check"` // a name in Checks
	State   State  `json:"state"`
	Subject string `json:"subject,omitempty"` // a file, a partition, a webhook or a process; empty: the whole configuration
	Text    string `json:"text"`
}

// Options describe what is examined.
type Options struct {
	Config *config.Config
	File   string // the configuration file; empty for none
	PID    int    // a running process of Runnel; 0: the account and the limits of this process are checked instead
}

// check is a check with its name.
type check struct {
	name string
	run  func(*examination)
}

// checks lists the checks in the order of docs/security.md.
var checks = []check{
	{"account", (*examination).account},
	{"privileges", (*examination).privileges},
	{"core-dumps", (*examination).coreDumps},
	{"swap", (*examination).swap},
	{"config-file", (*examination).configFile},
	{"secret-files", (*examination).secretFiles},
	{"certificate-files", (*examination).certificateFiles},
	{"data-files", (*examination).dataFiles},
	{"log-files", (*examination).logFiles},
	{"local-disk", (*examination).localDisk},
	{"listen", (*examination).listen},
	{"trusted-proxies", (*examination).trustedProxies},
	{"grants", (*examination).grants},
	{"webhooks", (*examination).webhooks},
	{"database-tls", (*examination).databaseTLS},
	{"databases", (*examination).databases},
	{"database-account", (*examination).databaseAccounts},
	{"durability", (*examination).durability},
}

// Checks returns the names of all checks, in the order of the findings.
func Checks() (names []string) {
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// Run makes every check and returns the findings. Databases are asked side by side, for the store's timeout at most.
func Run(ctx context.Context, o Options) []Finding {
	e := &examination{Options: o, proc: "/proc"}
	e.inspectDatabases(ctx)
	for _, c := range checks {
		e.check = c.name
		before := len(e.findings)
		c.run(e)
		if len(e.findings) == before {
			e.add(Skip, "", "the configuration has nothing to check")
		}
	}
	return e.findings
}

// Failed reports whether a finding is a Fail.
func Failed(findings []Finding) bool {
	for _, f := range findings {
		if f.State == Fail {
			return true
		}
	}
	return false
}

// examination collects the findings of a Run.
type examination struct {
	Options
	check     string // the running check
	proc      string // the folder of processes
	findings  []Finding
	inspected []inspection // of the MySQL and MariaDB partitions, in their order
}

// add adds a finding of the running check.
func (e *examination) add(state State, subject, format string, args ...any) {
	e.findings = append(e.findings, Finding{Check: e.check, State: state, Subject: subject, Text: fmt.Sprintf(format, args...)})
}
