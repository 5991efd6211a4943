package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/runnelkv/runnel/cmd/runnel/internal/node"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store/partition/mysql"
)

// inspection is the view of a MySQL or MariaDB partition.
type inspection struct {
	name  string
	found *mysql.Inspection // nil after an error
	err   error
}

// inspectDatabases asks every MySQL and MariaDB partition, side by side.
func (e *examination) inspectDatabases(ctx context.Context) {
	var asked sync.WaitGroup
	for _, p := range e.Config.Partitions {
		if p.URL.Scheme == config.MySQL {
			e.inspected = append(e.inspected, inspection{name: p.Name})
		}
	}
	for i := range e.inspected {
		place := slices.IndexFunc(e.Config.Partitions, func(p config.Partition) bool { return p.Name == e.inspected[i].name })
		asked.Go(func() {
			e.inspected[i].found, e.inspected[i].err = mysql.Inspect(ctx, node.MySQLConfig(e.Config.Partitions[place]), e.Config.Store.Timeout)
		})
	}
	asked.Wait()
}

func (e *examination) databases() {
	for _, i := range e.inspected {
		switch {
		case i.err != nil:
			e.add(Fail, i.name, "%v", i.err)
		case i.found.Missing:
			e.add(OK, i.name, "the server has no such database yet")
		default:
			e.add(OK, i.name, "the account can open the database")
		}
	}
}

// notAsked is the text of a finding about a database that gave no answer. The check databases adds the error itself.
const notAsked = "not checked, because the database cannot be asked"

// rightsShown bounds the rights that a finding lists.
const rightsShown = 6

func (e *examination) databaseAccounts() {
	for _, i := range e.inspected {
		if i.found == nil {
			e.add(Skip, i.name, notAsked)
			continue
		}
		excess, more := i.found.Excess, ""
		if len(excess) == 0 {
			e.add(OK, i.name, "the account has rights on its own database only")
			continue
		}
		if n := len(excess) - rightsShown; n > 0 {
			excess, more = excess[:rightsShown], fmt.Sprintf(" and %d more", n)
		}
		e.add(Warn, i.name, "the account has rights that Runnel does not need: %s%s; docs/operations.md has the GRANT that suffices", strings.Join(excess, ", "), more)
	}
}

func (e *examination) durability() {
	for _, i := range e.inspected {
		if i.found == nil {
			e.add(Skip, i.name, notAsked)
			continue
		}
		state := Warn
		if e.Config.Store.RequireDurable && slices.Contains(e.Config.Store.Masters, i.name) {
			state = Fail // the master will take no writes
		}
		for _, w := range i.found.Warnings {
			e.add(state, i.name, "%s", w)
		}
		if len(i.found.Warnings) == 0 {
			e.add(OK, i.name, "the server flushes every commit")
		}
	}
	for _, p := range e.Config.Partitions {
		if p.URL.Scheme == config.SQLite {
			e.add(OK, p.Name, "every connection flushes each commit (synchronous=FULL)")
		}
	}
}
