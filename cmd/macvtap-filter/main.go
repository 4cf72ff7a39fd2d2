// Command macvtap-filter closes the local network to virtual machines on macvtap
// devices. libvirt calls it as a hook; an administrator calls its commands.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/hook"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/near"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitInput  = 2 // wrong usage, configuration or XML
)

// streams are where a command reads and writes: data to out, all else to err.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	if call, ok := hook.Parse(os.Args[0], os.Args[1:], isCommand); ok && call.Action() != hook.None {
		// It waits for the kernel: threads that look for work in between are a tenth of what it costs.
		runtime.GOMAXPROCS(1)
	}
	code := run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	journal.Flush(logLimit)
	os.Exit(code)
}

// run calls the hook or a command and gives the exit code.
func run(args []string, std streams) int {
	if call, ok := hook.Parse(os.Args[0], args, isCommand); ok {
		return runHook(call, std)
	}
	out := &output{Writer: std.out}
	std.out = out
	code := exitCode(runCommand(args, std), std)
	if code == exitDone && out.lost != nil {
		return exitCode(out.lost, std)
	}
	return code
}

// An output keeps the first error of writing to it: data that did not arrive, on a full
// disk for one, is a failure however well the rest went. A reader that is gone has what
// it wanted.
type output struct {
	io.Writer
	lost error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if o.lost == nil && !errors.Is(err, syscall.EPIPE) {
		o.lost = err
	}
	return n, err
}

// fileOf gives the file that a stream is, if it is one.
func fileOf(stream any) (*os.File, bool) {
	if o, ok := stream.(*output); ok {
		stream = o.Writer
	}
	file, ok := stream.(*os.File)
	return file, ok
}

// errInput marks what the caller gave us wrong: exit code 2.
type errInput struct{ error }

func (e errInput) Unwrap() error { return e.error }

// badInput marks an error as the caller's, nil stays nil.
func badInput(err error) error {
	if err == nil {
		return nil
	}
	return errInput{err}
}

// errTold is a failure whose reasons were printed already.
var errTold = errors.New("failed")

// exitCode prints an error and gives its exit code.
func exitCode(err error, std streams) int {
	var input errInput
	var xml *domain.Error
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.As(err, &input), errors.As(err, &xml):
		fail(std, err)
		return exitInput
	case !errors.Is(err, errTold):
		fail(std, err)
	}
	return exitFailed
}

// commandLimit bounds how long a command waits for libvirt and the kernel
// altogether, for each VM it is asked about.
var commandLimit = 10 * time.Second

// logLimit bounds how long the program waits at its end for a log that does not listen:
// libvirt waits for it.
var logLimit = time.Second

// options are the flags that commands share.
type options struct {
	config string
	dryRun bool
	diff   bool // a dry run that is told as a diff
	all    bool
	repair bool

	confirm   int // in so many seconds, or what was applied is taken back
	confirmed bool

	devices []string // that libvirt has no VM for

	bind   bool // of addresses
	forget bool
	json   bool
	format string
	facts  string

	// Of render: folders of golden files to compare with or to write, and a report.
	check, output, codeQuality string

	textfile string // of metrics: the file to write
	listen   string // of watch: where its figures are to be had

	follow bool          // of log
	long   time.Duration // and for how long; 0: until it is interrupted

	question question // of explain and reach
	old      string   // of reach: the configuration to compare with
	interval interval // of status
}

// A command is one word of the command line.
type command struct {
	name  string
	usage string
	flags func(*flag.FlagSet, *options)
	run   func(ctx context.Context, std streams, o options, args []string) error
}

func isCommand(name string) bool {
	_, ok := findCommand(name)
	return ok
}

func findCommand(name string) (command, bool) {
	for _, c := range commands() {
		if c.name == name {
			return c, true
		}
	}
	return command{}, false
}

func runCommand(args []string, std streams) error {
	o := options{config: configFile()}
	global := newFlags("macvtap-filter")
	configFlag(global, &o)
	asksVersion := global.Bool("version", false, "")
	if err := global.Parse(args); err != nil {
		return flagError(err, global, usage, std)
	}
	args = global.Args()
	if *asksVersion {
		args = append([]string{"version"}, args...)
	}
	if len(args) == 0 {
		fmt.Fprint(std.err, usage)
		return badInput(errors.New("no command"))
	}
	if args[0] == "help" {
		if len(args) == 1 || strings.HasPrefix(args[1], "-") {
			fmt.Fprint(std.out, usage)
			return nil
		}
		args = []string{args[1], "--help"}
	}
	c, ok := findCommand(args[0])
	if _, isHook := hook.Parse(os.Args[0], args, isCommand); isHook && !ok {
		return badInput(fmt.Errorf("a hook call takes no flags: name the configuration with the variable %s", config.Variable))
	}
	if !ok {
		return badInput(fmt.Errorf("unknown command %q%s: \"macvtap-filter --help\" lists them", args[0], meantCommand(args[0])))
	}
	flags := newFlags("macvtap-filter " + c.name)
	configFlag(flags, &o)
	c.flags(flags, &o)
	rest, err := parseMixed(flags, args[1:])
	if err != nil {
		return flagError(err, flags, c.usage, std)
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	return c.run(ctx, std, o, rest)
}

func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // flagError says it in our words
	flags.Usage = func() {}
	return flags
}

func configFlag(flags *flag.FlagSet, o *options) {
	flags.StringVar(&o.config, "config", o.config, "")
}

// configFile is the configuration file where no --config is given.
func configFile() string {
	if file := os.Getenv(config.Variable); file != "" {
		return file
	}
	return config.DefaultFile
}

// parseMixed parses flags that stand before, between and after the arguments;
// after "--" everything is an argument.
func parseMixed(flags *flag.FlagSet, args []string) ([]string, error) {
	var rest []string
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		left := flags.Args()
		if len(left) == 0 {
			return rest, nil
		}
		if ended := len(args) > len(left) && args[len(args)-len(left)-1] == "--"; ended {
			return append(rest, left...), nil
		}
		rest = append(rest, left[0])
		args = left[1:]
	}
}

// flagError answers -h, -help and --help, and says what is wrong with other flags.
func flagError(err error, flags *flag.FlagSet, usage string, std streams) error {
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(std.out, usage)
		return err
	}
	return badInput(fmt.Errorf("%w%s: see --help", err, meantFlag(err, flags)))
}

// meantFlag asks whether a known flag was meant by one that package flag does not know, of
// which it tells in words alone.
func meantFlag(err error, flags *flag.FlagSet) string {
	typed, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return ""
	}
	var names []string
	flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	if name := near.Name(typed, names); name != "" {
		return fmt.Sprintf(": did you mean --%s?", name)
	}
	return ""
}

// meantCommand asks whether a known command was meant by another word.
func meantCommand(typed string) string {
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	if name := near.Name(typed, names); name != "" {
		return fmt.Sprintf(": did you mean %q?", name)
	}
	return ""
}
