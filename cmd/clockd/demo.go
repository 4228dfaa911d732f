package main

import "github.com/spf13/cobra"

// demoCommands are the commands that play a whole network on this machine.
func demoCommands(_ *app) []*cobra.Command { return nil }
