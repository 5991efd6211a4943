package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// Inspection is the view of a server that an account has, before any table is opened.
type Inspection struct {
	Missing  bool     // the server has no such database yet
	Warnings []string // see partition.Identity
	Cipher   string   // of the connection; empty: the connection is not encrypted
	Excess   []string // rights beyond those that Runnel needs, such as "SUPER on *.*"
}

// Inspect connects to a database, reads settings and rights, and changes nothing. Inspect takes at most the timeout. Errors
// are those of [Open] and of partition.Partition.Prepare.
func Inspect(ctx context.Context, c Config, timeout time.Duration) (*Inspection, error) {
	o, err := sqlengine.Options{Name: "inspection", Timeout: timeout}.Complete()
	if err != nil {
		return nil, err
	}
	d, err := newDatabase(c, o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	i := &Inspection{}
	l, err := d.dial(ctx, killing)
	if errorNumber(err) == errUnknownDatabase {
		i.Missing = true
		l, err = d.dialIn(ctx, killing, "")
	}
	if err != nil {
		return nil, err
	}
	i.Warnings = l.server.warnings()
	err = l.withKill(ctx, func() error {
		return l.runText(`SHOW SESSION STATUS LIKE 'Ssl_cipher'; SHOW GRANTS`, func(_ int, row []driver.Value) error {
			if len(row) == 2 {
				i.Cipher = string(bytesOf(row[1]))
			} else {
				i.Excess = append(i.Excess, excessIn(string(bytesOf(row[0])), c.Database)...)
			}
			return nil
		})
	})
	slices.Sort(i.Excess)
	return i, errors.Join(err, l.Close())
}

// neededRights are the privileges that Config.grants asks for, and the absence of any.
var neededRights = []string{"USAGE", "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "INDEX", "DROP"}

// grantOn matches a line of SHOW GRANTS about privileges. The groups are privileges, object and the remainder, which on
// MariaDB may hold a hash of the password.
var grantOn = regexp.MustCompile("^GRANT (.*?) ON (\\*\\.\\*|`(?:[^`]|``)*`\\.\\S+) TO (.*)$")

// grantRole matches a line about a role.
var grantRole = regexp.MustCompile("^GRANT ([^ ]+) TO ")

// excessIn returns the rights in a line of SHOW GRANTS that Runnel does not need for a database.
func excessIn(grant, database string) (excess []string) {
	if m := grantRole.FindStringSubmatch(grant); m != nil {
		return []string{"the role " + m[1]}
	}
	m := grantOn.FindStringSubmatch(grant)
	if m == nil {
		return nil
	}
	rights := strings.Split(strings.ReplaceAll(m[1], ", ", ","), ",")
	if strings.HasSuffix(m[3], "WITH GRANT OPTION") {
		rights = append(rights, "GRANT OPTION")
	}
	own := strings.ReplaceAll(m[2], `\`, "") == "`"+database+"`.*"
	for _, right := range rights {
		if right == "USAGE" || own && (slices.Contains(neededRights, right) || right == "ALL PRIVILEGES") {
			continue
		}
		excess = append(excess, right+" on "+m[2])
	}
	return excess
}
