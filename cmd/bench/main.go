// Command bench measures macvtap-filter beside what people would use instead: a
// shell hook, linear allow lists, nothing at all.
//
// Everything is measured in one run, turn by turn, so that what else the machine
// does meanwhile meets all alike; what counts is the ratio. No time is ever
// taken for right or wrong. It all happens in network namespaces of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const usage = `usage: bench [--binary FILE] [--before FILE] [--only SECTION,…] [--rounds N] [--out FILE] [--update] [--from FILE]

Measures macvtap-filter beside a shell hook, turn by turn, and prints tables,
ratios first. Needs root, nft, xmlstarlet and go, and for guests qemu and iperf3.

  --binary FILE   the macvtap-filter to measure (default: bin/macvtap-filter)
  --before FILE   an earlier one to measure it beside (default: none)
  --only LIST     of the sections below, those to measure, with commas between
  --rounds N      how often each thing is measured, instead of each section's own number
  --out FILE      also writes every single result, in the form that benchstat reads
  --from FILE     shows the results in such a file, and measures nothing
  --update        also writes the tables and plots into internal/doc, measurements.md first

Sections, and how long each takes:

`

type options struct {
	binary string
	before string // "" for none
	only   []string
	rounds int
	out    string
	from   string
	update bool
	sizes  sizes
}

// sizes say how much is measured.
type sizes struct {
	hosts       []int         // the lengths of allow lists
	slice       time.Duration // how long each kind of frame is sent in a round
	besides     []int         // how many NICs are protected already when another one is
	atOnce      int           // starts at once
	atOnceShell int           // and those of the shell hook, of which the time would be minutes
	held        int           // NICs whose rules' memory is counted
	listed      []int         // how many NICs are protected when nft lists
	listTime    int           // and the seconds of a processor's time after which it is ended
	transfer    []string      // how much iperf3 sends in a round
	echoes      int           // and how many pings there are
}

var fullSizes = sizes{
	hosts: []int{10, 100, 1_000, 10_000}, slice: 10 * time.Millisecond,
	besides: []int{0, 1, 100, 1_000}, atOnce: 200, atOnceShell: 50, held: 400,
	listed: []int{1, 5, 100, 1_000}, listTime: 60,
	transfer: []string{"--time", "1"}, echoes: 400,
}

// limit bounds a whole run, several times what it should take.
const limit = 90 * time.Minute

func main() {
	if serve := servants[strings.Join(os.Args[1:], " ")]; serve != nil {
		if err := serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", os.Args[1], err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// servants are what this program can be besides, in a namespace of its own.
var servants = map[string]func(io.Reader, io.Writer) error{
	runnerArgument:  serveJobs,
	libvirtArgument: serveLibvirt,
}

// run gives the exit code: 0 measured, 1 failed, 2 wrong usage, 130 interrupted.
func run(args []string, stdout *os.File, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "bench: %v: see --help\n", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = measureAndShow(ctx, o, stdout, stderr)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		fmt.Fprintln(stderr, "bench: interrupted; nothing is left behind")
		return 130
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		fmt.Fprintf(stderr, "bench: gave up after %v\n", limit)
		return 1
	case err != nil:
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{binary: "bin/macvtap-filter", sizes: fullSizes}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.StringVar(&o.binary, "binary", o.binary, "")
	flags.StringVar(&o.before, "before", "", "")
	flags.Func("only", "", func(list string) error {
		o.only = strings.Split(list, ",")
		return knownSections(o.only)
	})
	flags.IntVar(&o.rounds, "rounds", 0, "")
	flags.StringVar(&o.out, "out", "", "")
	flags.StringVar(&o.from, "from", "", "")
	flags.BoolVar(&o.update, "update", false, "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stderr, usage+sectionUsage())
		return o, err
	case err != nil:
		return o, err
	case flags.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	case o.rounds < 0:
		return o, errors.New("--rounds counts upwards")
	case o.from != "" && (o.only != nil || o.rounds > 0 || o.out != ""):
		return o, errors.New("--from measures nothing: --only, --rounds and --out do not go with it")
	}
	return o, nil
}
