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
	"path/filepath"
	"syscall"
	"time"
)

const usage = `usage: bench [--binary FILE] [--starts N] [--rounds N] [--slice TIME] [--benchfmt FILE]

Measures, beside a shell hook and turn by turn: the time of a hook call as a
whole process, and the time per frame under several rulesets. Needs root, nft,
xmlstarlet and go; takes under a minute unless told otherwise.

  --binary FILE    the macvtap-filter to measure (default: bin/macvtap-filter)
  --starts N       how often each hook call is timed (default: 40; 0: not at all)
  --rounds N       how often each ruleset is timed (default: 20; 0: not at all)
  --slice TIME     how long each kind of frame is sent in a round (default: 12ms)
  --benchfmt FILE  also writes every single result, in the form that benchstat reads

The variable NO_COLOR, when set, switches colours off.
`

type options struct {
	binary   string
	starts   int
	rounds   int
	slice    time.Duration
	benchfmt string
}

// limit bounds a whole run, several times what it should take.
func (o options) limit() time.Duration {
	round := 10*time.Second + 200*o.slice // some 80 slices, and between them other rules
	return time.Minute + time.Duration(o.starts)*time.Second + time.Duration(o.rounds)*round
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == runnerArgument {
		if err := serveJobs(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "bench: runner: %v\n", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
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
	ctx, cancel := context.WithTimeout(ctx, o.limit())
	defer cancel()
	err = bench(ctx, o, newPrinter(stdout))
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		fmt.Fprintln(stderr, "bench: interrupted; nothing is left behind")
		return 130
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		fmt.Fprintf(stderr, "bench: gave up after %v\n", o.limit())
		return 1
	case err != nil:
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{binary: "bin/macvtap-filter", starts: 40, rounds: 20, slice: 12 * time.Millisecond}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.StringVar(&o.binary, "binary", o.binary, "")
	flags.IntVar(&o.starts, "starts", o.starts, "")
	flags.IntVar(&o.rounds, "rounds", o.rounds, "")
	flags.DurationVar(&o.slice, "slice", o.slice, "")
	flags.StringVar(&o.benchfmt, "benchfmt", "", "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stderr, usage)
		return o, err
	case err != nil:
		return o, err
	case flags.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	case o.starts < 0 || o.rounds < 0 || o.slice <= 0:
		return o, errors.New("--starts, --rounds and --slice count upwards")
	}
	return o, nil
}

// bench measures and prints.
func bench(ctx context.Context, o options, out *printer) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces and tap devices need root: run it with sudo")
	}
	if err := needPrograms("nft", "xmlstarlet"); err != nil {
		return err
	}
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	if _, err := os.Stat(o.binary); err != nil {
		return fmt.Errorf("%w (make builds it)", err)
	}
	lines, err := newLines(o.benchfmt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lines.close()) }()
	s, err := newSite()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	if o.starts > 0 {
		timed, err := timeStarts(ctx, s, o)
		if err != nil {
			return err
		}
		timed.print(out)
		timed.write(lines)
	}
	if o.rounds > 0 {
		timed, err := timeFrames(ctx, s, o)
		if err != nil {
			return err
		}
		timed.print(out)
		timed.write(lines)
	}
	return nil
}
