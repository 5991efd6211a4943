package main

import "github.com/spf13/cobra"

// serverCommands are the commands that run a node instead of talking to one.
func serverCommands(p *program) []*cobra.Command {
	return []*cobra.Command{newServe(p), newSync(p), newInit(p), newRestore(p), newConfig(p)}
}
