// Bank is three processes that move money between their accounts, in the order of real time, without asking each other what time it
// is: each waits until its commit timestamp has certainly passed. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// The exit codes.
const (
	exitOK      = 0
	exitAnomaly = 1
	exitUsage   = 2
	exitFailed  = 3
)

// run is the program: the bank, or one branch of it, which the bank starts by itself.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	if len(args) > 0 && args[0] == branchCommand {
		if err := runBranch(ctx, args[1:], in, out); err != nil {
			fmt.Fprintf(errs, "bank: %v\n", err)
			return exitFailed
		}
		return exitOK
	}
	o := options{out: out}
	flags := flag.NewFlagSet("bank", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.DurationVar(&o.duration, "for", 10*time.Second, "how long money is moved")
	flags.Float64Var(&o.forge, "forge-bound", 1, "make the branches believe that their clocks' error is so much of what it is: 0.05 is a twentieth")
	flags.IntVar(&o.tellers, "tellers", 6, "how many tellers move money at the same time")
	flags.DurationVar(&o.delay, "delay", 4*time.Millisecond, "by how much the lines to the time server are slower one way: what makes the clocks wrong")
	flags.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "makes the oscillators and the transfers")
	flags.BoolVar(&o.json, "json", false, "print one JSON object instead of text")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		return exitUsage
	}
	if flags.NArg() > 0 || o.duration <= 0 || o.forge <= 0 || o.tellers < 1 || o.tellers > 64 || o.delay < 0 || o.delay > 100*time.Millisecond {
		fmt.Fprintln(errs, "bank: there are flags only; --for and --forge-bound must be positive, --tellers 1 to 64, --delay 0 to 100ms")
		return exitUsage
	}
	result, err := o.play(ctx)
	if err != nil {
		fmt.Fprintf(errs, "bank: %v\n", err)
		return exitFailed
	}
	if err := result.print(&o); err != nil {
		fmt.Fprintf(errs, "bank: %v\n", err)
		return exitFailed
	}
	if result.Anomalies > 0 || !result.Conserved {
		return exitAnomaly
	}
	return exitOK
}
