package main

import "github.com/spf13/cobra"

// serverCommands are the commands that run a node instead of talking to one.
func serverCommands(*program) []*cobra.Command {
	return nil
}
