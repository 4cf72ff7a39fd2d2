// Command demo shows what macvtap-filter does to two VMs: what they reach
// without the hook and with it, and what the rules counted.
//
// Everything happens in network namespaces of its own, made for the moment. It
// needs root, and no program but the binary it shows.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"macvtap-filter/internal/lab"
)

const usage = `usage: demo [--binary FILE] [--rules]

Builds a private network of a hypervisor, its LAN, an internet host and two
VMs, and shows what the VMs reach without the hook and with it. Exits 1 if that
is not what it should be. Needs root.

  --binary FILE  the macvtap-filter to show (default: bin/macvtap-filter)
  --rules        print the rules of one VM, too

The variable NO_COLOR, when set, switches colours off.
`

// bound is the longest that a demonstration may take.
const bound = 5 * time.Minute

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run gives the exit code: 0 all is as it should be, 1 it is not, 2 wrong usage,
// 130 interrupted.
func run(args []string, stdout *os.File, stderr io.Writer) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	binary := flags.String("binary", "bin/macvtap-filter", "")
	rules := flags.Bool("rules", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "demo: unknown argument %q\n\n%s", flags.Arg(0), usage)
		return 2
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(stderr, "demo: network namespaces and tap devices need root: run it with sudo")
		return 1
	}
	path, err := filepath.Abs(*binary)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		fmt.Fprintf(stderr, "demo: %v (make builds it)\n", err)
		return 1
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	err = show(ctx, showing{binary: path, ipv6: lab.HasIPv6(), rules: *rules}, newPrinter(stdout))
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		fmt.Fprintln(stderr, "demo: interrupted; nothing is left behind")
		return 130
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		fmt.Fprintf(stderr, "demo: gave up after %v\n", bound)
		return 1
	case err != nil:
		fmt.Fprintf(stderr, "demo: %v\n", err)
		return 1
	}
	return 0
}
